package vmtest

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"unblend/tools/internal/load"
)

const judgedSize = 1 << 20

// judged is a volume in a file of zeros.
func judged(t *testing.T) *cutVolume {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(path, make([]byte, judgedSize), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	v := newCutVolume(1, "v", judgedSize)
	v.f = f
	return v
}

// begin notes a write of n sectors.
func (v *cutVolume) begin(sector, n int64) cutOp {
	v.last++
	op := cutOp{
		cutWrite, v.id, v.last,
		load.Range{Off: sector * load.SectorSize, Len: n * load.SectorSize},
	}
	v.open = append(v.open, op)
	return op
}

// put writes the first n sectors of a write, as a cut may leave it.
func (v *cutVolume) put(t *testing.T, op cutOp, n int64) {
	t.Helper()
	op.Len = n * load.SectorSize
	if err := v.perform(op, make([]byte, op.Len)); err != nil {
		t.Fatal(err)
	}
}

// look verifies the volume and returns what was found, without the descriptions.
func (v *cutVolume) look(t *testing.T) cutFindings {
	t.Helper()
	f, err := v.verify(judgedSize)
	if err != nil {
		t.Fatal(err)
	}
	if want := min(f.wrong+f.torn, maxFindings); len(f.first) != want {
		t.Errorf("%d findings are described, want %d: %q", len(f.first), want, f.first)
	}
	f.first = nil
	return f
}

// TestCutVolumeJudges leaves on a volume what a cut may leave and what it may not.
func TestCutVolumeJudges(t *testing.T) {
	const all = judgedSize / load.SectorSize
	for name, c := range map[string]struct {
		make func(t *testing.T, v *cutVolume, old cutOp)
		want cutFindings
	}{
		"acknowledged": {func(*testing.T, *cutVolume, cutOp) {}, cutFindings{}},
		"acknowledged, and lost": {func(t *testing.T, v *cutVolume, old cutOp) {
			v.settle(v.begin(old.Off/load.SectorSize, 3))
		}, cutFindings{wrong: 3, lost: 1}},
		"under way, and not there": {func(t *testing.T, v *cutVolume, old cutOp) {
			v.begin(4, 16)
		}, cutFindings{}},
		"under way, and there": {func(t *testing.T, v *cutVolume, old cutOp) {
			v.put(t, v.begin(4, 16), 16)
		}, cutFindings{kept: 1}},
		"under way, and there in part": {func(t *testing.T, v *cutVolume, old cutOp) {
			v.put(t, v.begin(4, 16), 5)
		}, cutFindings{kept: 1, torn: 1}},
		"an old one came back": {func(t *testing.T, v *cutVolume, old cutOp) {
			op := v.begin(8, 8)
			v.put(t, op, 8)
			v.settle(op)
			v.put(t, old, 8)
		}, cutFindings{wrong: 8, lost: 1}},
		"zeros came back as data": {func(t *testing.T, v *cutVolume, old cutOp) {
			op := v.begin(8, 8)
			op.kind = cutDiscard
			v.settle(op)
		}, cutFindings{wrong: 8}},
		"never sent": {func(t *testing.T, v *cutVolume, old cutOp) {
			v.put(t, cutOp{cutWrite, 2, 1, old.Range}, 1)
		}, cutFindings{wrong: 1, lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			v := judged(t)
			old := v.begin(8, 8)
			v.put(t, old, 8)
			v.settle(old)
			c.make(t, v, old)
			c.want.sectors = all
			if got := v.look(t); !reflect.DeepEqual(got, c.want) {
				t.Errorf("found %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestFileJournal: what is in the journal brings a volume to the state it was in.
func TestFileJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := createJournal(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.f.Close()
	v, w := newCutVolume(1, "v", judgedSize), newCutVolume(1, "v", judgedSize)
	v.settle(v.begin(0, 4))
	if err := saveState(dir, v); err != nil {
		t.Fatal(err)
	}
	for i, acknowledge := range []bool{true, false, true} {
		op := v.begin(int64(100*i), 10)
		if err := j.begun(op); err != nil {
			t.Fatal(err)
		}
		j.next.Add(1) // a record that never got out
		if !acknowledge {
			continue
		}
		if err := j.acknowledged(op); err != nil {
			t.Fatal(err)
		}
		v.settle(op)
	}
	if err := loadState(dir, w); err != nil {
		t.Fatal(err)
	}
	acks, err := replayJournal(filepath.Join(dir, "journal"), []*cutVolume{w})
	if err != nil || acks != 2 {
		t.Errorf("%d acknowledged, %v", acks, err)
	}
	if w.last != v.last || !slices.Equal(w.open, v.open) || !slices.Equal(w.holds, v.holds) {
		t.Errorf("last %d, open %+v; want %d, %+v", w.last, w.open, v.last, v.open)
	}
}
