package placement

import "testing"

// A removed snapshot still has two children in the durable root, one of them a removed volume. Since then
// that one has gone, the snapshot was merged into its clone, and the clone has overwritten a block in place:
// what the root says of the snapshot's block is not true any more, and nobody reads it.
func TestCheckOverlooksWhatNobodyReads(t *testing.T) {
	r := newRig(t, 64<<20)
	r.reopen(func(o *Options) { o.Low, o.Idle, o.CheckpointEvery = 1, 1<<60, 1<<60 })
	r.fill(r.create("a", 4<<20), 0, 32, 1)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	c := &Control{Op: CloneVolume, Name: "a@s", To: "c"}
	r.must(c)
	r.fill(c.Vol, 32, 1, 2) // in the same leaf
	r.fill(r.p.Volume("a"), 33, 1, 2)
	r.must(&Control{Op: Drain})
	s := r.p.names["a@s"]

	var walks []*node
	for _, name := range []string{"a@s", "a"} {
		r.must(&Control{Op: RemoveVolume, Name: name})
		walks, r.p.walks = append(walks, r.p.walks...), nil // later
	}
	r.must(&Control{Op: Checkpoint})
	root := r.p.root.Generation
	r.p.walks = walks
	r.next(func() bool { return !r.p.back.walking() })
	if c.Vol.node.parent != nil || s.root.Flags != 0 {
		t.Fatal("the snapshot is not merged into the clone")
	}
	r.fill(c.Vol, 0, 1, 3)
	r.next(func() bool { return !r.p.back.backlog() })
	if r.p.root.Generation != root {
		t.Fatal("a checkpoint came between")
	}
	r.check()
}
