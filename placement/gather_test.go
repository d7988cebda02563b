package placement

import (
	"slices"
	"testing"

	"unblend/log"
)

func (r *rig) discard(v *Volume, off, n int64) {
	r.t.Helper()
	q := &Request{Kind: Discard, Vol: v, Off: off, Len: n}
	if r.do(q); q.Err != 0 {
		r.t.Fatal(q.Err)
	}
}

// gathered begins a batch, and leaves it at that.
func (r *rig) gathered() *backend {
	b := &r.p.back
	b.open = true
	b.gather()
	return b
}

// A leaf that turned out to have little is not searched again for each of its blocks.
func TestGatherTriesEachLeafOnce(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.BatchBlocks = 2048 })
	v := r.create("v", 8<<20)
	r.fill(v, 0, wholeMin-1, 7)
	for i := range int64(40) {
		r.fill(v, 256+i, 1, 7)
		r.fill(v, 512+i, 1, 7)
	}
	if b := r.gathered(); len(b.whole) != 2 || b.vain != 1 {
		t.Errorf("%d leaves were taken whole, %d tried in vain; want 2, 1", len(b.whole), b.vain)
	}
}

// What comes along from newer segments does not have newer discards applied before the oldest blocks
// are moved, and leaves that such a discard touches are not taken whole.
func TestGatherWaitsForNoNewerExtents(t *testing.T) {
	r := newRig(t, 96<<20)
	r.restart(func(o *Options) {
		o.BatchBlocks, o.Low, o.High, o.Idle = leafBlocks, 990, 995, 1<<60
	})
	v, z := r.create("v", 8<<20), r.create("z", 400<<20)
	r.fill(v, 0, 60, 7)
	oldest := r.p.ring.Segment(r.p.back.oldest(0)).LastSeq
	r.discard(z, 100<<20, 200<<20)
	r.fill(v, 60, 60, 7)
	b := r.gathered()
	if len(b.whole) != 1 || b.upto < oldest || b.upto >= r.p.zeros.minSeq() {
		t.Errorf("%d whole leaves; extents up to %d are applied, the oldest segment ends with %d, the "+
			"discard is %d", len(b.whole), b.upto, oldest, r.p.zeros.minSeq())
	}
	r.discard(v, 128*log.BlockSize, 64*log.BlockSize)
	if b := r.gathered(); slices.Contains(b.whole, leafKey(v.node.rec.ID, 0)) {
		t.Errorf("a leaf with a discard was taken whole: %v", b.whole)
	}
}
