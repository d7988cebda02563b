package placement

import (
	"testing"

	"unblend/log"
)

// freedBy returns what the pool says that removing a snapshot would free, in blocks; -1: not known.
func (r *rig) freedBy(name string) int64 {
	r.t.Helper()
	in, ok := r.p.Info(name)
	if !ok {
		r.t.Fatalf("no %s", name)
	}
	if in.Counting {
		return -1
	}
	return in.Freed / log.BlockSize
}

// removed removes a snapshot, waits for the walk and the count, and wants what was said to be freed.
func (r *rig) removed(name string) {
	r.t.Helper()
	free, want := r.p.blocks.available(), r.freedBy(name)
	r.must(&Control{Op: RemoveVolume, Name: name})
	r.counted()
	if got := int64(r.p.blocks.available() - free); got != want {
		r.t.Errorf("removing %s freed %d blocks, said were %d", name, got, want)
	}
	r.check()
}

func (r *rig) counted() {
	r.t.Helper()
	r.must(&Control{Op: Drain})
	r.next(func() bool { return !r.p.back.walking() && len(r.p.counts) == 0 })
	r.must(&Control{Op: Checkpoint})
}

// chain makes a volume with snapshots s1 and s2: of each leaf, blocks 0 to 9 are s1's, of those 0 to 4
// were replaced before s2, and 5 to 9 after it.
func (r *rig) chain(leaves int64) *Volume {
	r.t.Helper()
	v := r.create("a", leaves<<20)
	at := func(from, n int64, value byte) {
		for leaf := range leaves {
			r.fill(v, leaf*leafBlocks+from, n, value)
		}
	}
	at(0, 10, 1)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s1"})
	at(0, 5, 2)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s2"})
	at(5, 5, 3)
	r.must(&Control{Op: Drain})
	return v
}

// After an older snapshot was removed it is known, again, what removing the next would free.
func TestCountAfterAnOlderSnapshotWasRemoved(t *testing.T) {
	r := newRig(t, 64<<20)
	r.chain(4)
	if s1, s2 := r.freedBy("a@s1"), r.freedBy("a@s2"); s1 != 20 || s2 != 0 {
		t.Fatalf("s1 %d, s2 %d, want 20, 0", s1, s2)
	}
	r.removed("a@s1")
	if s2 := r.freedBy("a@s2"); s2 != 20 {
		t.Errorf("s2 %d, want 20", s2)
	}
	r.removed("a@s2")
}

// With several children nothing is freed; when one is left it is counted, over a restart too, and
// beside a volume that goes on replacing blocks.
func TestCountWaitsForTheLastChild(t *testing.T) {
	r := newRig(t, 64<<20)
	const leaves = 24
	r.chain(leaves)
	r.must(&Control{Op: CloneVolume, Name: "a@s2", To: "c"})
	r.removed("a@s1")
	if s2 := r.freedBy("a@s2"); s2 != 0 {
		t.Errorf("two children: %d, want 0", s2)
	}
	r.open()
	v := r.p.Volume("a")
	h := v.node.parent
	if !h.uncounted() {
		t.Fatal("nothing is to be counted")
	}
	r.must(&Control{Op: RemoveVolume, Name: "c"})
	r.next(func() bool { return h.counted > 4*leafBlocks })
	if r.freedBy("a@s2") != -1 || h.counted >= 20*leafBlocks {
		t.Fatalf("counted to block %d", h.counted)
	}
	r.p.counts = nil // the count stands still
	r.fill(v, 0, 1, 4)
	r.fill(v, 22*leafBlocks, 1, 4)
	r.must(&Control{Op: Drain})
	r.p.counts = append(r.p.counts, h)
	r.counted()
	if s2 := r.freedBy("a@s2"); s2 != 5*leaves+2 {
		t.Errorf("s2 %d, want %d", s2, 5*leaves+2)
	}
	r.removed("a@s2")
}

// A removed snapshot is merged into its volume, beginning with leaves that both share. A restart in the
// middle goes on with what the volume has replaced of the older snapshot, and not of the removed one.
func TestCountOverARestartInAMerge(t *testing.T) {
	r := newRig(t, 64<<20)
	const leaves = 3 * walkLeaves
	v := r.create("a", leaves<<20)
	for i, name := range []string{"s1", "s2", ""} {
		first := int64(0)
		if name == "" {
			first = leaves - 1
		}
		for leaf := first; leaf < leaves; leaf++ {
			r.fill(v, leaf*leafBlocks, 1, byte(i+1))
		}
		if name != "" {
			r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: name})
		}
		r.must(&Control{Op: Drain})
	}
	h := r.p.nodes[r.p.names["a@s2"].rec.ID]
	r.must(&Control{Op: RemoveVolume, Name: "a@s2"})
	r.next(func() bool { return h.rec.Cursor > 0 })
	if h.rec.Cursor >= h.mapEnd() || h.rec.Cursor >= (leaves-1)*leafBlocks {
		t.Fatalf("walked to block %d", h.rec.Cursor)
	}
	r.p.walks = nil // the walk stands still
	r.must(&Control{Op: Checkpoint})
	r.open()
	r.counted()
	if s1 := r.freedBy("a@s1"); s1 != leaves {
		t.Errorf("s1 %d, want %d", s1, leaves)
	}
	r.removed("a@s1")
}
