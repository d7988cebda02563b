package placement

import (
	"cmp"
	"slices"

	"unblend/log"
)

// While a batch is written the next one is read, so that the log's device and that of the data work at
// the same time. What is read ahead is a copy in memory and nothing else: no map, no place and no entry
// of the index depends on it. When its turn comes, it is a batch as any other, of which much need not be
// read any more; what has been overwritten, discarded or removed meanwhile is found out when it is
// placed, by the version that the index has.
//
// A version is known by where it lies in the log. That place may be written again once a checkpoint has
// freed its segment, so each checkpoint throws out what is not in the index any more: a segment of which
// the index has something is not freed.

// ahead is the batch that follows the present one.
type ahead struct {
	p       *Pool
	batch   []moving // in the order of nodes and blocks; empty: there is none
	mem     []byte   // payload of batch
	order   []uint32 // what is to be read, in the order of the log
	next    int      // next element of order
	pending int      // reads under way
	upto    uint64   // sequence up to which extents are applied before the batch is placed
}

// newAhead returns what reads ahead, if that is of use: a hard disk that has to write has no time for it.
func newAhead(p *Pool, batch, most int) ahead {
	a := ahead{p: p}
	if !p.oneDevice || !p.opt.HardDisk[log.Fast] {
		a.batch, a.order = make([]moving, 0, batch), make([]uint32, 0, batch)
		a.mem = alignedBytes(most * log.BlockSize)
	}
	return a
}

// gatherAhead gathers the next batch while the present one has its places, and is about to be written.
func (b *backend) gatherAhead() {
	a := &b.ahead
	if cap(a.batch) == 0 || len(a.batch) > 0 || b.tight || b.p.pressure() < b.p.opt.Low {
		return
	}
	now, upto := b.batch, b.upto
	b.besides, b.batch = now[:b.placed], a.batch
	b.gather()
	a.batch, a.upto = b.batch, b.upto
	b.besides, b.batch, b.upto = nil, now, upto
	slices.SortFunc(a.batch, byBlock)
	a.order, a.next = inLog(a.order, a.batch), 0
}

// readAhead reads what is still to be read of the next batch while there are writes under way.
func (b *backend) readAhead() {
	a := &b.ahead
	if b.pending == 0 {
		return
	}
	for n := b.roomFor(log.Fast, a.pending) / 2; n > 0 && a.next < len(a.order); n-- {
		op, to := b.readRun(a, a.batch, a.mem, a.order, a.next, false)
		a.next = to
		a.pending++
		b.p.ops.Submit(op)
	}
}

// OpDone takes the end of a read. What was not read well is read again in its batch's turn.
func (a *ahead) OpDone(op *log.Op, err error) {
	a.pending--
	verify(op, err, a.batch, a.mem, a.order)
	for _, i := range a.order[int(uint32(op.Arg)):][:op.Arg>>32] {
		m := &a.batch[i]
		m.read, m.bad = !m.bad, false
	}
}

// takeAhead makes what was read ahead the present batch.
func (b *backend) takeAhead() bool {
	a := &b.ahead
	if len(a.batch) == 0 {
		return false
	}
	b.batch, a.batch = a.batch, b.batch[:0]
	b.mem, a.mem = a.mem, b.mem
	b.upto, a.order, a.next = a.upto, a.order[:0], 0
	return true
}

// prune throws out what the index does not have any more. It is called before a segment that a
// checkpoint has freed is written again.
func (a *ahead) prune() {
	if planted("stale-read-ahead") {
		return
	}
	for i := range a.batch {
		m := &a.batch[i]
		n := a.p.nodes[m.id]
		if n == nil || n.gone() {
			m.id = noNode
		} else if d, ok := a.p.index.get(n.line.id, m.id, m.block); !ok || d.loc != m.loc {
			m.id = noNode
		}
	}
}

// noNode is the id of no node.
const noNode = 0

// isBesides reports whether a block is part of the batch beside which another one is gathered.
func (b *backend) isBesides(id uint32, block uint64, loc uint32) bool {
	i, ok := slices.BinarySearchFunc(b.besides, moving{id: id, block: block}, byBlock)
	return ok && b.besides[i].loc == loc
}

// byBlock orders by node and block.
func byBlock(x, y moving) int {
	if c := cmp.Compare(x.id, y.id); c != 0 {
		return c
	}
	return cmp.Compare(x.block, y.block)
}

// inLog fills order with the blocks of batch that have data and are yet to be read, in the order of the
// log.
func inLog(order []uint32, batch []moving) []uint32 {
	order = order[:0]
	for i := range batch {
		if batch[i].id != noNode && batch[i].flags == 0 && !batch[i].read {
			order = append(order, uint32(i))
		}
	}
	slices.SortFunc(order, func(x, y uint32) int { return cmp.Compare(batch[x].loc, batch[y].loc) })
	return order
}
