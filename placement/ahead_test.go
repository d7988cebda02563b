package placement

import (
	"testing"

	"unblend/log"
)

// The next batch is read while one is written; what is overwritten or discarded after that, and what has
// been damaged by then, is as if it had not been read ahead.
func TestReadAhead(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.BatchBlocks, o.Low, o.High = 64, 1, 999 })
	v := r.create("v", 8<<20)
	r.p.opt.Low = 900 // nothing is destaged yet
	const blocks = 600
	r.fill(v, 0, blocks, 1)
	r.p.opt.Low = 1
	b := &r.p.back
	var read []moving
	r.next(func() bool {
		read = read[:0]
		for _, m := range b.ahead.batch {
			if m.read {
				read = append(read, m)
			}
		}
		return len(read) > 2
	})
	for _, m := range b.batch[:b.placed] {
		for _, a := range b.ahead.batch {
			if a.block == m.block && a.loc == m.loc {
				t.Errorf("block %d is in both batches", m.block)
			}
		}
	}
	over, gone := int64(read[0].block), int64(read[1].block)
	r.fill(v, over, 1, 2)
	r.discard(v, gone*log.BlockSize, log.BlockSize)
	r.must(&Control{Op: Drain})
	for i := range int64(blocks) {
		want := byte(1)
		switch i {
		case over:
			want = 2
		case gone:
			want = 0
		}
		r.expect(v, i, want, 0)
	}
	r.check()
}

// A pool on one hard disk does not read ahead.
func TestOneHardDiskDoesNotReadAhead(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.HardDisk = [2]bool{true, true} })
	if cap(r.p.back.ahead.batch) != 0 {
		t.Error("a pool on one hard disk has memory to read ahead")
	}
}
