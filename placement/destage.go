package placement

import (
	"cmp"
	"slices"

	"unblend/log"
)

// moving is a block on its way from the log to its place.
type moving struct {
	id    uint32 // node
	block uint64
	loc   uint32 // version: where it lies in the log
	crc   uint32
	flags uint8
	tries uint8
	data  bool   // it counts among the blocks that need a place
	read  bool   // its payload is in memory: it was read ahead
	bad   bool   // the last read or write of it failed
	alone bool   // it is, or was, written in an operation of its own
	write bool   // it is to be written to addr
	moved bool   // it is to be written once more, to addr
	addr  uint64 // its place
	from  uint64 // the place that it leaves; of re-placement
}

// gapMax is how many unwanted log blocks are read over rather than skipped.
const gapMax = 16

// beginDestage gathers the live blocks of the oldest segments, in the order of nodes and blocks.
func (b *backend) beginDestage() bool {
	if !b.takeAhead() {
		b.gather()
		slices.SortFunc(b.batch, byBlock)
	}
	if len(b.batch) == 0 && (b.p.zeros.len() == 0 || b.p.zeros.minSeq() > b.upto) {
		return false
	}
	b.durable = b.p.ring.LastPublished()
	b.phase, b.placed, b.changed = destageDurable, 0, true
	return true
}

// gather fills batch from the oldest segments that hold live blocks.
func (b *backend) gather() {
	p := b.p
	b.batch, b.upto = b.batch[:0], 0
	b.gatherer.reset()
	after := uint64(0)
	for b.mayTake() {
		i := b.oldest(after)
		if i < 0 {
			break
		}
		s := p.ring.Segment(i)
		if !s.Closed() && !b.open && p.pressure() < p.opt.Low || len(b.batch) > 0 && !b.takeAll(i) {
			break
		}
		b.takeSegment(i)
		b.upto = max(b.upto, s.LastSeq)
		after = s.FirstSeq + 1
	}
	if i := b.oldest(0); i < 0 && (b.open || p.pressure() >= p.opt.Low) {
		b.upto = ^uint64(0) // only extents are left
	}
}

// takeAll reports whether all of segment i fits into what is left of the batch.
func (b *backend) takeAll(i int) bool {
	return b.p.index.segCount(i) <= cap(b.batch)-len(b.batch)
}

// oldest returns the segment with live blocks that began first, of those that began at or after
// sequence from; -1 if there is none.
func (b *backend) oldest(from uint64) int {
	best, seq := -1, ^uint64(0)
	for i := range b.p.ring.Segments() {
		s := b.p.ring.Segment(i)
		if s.Used() && s.FirstSeq >= from && s.FirstSeq < seq && b.p.index.segCount(i) > 0 {
			best, seq = i, s.FirstSeq
		}
	}
	return best
}

// awaitDurable goes on when everything that the batch holds is durable in the log. Only a pool
// with --durability flush has anything to wait for.
func (b *backend) awaitDurable() bool {
	if !b.p.ring.DurableTo(b.durable) {
		return false
	}
	b.phase, b.zeroNode, b.zeroBlock = destageZeros, 0, 0
	return true
}

// applyZeros applies the extents that are older than the batch: a block of the batch that lies in
// one is newer than it. They are gone through once, by node and block: what comes meanwhile is newer
// than the batch, and so is what the batch's nodes may not yet apply.
func (b *backend) applyZeros() bool {
	p := b.p
	e, ok := p.zeros.next(b.zeroNode, b.zeroBlock, b.upto, b.mayZero)
	if !ok {
		b.phase, b.next = destageRead, 0
		b.order = inLog(b.order, b.batch)
		return true
	}
	b.zeroNode, b.zeroBlock = e.node, e.start
	n := p.nodes[e.node]
	at, err := p.punch(n, e.start, e.end, &b.waiter)
	if p.zeros.applied(e.node, e.start, at) {
		p.countExtents(n, -1)
	}
	return b.goOn(err)
}

// mayZero reports whether the map of a node that has extents may change.
func (b *backend) mayZero(node uint32) bool { return b.p.mayPlace(b.p.nodes[node]) }

// goOn interprets the outcome of a step: whether to go on at once. A job that cannot go on before
// a checkpoint is given up; what it has not done is still in the index.
func (b *backend) goOn(err error) bool {
	switch err {
	case nil:
		return true
	case errWait:
		return false
	case errTight, errFull:
		b.tight, b.phase = true, backIdle
		b.owed = walkLeaves // which may be what makes room
		return true
	}
	b.p.setReadOnly(err)
	return false
}

// sortByAddr fills order with the blocks that are to be written, in the order of their places.
func (b *backend) sortByAddr() {
	b.order = b.order[:0]
	for i := range b.batch[:b.placed] {
		if b.batch[i].write {
			b.order = append(b.order, uint32(i))
		}
	}
	slices.SortFunc(b.order, func(x, y uint32) int {
		return cmp.Compare(b.batch[x].addr, b.batch[y].addr)
	})
}

func (b *backend) slot(i uint32) []byte { return slotOf(b.mem, i) }

// slotOf returns the payload of the i-th block of a batch.
func slotOf(mem []byte, i uint32) []byte {
	return mem[int(i)*log.BlockSize : (int(i)+1)*log.BlockSize]
}

// readBatch reads the batch's blocks from the log, in the log's order, over small gaps. Blocks that
// could not be read, or are not what was written, are read once more, each alone.
func (b *backend) readBatch() bool {
	for b.next < len(b.order) && b.room(log.Fast) > 0 {
		op, to := b.readRun(b, b.batch, b.mem, b.order, b.next, b.single)
		b.next = to
		b.submit(op)
	}
	if b.next < len(b.order) || b.pending > 0 {
		return false
	}
	if b.single = b.collectBad(); b.p.readOnly != nil {
		return false
	}
	if b.single {
		b.next = 0
		b.probeLog()
		return true
	}
	b.phase, b.next = destagePlace, 0
	b.home = homeChunk{}
	return true
}

// collectBad leaves in order the blocks that are to be read again. What has failed twice alone is
// lost: its volume gets an error where it is read, and a write heals it. But a device of which nothing
// can be read has lost nothing: then all writing stops, and the log stays as it is for a restart.
func (b *backend) collectBad() bool {
	again := b.order[:0]
	for _, i := range b.order {
		m := &b.batch[i]
		if !m.bad {
			continue
		}
		m.bad = false
		if m.tries++; m.tries < 3 { // the first was not for it alone
			again = append(again, i)
			continue
		}
		if b.probe != nil {
			b.p.setReadOnly(b.probe)
			return false
		}
		m.flags = dirtyLost
		b.p.stats.LostBlocks++
	}
	b.order = again
	return len(again) > 0
}

// readProbe is the Arg of a read that is to tell a bad block from a device that cannot be read.
const readProbe = ^uint64(0)

// probeLog reads the label, which the log's device certainly has, beside the blocks that could not be
// read.
func (b *backend) probeLog() {
	op := b.p.ops.NewOp(b, log.Fast, log.Read, 0)
	op.Bufs, op.Arg = append(op.Bufs, b.gap), readProbe
	b.submit(op)
}

// readRun makes the operation that reads a batch's blocks from order[from] on, as far as they lie close
// together in the log, and returns where in order the next one begins.
func (b *backend) readRun(owner log.Owner, batch []moving, mem []byte, order []uint32, from int,
	single bool,
) (op *log.Op, to int) {
	p := b.p
	at := batch[order[from]].loc
	op = p.ops.NewOp(owner, log.Fast, log.Read, int64(p.label.LogOffset)+int64(at)*log.BlockSize)
	for to = from; to < len(order) && len(op.Bufs) < maxVector; to++ {
		i := order[to]
		skip := batch[i].loc - at
		if skip > gapMax || len(op.Bufs)+int(skip) >= maxVector || single && to > from {
			break
		}
		for ; skip > 0; skip-- {
			op.Bufs = append(op.Bufs, b.gap)
		}
		op.Bufs = append(op.Bufs, slotOf(mem, i))
		at = batch[i].loc + 1
	}
	op.Arg, op.Sums = uint64(from)|uint64(to-from)<<32, true
	p.stats.DestageReads++
	p.stats.DestageRead += uint64(len(op.Bufs))
	return op, to
}

// readDone verifies what was read from the log.
func (b *backend) readDone(op *log.Op, err error) {
	if op.Arg == readProbe {
		if b.probe = nil; err != nil {
			b.probe = &DeviceError{Op: op.Kind.String(), Dev: op.Dev, Off: op.Off, Err: err}
		}
		return
	}
	verify(op, err, b.batch, b.mem, b.order)
}

// verify says of each block that an operation of readRun has read whether it is bad.
func verify(op *log.Op, err error, batch []moving, mem []byte, order []uint32) {
	from, n := int(uint32(op.Arg)), int(op.Arg>>32)
	first := batch[order[from]].loc
	for _, i := range order[from : from+n] {
		m := &batch[i]
		m.bad = err != nil || op.BlockSum(int(m.loc-first), slotOf(mem, i)) != m.crc
	}
}

// writeBatch writes the placed blocks in the order of their addresses, in runs as long as they
// allow, and when the last has ended takes them out of the index.
func (b *backend) writeBatch() bool {
	for b.next < len(b.order) && b.room(log.Capacity) > 0 {
		b.writeRun()
	}
	b.readAhead()
	if b.next < len(b.order) || b.pending > 0 || b.ahead.pending > 0 {
		return false
	}
	if b.replaceBad() {
		return b.p.readOnly == nil
	}
	b.retire()
	b.phase = backIdle
	return true
}

func (b *backend) writeRun() {
	from := b.next
	addr := b.batch[b.order[from]].addr
	op := b.p.ops.NewOp(b, log.Capacity, log.Write, int64(addr)*log.BlockSize)
	for ; b.next < len(b.order) && len(op.Bufs) < maxVector; b.next++ {
		i := b.order[b.next]
		if b.batch[i].addr != addr+uint64(b.next-from) || b.batch[i].alone && b.next > from {
			break
		}
		b.p.cache.forgetShared(b.batch[i].addr)
		op.Bufs = append(op.Bufs, b.slot(i))
	}
	op.Arg = uint64(from) | uint64(b.next-from)<<32
	b.p.stats.DestageRuns++
	b.p.stats.DestagedBlocks += uint64(b.next - from)
	b.submit(op)
}

func (b *backend) writeDone(op *log.Op, err error) {
	if err == nil {
		return
	}
	from, n := int(uint32(op.Arg)), int(op.Arg>>32)
	for _, i := range b.order[from : from+n] {
		b.batch[i].bad = true
	}
}

// retire takes what is placed out of the index, unless a newer version has come meanwhile.
func (b *backend) retire() {
	b.owed = walkLeaves
	if !b.p.opt.NoReplacement {
		b.noteScattered()
	}
	for i := range b.batch[:b.placed] {
		m := &b.batch[i]
		if n := b.p.nodes[m.id]; n != nil && b.p.dropDirty(n, m.block, m.loc, m.data) && m.data {
			b.leaveFlow(n, m)
		}
	}
}
