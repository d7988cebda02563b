package placement

import (
	"testing"

	"unblend/log"
)

// read reads one block.
func (r *rig) read(v *Volume, block int64) {
	r.t.Helper()
	buf := alignedBytes(log.BlockSize)
	q := &Request{Kind: Read, Vol: v, Off: block * log.BlockSize, Len: log.BlockSize, Buf: buf}
	if r.do(q); q.Err != 0 {
		r.t.Fatal(q.Err)
	}
}

// sharedAt returns where a block lies that v has from its image, and whether it is in memory.
func (r *rig) sharedAt(v *Volume, block uint64) (addr uint64, there bool) {
	e, err := r.p.find(&r.p.mapOf(v.node).tree, block, nil)
	return e.Addr, err == nil && r.p.cache.find(key(sharedBlock, e.Addr)) != noFrame
}

// While guests are idle every leaf is looked at once: what the guests had used again and again is in
// memory afterwards.
func TestIdleScanLeavesTheCache(t *testing.T) {
	r := newRig(t, 64<<20)
	r.reopen(func(o *Options) { o.Frames, o.NoReplacement = 64, false })
	r.p.opt.NoReplacement = true // not yet
	img, v := r.create("img", 1<<20), r.create("v", 400<<20)
	r.fill(img, 0, 32, 7)
	for leaf := range int64(400) {
		r.fill(v, leaf*leafBlocks, 1, 7)
	}
	r.must(&Control{Op: SnapshotVolume, Names: []string{"img"}, To: "gold"})
	r.must(&Control{Op: Drain})
	c := &Control{Op: CloneVolume, Name: "img@gold", To: "clone"}
	r.must(c)
	for range 8 {
		for i := range int64(10) {
			r.read(c.Vol, i)
			r.read(v, (i*7+3)*leafBlocks)
		}
	}
	hot := func() (n int) {
		for i := range uint64(10) {
			if _, there := r.sharedAt(c.Vol, i); there {
				n++
			}
		}
		return n
	}
	before := hot()
	r.p.opt.NoReplacement = false
	r.idle()
	if after := hot(); before < 8 || after < before {
		t.Errorf("%d of 10 blocks in use were in memory, %d after the guests were idle", before, after)
	}
}

// Re-placement writes to an address whose former content is still in memory: it is dropped.
func TestReplacedAddressLeavesTheCache(t *testing.T) {
	r := newRig(t, 64<<20)
	r.p.opt.NoReplacement = true
	r.fill(r.create("first", 1<<20), 100, 1, 5)
	r.must(&Control{Op: Drain}) // begins a chunk for packing
	r.fill(r.create("img", 1<<20), 0, 64, 5)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"img"}, To: "gold"})
	r.must(&Control{Op: Drain})
	c := &Control{Op: CloneVolume, Name: "img@gold", To: "clone"}
	r.must(c)
	r.read(c.Vol, 0)
	r.read(c.Vol, 0)
	was, there := r.sharedAt(c.Vol, 0)
	if !there {
		t.Fatal("a shared block is not in memory")
	}
	r.must(&Control{Op: RemoveVolume, Names: []string{"clone", "img@gold", "img"}})
	for range 10 {
		r.must(&Control{Op: Drain})
		r.must(&Control{Op: Checkpoint})
	}
	w := r.create("w", 1<<20)
	r.fill(w, 0, 12, 6)
	r.must(&Control{Op: Drain})
	r.fill(w, 12, 244, 6)
	r.must(&Control{Op: Drain})
	if r.p.cache.find(key(sharedBlock, was)) == noFrame {
		t.Fatal("the image's block has left the memory before its address was written")
	}
	r.p.opt.NoReplacement = false
	r.idle()
	if e, err := r.p.find(&w.node.tree, 0, nil); err != nil || e.Addr != was {
		t.Fatalf("block 0 was moved to %d, not to %d, where the image's was: %v", e.Addr, was, err)
	}
	if r.p.cache.find(key(sharedBlock, was)) != noFrame {
		t.Error("what the image had at the address is still in memory")
	}
}
