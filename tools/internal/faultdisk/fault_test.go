package faultdisk

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFailTheNthOfEachKind(t *testing.T) {
	for _, tc := range []struct {
		op  Op
		cmd uint16
	}{{Read, nbdRead}, {Write, nbdWrite}, {Flush, nbdFlush}, {Trim, nbdTrim}, {Zeroes, nbdZeroes}} {
		s := newServer(t, mem("d0", 4096), mem("d1", 4096))
		c, other := connect(t, s, "d0"), connect(t, s, "d1")
		if err := s.Fail(Fault{Disk: "d0", Op: tc.op, Nth: 3, Count: 2}); err != nil {
			t.Fatal(err)
		}
		request := func(c *client) error {
			switch tc.op {
			case Read:
				_, err := c.read(0, 512)
				return err
			case Write:
				return c.write(0, fill(5, 512), 0)
			case Flush:
				return c.flush()
			}
			return c.do(tc.cmd, 0, 0, 512, nil)
		}
		for i, want := range []error{nil, nil, syscall.EIO, syscall.EIO, nil} {
			if err := request(c); !errors.Is(err, want) {
				t.Errorf("%s %d: %v, want %v", tc.op, i+1, err, want)
			}
			if err := request(other); err != nil {
				t.Errorf("%s of the other disk: %v", tc.op, err)
			}
		}
		if st := s.Stats(); st.Disks[0].Failed != 2 || st.Faults != 0 {
			t.Errorf("%s: stats %+v", tc.op, st)
		}
	}
}

func TestBadSectorUntilHealed(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20))
	c := connect(t, s, "")
	bad := Fault{Op: Read, Off: 8192, Len: 512, Count: Forever, Errno: syscall.EIO}
	if err := s.Fail(bad); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		off, n int
		want   error
	}{{0, 8192, nil}, {0, 8704, syscall.EIO}, {8192, 512, syscall.EIO}, {8704, 512, nil}} {
		for range 3 {
			if _, err := c.read(tc.off, tc.n); !errors.Is(err, tc.want) {
				t.Errorf("read %d+%d: %v, want %v", tc.off, tc.n, err, tc.want)
			}
		}
	}
	s.Cut(1, None) // the power does not heal a sector
	c = connect(t, s, "")
	if _, err := c.read(8192, 512); !errors.Is(err, syscall.EIO) {
		t.Errorf("after a cut: %v", err)
	}
	s.Heal()
	if _, err := c.read(8192, 512); err != nil {
		t.Errorf("after Heal: %v", err)
	}
}

func TestFailedWriteStoresNothingOrSomeSectors(t *testing.T) {
	for seed := range uint64(6) {
		for _, torn := range []bool{false, true} {
			s := newServer(t, mem("d0", 16384))
			c := connect(t, s, "")
			s.Fail(Fault{Op: Write, Torn: torn, Seed: seed})
			if err := c.write(0, fill(5, 16384), nbdFUA); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			stored := 0
			for _, v := range contents(t, s, "d0", 16384, 512) {
				stored += int(v) / 5
			}
			if torn != (stored > 0) || stored == 32 {
				t.Errorf("torn %v, seed %d: %d of 32 sectors stored", torn, seed, stored)
			}
		}
	}
}

// TestFailedFlush distinguishes the two kinds: after a plain one a retry makes durable what was
// cached, after one that loses a retry succeeds and the data is gone with the power all the same.
func TestFailedFlush(t *testing.T) {
	for _, lose := range []bool{false, true} {
		s := newServer(t, mem("d0", 12288))
		c := connect(t, s, "")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(c.write(0, fill(1, 8192), nbdFUA))
		must(c.write(0, fill(2, 8192), 0))
		must(s.Fail(Fault{Op: Flush, Lose: lose}))
		if err := c.flush(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		must(c.write(4096, fill(3, 8192), 0))
		must(c.flush())
		if got := contents(t, s, "d0", 12288, 4096); string(got) != "\x02\x03\x03" {
			t.Errorf("lose %v: reads return %d before the cut", lose, got)
		}
		s.Cut(1, None)
		want := "\x02\x03\x03"
		if lose {
			want = "\x01\x03\x03"
		}
		if got := contents(t, s, "d0", 12288, 4096); string(got) != want {
			t.Errorf("lose %v: got %d, want %d", lose, got, []byte(want))
		}
	}
}

func TestLyingDiskLosesWhatItAcknowledged(t *testing.T) {
	s := newServer(t, DiskConfig{Name: "d0", Size: 4096, Lying: true})
	c := connect(t, s, "")
	if err := errors.Join(c.write(0, fill(1, 4096), nbdFUA), c.flush()); err != nil {
		t.Fatal(err)
	}
	s.Cut(1, None)
	if got := contents(t, s, "d0", 4096, 512); got[0] != 0 {
		t.Errorf("got %d", got)
	}
}

func TestDelaysHoldAndHealReleasesLaterRequests(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	c := connect(t, s, "")
	for _, op := range []Op{Read, Write, Flush} {
		if err := s.Delay("", op, 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if err := errors.Join(c.write(0, fill(4, 4096), 0), c.flush()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.read(0, 4096); err != nil || got[0] != 4 {
		t.Fatalf("read %v, %v", got[:1], err)
	}
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("three delayed requests took %s", took)
	}
	s.Heal()
	s.Fail(Fault{Op: Read, Nth: 1000})
	for range 900 { // 18 s if the delay were still there
		if _, err := c.read(0, 512); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("Heal left a delay: %s", took)
	}
}

func TestMemoryLimitIsAClearError(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Millisecond} {
		s, err := New(Config{Disks: []DiskConfig{mem("big", 1<<30)}, MemoryLimit: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		s.Delay("", Write, delay)
		c := connect(t, s, "")
		var refused error
		for i := 0; i < 1000 && refused == nil; i++ {
			refused = c.write(i*65536, fill(1, 65536), 0)
		}
		if !errors.Is(refused, syscall.ENOSPC) {
			t.Fatalf("write: %v", refused)
		}
		st := s.Stats()
		if st.Memory > 1<<20 || st.Memory < 1<<19 {
			t.Errorf("stats %+v", st)
		}
		if err := s.Err(); err == nil || err.Error() != st.Error ||
			!strings.Contains(st.Error, "disk big: write of 65536 bytes at offset") {
			t.Errorf("error %v, in stats %q", err, st.Error)
		}
		if _, err := s.Cut(1, All); !errors.Is(err, ErrMemory) {
			t.Errorf("Cut: %v", err)
		}
		if err := s.Close(); !errors.Is(err, ErrMemory) {
			t.Errorf("Close: %v", err)
		}
	}
}

// TestZeroesCostNoMemory trims and zeroes a large disk, and what is zeroed gives its memory back.
func TestZeroesCostNoMemory(t *testing.T) {
	s := newServer(t, mem("big", 1<<40))
	c := connect(t, s, "")
	for i := range uint64(4) {
		if err := c.do(nbdTrim, 0, i<<31, 1<<31, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range []uint16{nbdTrim, nbdZeroes} {
		if err := c.write(1<<30, fill(1, 16<<20), nbdFUA); err != nil {
			t.Fatal(err)
		}
		if err := c.do(cmd, nbdFUA, 1<<30, 16<<20, nil); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Memory != 0 || st.Disks[0].Cached != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestInvalidFaultsDelaysAndCuts(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	for what, err := range map[string]error{
		"unknown disk":     s.Fail(Fault{Disk: "x"}),
		"unknown op":       s.Fail(Fault{Op: opCount}),
		"other errno":      s.Fail(Fault{Errno: syscall.ENOENT}),
		"negative range":   s.Fail(Fault{Off: -1}),
		"delay of unknown": s.Delay("x", Write, 1),
		"delay of no op":   s.Delay("", opCount, 1),
		"negative delay":   s.Delay("", Write, -1),
	} {
		if err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := s.Cut(1, modeCount); err == nil {
		t.Error("an unknown mode is accepted")
	}
	s.Close()
	if _, err := s.Cut(1, All); !errors.Is(err, ErrClosed) {
		t.Errorf("Cut after Close: %v", err)
	}
}
