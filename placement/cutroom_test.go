package placement

import (
	"errors"
	"fmt"
	"testing"
)

// One operation removes more volumes than the cut of one checkpoint can hold.
func TestCutRoomRemoveManyAtOnce(t *testing.T) {
	r := newRig(t, 64<<20)
	small := func(o *Options) { o.Frames = minFrames }
	r.reopen(small)
	var names []string
	for i := range 1200 {
		names = append(names, fmt.Sprintf("v%d", i))
		r.create(names[i], 1<<20)
	}
	r.reopen(small)
	r.must(&Control{Op: RemoveVolume, Names: names})
	r.reopen(small)
	for range 40 {
		r.must(&Control{Op: Checkpoint})
	}
	r.check()
	if st := r.p.Status(); st.Nodes != 0 {
		t.Errorf("%d nodes are left", st.Nodes)
	}
}

// Renaming a volume renames all its snapshots at once. If the next cut cannot hold all of those it
// is refused, and nothing has changed; with fewer snapshots it works, however much else has changed.
func TestCutRoomRenameWithManySnapshots(t *testing.T) {
	r := newRig(t, 64<<20)
	small := func(o *Options) { o.Frames = minFrames }
	r.reopen(small)
	r.create("a", 1<<20)
	r.create("b", 1<<20)
	snap := func(volume string, i int) string { return fmt.Sprintf("%s@s%03d", volume, i) }
	const many = 900
	for i := range many {
		r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: fmt.Sprintf("s%03d", i)})
	}
	err := r.control(&Control{Op: RenameVolume, Name: "a", To: "x"})
	if !errors.Is(err, ErrTooMany) {
		t.Fatalf("rename: %v, want ErrTooMany", err)
	}
	if r.p.Volume("a") == nil || r.p.Volume(snap("a", many-1)) == nil || r.p.Volume("x") != nil {
		t.Fatal("something was renamed")
	}
	r.must(&Control{Op: RenameVolume, Name: "b", To: "c"})
	var names []string
	for i := range many / 2 {
		names = append(names, snap("a", i))
	}
	r.must(&Control{Op: RemoveVolume, Names: names})
	r.must(&Control{Op: RenameVolume, Name: "a", To: "x"})
	r.must(&Control{Op: RenameVolume, Name: "x", To: "y"})
	r.reopen(small)
	r.must(&Control{Op: Checkpoint})
	if r.p.Volume("y") == nil || r.p.Volume(snap("y", many-1)) == nil {
		t.Error("a name is missing")
	}
	r.check()
}
