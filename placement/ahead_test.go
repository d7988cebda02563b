package placement

import (
	"bytes"
	"slices"
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

// A version that was read ahead is known by where it lies in the log. When its segment has been freed,
// and the same block written again, to the same place, that is another version.
func TestReadAheadFromAFreedSegment(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.BatchBlocks, o.Low, o.High, o.Idle = 64, 1, 999, 1<<50 })
	v := r.create("v", 8<<20)
	const blocks, never = 600, 1001
	r.p.opt.Low = never // nothing is destaged
	r.fill(v, 0, blocks, 1)
	r.p.opt.Low = 1
	b := &r.p.back
	old := func(m moving) bool { return m.read && m.block > 0 && m.loc%64 > 32 }
	r.next(func() bool { return slices.ContainsFunc(b.ahead.batch, old) })
	r.p.opt.Low = never
	r.next(func() bool { return b.phase == backIdle })
	m := b.ahead.batch[slices.IndexFunc(b.ahead.batch, old)]
	r.overwriteUntil(v, blocks, m)
	if len(b.ahead.batch) == 0 {
		t.Fatal("what was read ahead has been destaged too early")
	}
	r.must(&Control{Op: Drain})
	for i := range int64(blocks) {
		r.expect(v, i, 2, 0)
	}
	r.check()
}

// overwriteUntil overwrites the first blocks of v, round and round with checkpoints between, until block
// m.block lies at m.loc of the log.
func (r *rig) overwriteUntil(v *Volume, blocks int64, m moving) {
	r.t.Helper()
	at := uint32(0) // of the last block written
	for i := range 100 * blocks {
		block, n := i%blocks, int64(1)
		left := m.loc - at
		if left == 2 || left == 3 { // the first block behind the next record's header, or the second
			block, n = int64(m.block), int64(left)-1
		}
		q := &Request{
			Kind: Write, Vol: v, Off: (block - n + 1) * log.BlockSize, Len: n * log.BlockSize,
			Buf: aligned(bytes.Repeat([]byte{2}, int(n)*log.BlockSize)),
		}
		if r.do(q); q.Err != 0 {
			r.t.Fatalf("write: %v", q.Err)
		}
		d, _ := r.p.index.get(v.node.line.id, v.node.rec.ID, uint64(block))
		if at = d.loc; at == m.loc && uint64(block) == m.block {
			return
		}
		if i%128 == 0 {
			r.must(&Control{Op: Checkpoint})
		}
	}
	r.t.Fatalf("block %d never came to %d", m.block, m.loc)
}

// A pool on one hard disk does not read ahead.
func TestOneHardDiskDoesNotReadAhead(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.HardDisk = [2]bool{true, true} })
	if cap(r.p.back.ahead.batch) != 0 {
		t.Error("a pool on one hard disk has memory to read ahead")
	}
}
