package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testSize = 4 << 20

// newDisk returns a disk in a file of zeros, and its path.
func newDisk(t *testing.T) (*Disk, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, testSize); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path, 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, path
}

func patterns() map[string]Pattern {
	return map[string]Pattern{
		"sequential": Sequential(testSize, 256<<10),
		"random":     Random(testSize, 4096),
		"once":       Once(testSize, 4096, 1),
		"hot":        Hot(testSize, 64<<10, 4096),
		"mixed":      Mixed(testSize, 64<<10),
	}
}

// TestWriteAndVerify runs each pattern on a file of its own; then the file is damaged in every way
// that a stamp can tell, and each must be found.
func TestWriteAndVerify(t *testing.T) {
	for name, p := range patterns() {
		t.Run(name, func(t *testing.T) {
			d, path := newDisk(t)
			w := NewWriter(d, 4, p, 1)
			if err := w.Run(context.Background(), 300); err != nil {
				t.Fatal(err)
			}
			if s := w.Stats(); s.Writes != 300 || s.Errors != 0 || s.Bytes == 0 {
				t.Errorf("%+v after 300 writes", s)
			}
			if n, err := d.Verify(context.Background()); n != testSize || err != nil {
				t.Fatalf("%d bytes verified, %v", n, err)
			}
			if err := d.Reopen(path); err != nil {
				t.Fatal(err)
			}
			damage(t, d, path)
		})
	}
}

func damage(t *testing.T, d *Disk, path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sector := 0
	for d.writes[sector] < 2 {
		sector++
	}
	good := make([]byte, SectorSize)
	Stamp{d.id, d.writes[sector], uint64(sector)}.Fill(good)
	flipped := append([]byte(nil), good...)
	flipped[SectorSize-1] ^= 1
	filled := func(s Stamp) []byte {
		b := make([]byte, SectorSize)
		s.Fill(b)
		return b
	}
	for text, bad := range map[string][]byte{
		"a damaged write":    flipped,
		"got zeros":          make([]byte, SectorSize),
		"foreign bytes":      []byte(strings.Repeat("x", SectorSize)),
		"of disk 8":          filled(Stamp{8, d.writes[sector], uint64(sector)}),
		"got write 1 ":       filled(Stamp{7, 1, uint64(sector)}),
		"to sector 99999999": filled(Stamp{7, d.writes[sector], 99999999}),
	} {
		if _, err := f.WriteAt(bad, int64(sector)*SectorSize); err != nil {
			t.Fatal(err)
		}
		var wrong *MismatchError
		_, err := d.Verify(context.Background())
		if !errors.As(err, &wrong) || wrong.Sectors != 1 || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestPatternsStayInside: no pattern leaves the disk, splits a sector or exceeds MaxWrite.
func TestPatternsStayInside(t *testing.T) {
	for name, p := range patterns() {
		rng := rand.New(rand.NewPCG(1, 2))
		least, most := int64(testSize), int64(0)
		for range 10_000 {
			r := p(rng)
			if r.Off < 0 || r.Len <= 0 || r.Off+r.Len > testSize || r.Len > MaxWrite ||
				r.Off%SectorSize != 0 || r.Len%SectorSize != 0 {
				t.Fatalf("%s: %+v", name, r)
			}
			least, most = min(least, r.Off), max(most, r.Off+r.Len)
		}
		if least > 64<<10 || most < testSize-64<<10 {
			t.Errorf("%s: reaches from %d to %d only", name, least, most)
		}
	}
}

func TestOnceRepeatsNothing(t *testing.T) {
	p, seen := Once(testSize, 4096, 3), map[int64]bool{}
	for range testSize / 4096 {
		seen[p(nil).Off] = true
	}
	if len(seen) != testSize/4096 {
		t.Errorf("%d places, want %d", len(seen), testSize/4096)
	}
}

// TestNoOverlap: a write that overlaps one under way is not begun.
func TestNoOverlap(t *testing.T) {
	d, _ := newDisk(t)
	ranges := []Range{{0, 4096}, {512, 512}, {3584, 1024}, {4096, 512}}
	i := 0
	p := func(*rand.Rand) Range {
		i++
		return ranges[i-1]
	}
	if r, n := d.begin(nil, p); r != ranges[0] || n != 1 {
		t.Errorf("first: %+v, %d", r, n)
	}
	if r, n := d.begin(nil, p); r != ranges[3] || n != 2 {
		t.Errorf("second: %+v, %d", r, n)
	}
	d.end(ranges[0], 1, true)
	if len(d.busy) != 1 || d.writes[7] != 1 || d.writes[8] != 0 {
		t.Errorf("busy %v, sectors 7 and 8 by writes %d and %d", d.busy, d.writes[7], d.writes[8])
	}
	if n := d.Written(); n != 4096 {
		t.Errorf("%d bytes written, want 4096", n)
	}
}

// TestWriterStopsAtErrors: the first error ends the run and is counted.
func TestWriterStopsAtErrors(t *testing.T) {
	d, _ := newDisk(t)
	beyond := func(*rand.Rand) Range { return Range{1 << 62, 4096} }
	w := NewWriter(d, 1, beyond, 1)
	if err := w.Run(context.Background(), 0); err == nil {
		t.Error("a write far behind the end succeeded")
	}
	if s := w.Stats(); s.Errors != 1 || s.Writes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPause(t *testing.T) {
	d, _ := newDisk(t)
	w := NewWriter(d, 2, Random(testSize, 4096), 1)
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	if err := w.Run(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Writes == 0 || s.Pause <= 0 {
		t.Errorf("%+v after 50 ms", s)
	}
	w.ResetPause()
	if s := w.Stats(); s.Pause != 0 {
		t.Errorf("pause %v after a reset", s.Pause)
	}
}

// copyOf copies the file of a disk.
func copyOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestFork: a copy of a disk holds what the disk did, and what is written to one of them is not
// accepted in the other, even at the same place.
func TestFork(t *testing.T) {
	d, path := newDisk(t)
	ctx := context.Background()
	write := func(d *Disk) {
		t.Helper()
		if err := NewWriter(d, 1, Sequential(testSize, 64<<10), 1).Run(ctx, 20); err != nil {
			t.Fatal(err)
		}
	}
	write(d)
	frozen := copyOf(t, path)
	s, err := d.Fork(frozen, true)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Fork(copyOf(t, path), false)
	if err != nil {
		t.Fatal(err)
	}
	write(c)
	write(d)
	for name, x := range map[string]*Disk{"disk": d, "snapshot": s, "clone": c} {
		if _, err := x.Verify(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := errors.Join(s.Close(), c.Reopen(path)); err != nil {
		t.Fatal(err)
	}
	var wrong *MismatchError
	if _, err := c.Verify(ctx); !errors.As(err, &wrong) || wrong.Sectors != 20*128 {
		t.Errorf("the disk in place of its clone: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Fork(filepath.Join(t.TempDir(), "none"), true); err == nil {
		t.Error("a fork of nothing")
	}
}

// TestVerifyMoment: a snapshot may hold what was under way, must hold what had ended before, and may
// not hold what came later.
func TestVerifyMoment(t *testing.T) {
	d, path := newDisk(t)
	ctx := context.Background()
	w := NewWriter(d, 1, Sequential(testSize, 64<<10), 1)
	run := func() {
		t.Helper()
		if err := w.Run(ctx, 30); err != nil {
			t.Fatal(err)
		}
	}
	_, none := d.Numbers()
	older := copyOf(t, path)
	run()
	before, lower := d.Numbers()
	run() // wraps
	snapshot := copyOf(t, path)
	_, last := d.Numbers()
	if none != 0 || lower != 30 || last != 60 {
		t.Errorf("numbers %d, %d, %d", none, lower, last)
	}
	if err := d.VerifyMoment(ctx, snapshot, before, last); err != nil {
		t.Errorf("a good snapshot: %v", err)
	}
	if err := d.VerifyMoment(ctx, older, before, last); err == nil {
		t.Error("a snapshot without what had ended is accepted")
	}
	if err := d.VerifyMoment(ctx, snapshot, before, lower); err == nil {
		t.Error("a snapshot with what came later is accepted")
	}
}
