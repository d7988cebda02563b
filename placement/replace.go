package placement

import (
	"cmp"
	"slices"

	"unblend/log"
)

// Re-placement puts back into order what destage had to leave in pieces. It is the back end's last
// job: it begins when no guest has asked for anything for a while, the log is empty, and nothing
// else is to be done. One leaf is moved at a time, 1 MiB of a volume at most:
//
//  1. choose places: those blocks of the leaf that are the node's own and not at home get their
//     natural places in the leaf's home chunk, or all of them those in a free chunk;
//  2. read the blocks from where they are, and compare them with their checksums;
//  3. write them to the new places;
//  4. change the map, and free the old places.
//
// A crash loses nothing. The old places stay as they are, and in use, until a root is durable that
// does not reach them; the checkpoint of that root has flushed what step 3 wrote before it wrote a
// page that points there. Jobs of the back end never overlap, so no checkpoint falls between the
// steps: until step 4 the new places are in use in memory only. Guests' reads go to the old place
// or to the new one, which hold the same. A guest's write meanwhile goes into the log and is what
// is read from then on; its destage finds the block where step 4 has left it.
//
// Everything that can fail for want of room is done in step 1, so that step 4 cannot; it gives up
// only if the node has become a snapshot or was removed meanwhile. A guest's request ends the job
// before its next device operation, and the leaf is moved at another time. What cannot be read is
// reported and stays where it is.

// replaceGain is how many pieces fewer a leaf must be read in afterwards to be worth a new chunk.
// Blocks that only have to go home are moved for less.
const replaceGain = 4

// replacement is the state of the job.
type replacement struct {
	key   uint64 // the leaf that is moved
	moves []moving
	chunk uint64 // where it is moved to

	guest int64  // when the last guest's request had come as the job began
	began int64  // ns
	rest  int64  // ns; until when the next one waits: as long as the last one took
	stuck uint64 // the leaf for which a checkpoint was needed first

	badMove error // why the last bad block could not be read
}

// mayReplace reports whether re-placement could go on if enough time has passed.
func (b *backend) mayReplace() bool {
	p := b.p
	promised := p.dirtyData + p.reserved.data + p.opt.reserveBlocks
	switch {
	case p.opt.NoReplacement, b.scattered.empty(), b.backlog(), b.walking(), b.tight, b.wanted,
		len(p.stalled) > 0, p.control != nil, p.controls.head != nil:
		return false
	}
	return p.blocks.free > promised+2*chunkUnits &&
		p.pages.free > p.pageNeed+p.opt.reservePages+maxLevels
}

// replaceAt returns when the next leaf may be moved if no guest asks for anything.
func (b *backend) replaceAt() int64 { return max(b.p.lastGuest+b.p.opt.Idle, b.rest) }

// beginReplace looks at the next leaf, and begins to move it if that is worth it. It reports
// whether there may be more to do at once.
func (b *backend) beginReplace() bool {
	p := b.p
	if !b.mayReplace() || p.now < b.replaceAt() {
		return false
	}
	if b.leaves == 0 {
		b.paused = true
		return false
	}
	b.leaves--
	key, ok, err := p.nextScattered(&b.waiter)
	if ok {
		b.key = key
		ok, err = b.chooseMoves(uint32(key>>32), key&(1<<32-1))
	}
	switch {
	case err == errWait:
		return false
	case err == errTight && b.changed && b.stuck != key:
		b.tight, b.stuck = true, key
		return true
	case err != nil || !ok:
		if key != 0 {
			b.scattered.done(key) // there is no room for it, or no need
		}
		return true
	}
	b.sortMoves(func(m *moving) uint64 { return m.from })
	b.guest, b.began, b.stuck = p.lastGuest, p.now, 0
	b.phase, b.next, b.single = replaceRead, 0, false
	return true
}

// chooseMoves decides what of a leaf is moved, and takes the places for it. All that could fail is
// done before the first place is taken.
func (b *backend) chooseMoves(id uint32, leaf uint64) (bool, error) {
	p, n := b.p, b.p.nodes[id]
	if n == nil || !n.replaceable() {
		return false, nil
	}
	f, err := p.descend(&n.tree, leaf*leafBlocks, 1, &b.waiter)
	if err != nil || f == noFrame {
		return false, err
	}
	s := p.shapeOf(n, f, leaf)
	if !s.scattered() {
		p.cache.passedBy(f)
		return false, nil
	}
	p.cache.frames[f].pins++ // what else is needed may want a frame
	defer func() { p.cache.frames[f].pins-- }()
	if b.chunk, err = b.chooseChunk(n, f, leaf, &s); err != nil {
		return false, err
	}
	if b.chunk == noChunk {
		return false, nil
	}
	b.listMoves(n, f, leaf)
	if err := b.prepareMoves(n, leaf); err != nil {
		return false, err
	}
	for i := range b.moves {
		if ok, err := p.blocks.allocAt(b.moves[i].addr, &b.waiter); !ok || err != nil {
			panic("placement: a place that was free is not")
		}
	}
	b.changed = true
	return true, nil
}

const noChunk = ^uint64(0)

// chooseChunk returns the chunk that a scattered leaf is to lie in: its home if that has the places,
// else a free one, or noChunk.
func (b *backend) chooseChunk(n *node, f int32, leaf uint64, s *leafShape) (uint64, error) {
	p := b.p
	if p.atHome(n, f, leaf, s.chunk) > 0 {
		free, err := b.homeFree(n, f, leaf, s.chunk)
		if free || err != nil {
			return s.chunk, err
		}
	}
	if s.runs < s.least+replaceGain {
		return noChunk, nil
	}
	chunk, err := p.blocks.freeChunk(&b.waiter)
	if err == errFull {
		return noChunk, nil
	}
	return chunk, err
}

// homeFree reports whether the places in a chunk are free that those blocks would have there which
// lie elsewhere.
func (b *backend) homeFree(n *node, f int32, leaf, chunk uint64) (bool, error) {
	p := b.p
	if chunk+chunkUnits > p.blocks.total {
		return false, nil
	}
	m, err := p.blocks.bitmap(chunk, &b.waiter)
	if err != nil {
		return false, err
	}
	page := p.cache.page(f)
	for i := range uint64(fanout) {
		e := entryAt(page, int(i))
		if e.Addr != chunk+i && p.mayMove(n, e, leaf*leafBlocks+i) && p.blocks.isSet(m, chunk+i) {
			return false, nil
		}
	}
	return true, nil
}

// listMoves fills moves with the blocks of a leaf that are not at home.
func (b *backend) listMoves(n *node, f int32, leaf uint64) {
	page := b.p.cache.page(f)
	b.moves = b.moves[:0]
	for i := range uint64(fanout) {
		block, e := leaf*leafBlocks+i, entryAt(page, int(i))
		if e.Addr != b.chunk+i && b.p.mayMove(n, e, block) {
			b.moves = append(b.moves, moving{
				id: n.rec.ID, block: block, crc: e.CRC, from: e.Addr, addr: b.chunk + i,
			})
		}
	}
}

// prepareMoves sees to it that the map can be changed and the old places freed.
func (b *backend) prepareMoves(n *node, leaf uint64) error {
	p := b.p
	if len(p.blocks.freed)+len(b.moves) > cap(p.blocks.freed) {
		return errTight
	}
	for i := range b.moves {
		if err := p.blocks.prepareFree(b.moves[i].from, &b.waiter); err != nil {
			return err
		}
	}
	if _, err := p.blocks.writable(b.chunk, &b.waiter); err != nil {
		return err
	}
	b.changed = true // own may copy a page and then wait
	if _, err := p.own(&n.tree, leaf*leafBlocks, &b.waiter); err != nil {
		return err
	}
	_, err := p.blocks.writable(b.chunk, &b.waiter) // it has to be there still
	return err
}

// sortMoves fills order with the moves that are not given up, in the order of an address.
func (b *backend) sortMoves(by func(*moving) uint64) {
	b.order = b.order[:0]
	for i := range b.moves {
		if !b.moves[i].bad {
			b.order = append(b.order, uint32(i))
		}
	}
	slices.SortFunc(b.order, func(x, y uint32) int {
		return cmp.Compare(by(&b.moves[x]), by(&b.moves[y]))
	})
}

// disturbed reports whether a guest has asked for something since the job began.
func (b *backend) disturbed() bool { return b.p.lastGuest != b.guest }

// readMoves reads the blocks from where they are.
func (b *backend) readMoves() bool {
	for b.next < len(b.order) && b.room(log.Capacity) > 0 && !b.disturbed() {
		b.moveRun(log.Read, func(m *moving) uint64 { return m.from })
	}
	switch {
	case b.pending > 0:
		return false
	case b.disturbed():
		b.endMoves(false)
		return true
	case b.next < len(b.order):
		return false
	case b.readAgain():
		return true
	}
	b.sortMoves(func(m *moving) uint64 { return m.addr })
	b.phase, b.next, b.single = replaceWrite, 0, false
	if planted("moved-before-written") {
		b.next = len(b.order)
	}
	return true
}

// readAgain has the blocks read once more, each alone, that could not be read or are not what was
// written. What fails again is reported and left where it is.
func (b *backend) readAgain() bool {
	p, again := b.p, b.order[:0]
	for _, i := range b.order {
		m := &b.moves[i]
		switch {
		case !m.bad:
		case !b.single:
			m.bad = false
			p.stats.Mismatches++
			again = append(again, i)
		default:
			p.stats.ReadErrors++
			p.stats.LastError = &BlockError{
				Volume: p.nameOf(m.id), Block: m.block, Device: log.Capacity.String(),
				Address: m.from, Err: b.badMove,
			}
		}
	}
	b.order, b.next, b.single = again, 0, true
	return len(again) > 0
}

// nameOf returns the name of a node, "" if it has none any more.
func (p *Pool) nameOf(id uint32) string {
	if n := p.nodes[id]; n != nil {
		return n.rec.Name
	}
	return ""
}

// writeMoves writes the blocks to their new places, and then changes the map. Where a write fails
// everything stays as it was: destage finds out which block is bad.
func (b *backend) writeMoves() bool {
	for b.next < len(b.order) && b.room(log.Capacity) > 0 && !b.disturbed() {
		b.moveRun(log.Write, func(m *moving) uint64 { return m.addr })
	}
	switch {
	case b.pending > 0:
		return false
	case b.next < len(b.order):
		if b.disturbed() {
			b.endMoves(false)
			return true
		}
		return false
	}
	failed := slices.ContainsFunc(b.order, func(i uint32) bool { return b.moves[i].bad })
	if !failed {
		b.commitMoves()
	}
	b.endMoves(true)
	return true
}

// moveRun reads or writes the next blocks whose addresses follow each other.
func (b *backend) moveRun(kind log.Kind, by func(*moving) uint64) {
	from := b.next
	addr := by(&b.moves[b.order[from]])
	op := b.p.ops.NewOp(b, log.Capacity, kind, int64(addr)*log.BlockSize)
	for ; b.next < len(b.order) && len(op.Bufs) < maxVector; b.next++ {
		i := b.order[b.next]
		if by(&b.moves[i]) != addr+uint64(b.next-from) || b.single && b.next > from {
			break
		}
		if kind == log.Write {
			b.p.cache.forgetShared(by(&b.moves[i]))
		}
		op.Bufs = append(op.Bufs, b.slot(i))
	}
	op.Arg, op.Sums = uint64(from)|uint64(b.next-from)<<32, kind == log.Read
	b.submit(op)
}

// moveDone takes the end of a device operation of the job.
func (b *backend) moveDone(op *log.Op, err error) {
	from, n := int(uint32(op.Arg)), int(op.Arg>>32)
	for k, i := range b.order[from : from+n] {
		m, why := &b.moves[i], err
		if why == nil && op.Kind == log.Read {
			if got := op.BlockSum(k, b.slot(i)); got != m.crc {
				why = &ChecksumError{Want: m.crc, Got: got}
			}
		}
		if why != nil {
			m.bad, b.badMove = true, why
		}
	}
}

// commitMoves makes the map point at the new places.
func (b *backend) commitMoves() {
	p, n := b.p, b.p.nodes[uint32(b.key>>32)]
	if n == nil || !n.replaceable() || len(b.order) == 0 {
		return
	}
	f, err := p.descend(&n.tree, b.key&(1<<32-1)*leafBlocks, 1, nil)
	if err != nil || f == noFrame || !p.cache.frames[f].dirty {
		panic("placement: the page of a leaf that is moved went away")
	}
	page := p.cache.page(f)
	for _, i := range b.order {
		m := &b.moves[i]
		slot := slotAt(m.block, 1)
		e := entryAt(page, slot)
		p.blocks.release(e.Addr)
		e.Addr, e.Epoch = m.addr, n.birth
		putEntry(page, slot, e)
		m.moved = true
	}
	p.stats.ReplacedBlocks += uint64(len(b.order))
	p.stats.ReplacedLeaves++
}

// endMoves ends the job: places that were not used are free again. With over the leaf is not looked
// at again until it changes.
func (b *backend) endMoves(over bool) {
	for i := range b.moves {
		if m := &b.moves[i]; !m.moved {
			b.p.blocks.unalloc(m.addr)
		}
	}
	if over {
		b.scattered.done(b.key)
	}
	b.moves = b.moves[:0]
	b.phase, b.rest = backIdle, b.p.now+(b.p.now-b.began)
}
