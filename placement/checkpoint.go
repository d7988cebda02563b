package placement

import (
	"cmp"
	"slices"

	"unblend/log"
)

// A checkpoint makes the maps in memory durable, in this order, each step after the one before it
// is done on all devices:
//
//  1. the cut: from here on the pages to be written do not change; what arrives in the log belongs
//     to the next checkpoint;
//  2. flush of the capacity device: destaged data is durable before a durable map points at it;
//  3. the changed pages, to both homes, at addresses and places the durable root does not use;
//  4. flush of both devices;
//  5. the root, into the slot of its generation, first in one home, then in the other;
//  6. when the reads that may still look at the old state have ended: what the old root held and
//     the new one does not is free, in the log and on the devices.
//
// A crash before 5 leaves the old root with all it needs: nothing that it reaches was overwritten,
// except blocks in place, whose newer content is still in the log. A failure of any step stops all
// writing: the devices' state is known again only after a restart.

// pageWrite is a page that a checkpoint writes to both homes.
type pageWrite struct {
	block uint64 // from the start of the home
	mem   []byte
}

// catalogueIndex returns where the leaf with the record of node id is in the catalogue's tree.
func catalogueIndex(id uint32) uint64 { return uint64(id) / nodesPerPage * fanout }

func (b *backend) beginCheckpoint() {
	b.phase, b.next = cutCatalogue, 0
	b.markRemovable()
	// By id, so that nodes that share a page follow each other. Those that are touched from now
	// on until the cut come last.
	slices.SortFunc(b.p.stale, func(x, y *node) int { return cmp.Compare(x.rec.ID, y.rec.ID) })
	b.p.dirtyLimit = b.p.cache.cutLimit()
}

// cutLimit returns how many frames may be dirty when a checkpoint is cut. The others are for reads.
func (c *cache) cutLimit() int { return len(c.frames) - minFrames/4 }

// touch notes that n's record has to be written by the next checkpoint.
func (p *Pool) touch(n *node) {
	if !n.stale {
		n.stale = true
		p.stale = append(p.stale, n)
	}
}

// cutNeeds returns the most catalogue pages that the cut of a checkpoint now would change.
func (p *Pool) cutNeeds() int {
	const above = nodesPerPage * fanout
	leaves := min(len(p.stale), int(p.nextNode)/nodesPerPage+1)
	return leaves + min(leaves, int(p.nextNode)/above+1) + 2 + p.coming
}

// cutFits reports whether there are frames, free pages and room to remember the freed ones for the
// cut of a checkpoint when more pages, and one more node, have been changed before.
func (p *Pool) cutFits(more int) bool {
	need := p.cutNeeds() + more + 2
	return p.cache.dirty+need <= p.cache.cutLimit() && uint64(need) < p.pages.free &&
		len(p.pages.freed)+need <= cap(p.pages.freed)
}

// cutRoot makes the catalogue pages of all changed nodes changeable, which may take several calls,
// and when it holds them all, makes the cut.
func (b *backend) cutRoot() bool {
	p := b.p
	for ; b.next < len(p.stale); b.next++ {
		id := p.stale[b.next].rec.ID
		if _, err := p.own(&p.catalogue, catalogueIndex(id), &b.waiter); err != nil {
			if err == errWait {
				return false
			}
			p.setReadOnly(err)
			return false
		}
	}
	b.fixRoot()
	b.phase = flushData
	if planted("capacity-not-flushed") {
		b.phase, b.next = writePages, 0
		return true
	}
	b.flushOne(log.Capacity)
	return true
}

// markRemovable finds the deleted nodes that nothing can name any more: they have no pages and the
// log no record of them from the replay start on.
func (b *backend) markRemovable() {
	p, start := b.p, b.p.replayStart()
	for _, n := range p.dead {
		if !p.cutFits(0) {
			return // the next checkpoint goes on
		}
		if n.rec.LastSeq < start && !n.removed {
			n.removed = true
			p.touch(n)
		}
	}
}

// fixRoot is the cut itself: it gives every changed page its checksum and lists the pages to write
// and the root that will reach them.
func (b *backend) fixRoot() {
	p := b.p
	p.sealPages(false)
	for _, n := range p.stale {
		b.writeRecord(n)
	}
	b.pruneCatalogue()
	p.stale = p.stale[:0]
	p.sealPages(true)
	p.pages.clearFreed()
	p.blocks.clearFreed()
	b.cut = Root{
		Pool: p.label.Pool, Generation: p.root.Generation + 1, Replay: p.replayStart(),
		LastMark: p.lastMark, Epoch: p.epoch, NextNode: p.nextNode,
		Catalogue: p.catalogue.root, Bad: slices.Clone(p.bad),
		Blocks: p.blocks.total, Pages: p.pages.total,
		Clean: b.clean, Time: p.opt.Wall(),
	}
	if planted("replay-starts-too-late") {
		b.cut.Replay = p.ring.NextSeq()
	}
	slices.Sort(b.cut.Bad)
	if p.catalogue.root.Flags != 0 {
		b.cut.Levels = p.catalogue.levels
	}
	b.granted = b.wanted
	b.writes = b.writes[:0]
	b.listTreePages()
	b.cut.BlockRefs = b.listBitmap(p.blocks, p.label.Home.BlockMap)
	b.cut.PageRefs = b.listBitmap(p.pages, p.label.Home.PageMap)
	b.cut.BlockLevels = uint8(p.blocks.refs.levels())
	b.cut.PageLevels = uint8(p.pages.refs.levels())
	b.cut.FreeBlocks, b.cut.FreePages = p.blocks.free, p.pages.free
	slices.SortFunc(b.writes, func(x, y pageWrite) int { return cmp.Compare(x.block, y.block) })
	b.changed = false
}

// writeRecord puts n's record into its catalogue page, which is changeable.
func (b *backend) writeRecord(n *node) {
	p := b.p
	f, err := p.descend(&p.catalogue, catalogueIndex(n.rec.ID), 1, nil)
	if err != nil || f == noFrame {
		panic("placement: a catalogue page went away")
	}
	slot := nodeSlot(p.cache.page(f), n.rec.ID)
	n.stale = false
	if n.removed {
		clear(slot)
		return
	}
	n.rec.Root, n.rec.Floor, n.rec.Birth, n.rec.Levels = n.root, n.floor, n.birth, 0
	if n.root.Flags != 0 {
		n.rec.Levels = n.levels
	}
	n.rec.encode(slot)
}

// pruneCatalogue removes the catalogue pages that hold no record any more.
func (b *backend) pruneCatalogue() {
	p := b.p
	for _, n := range p.stale {
		if !n.removed {
			continue
		}
		f, err := p.descend(&p.catalogue, catalogueIndex(n.rec.ID), 1, nil)
		if err == nil && f != noFrame {
			p.prune(f)
		}
	}
}

func (b *backend) listTreePages() {
	p := b.p
	for i := range p.cache.frames {
		f := &p.cache.frames[i]
		if f.dirty && f.key.kind() == treePage {
			b.list(p.label.pageBlock(f.key.number()), p.cache.page(int32(i)))
		}
	}
}

func (b *backend) list(block uint64, mem []byte) {
	b.writes = append(b.writes, pageWrite{block, mem})
}

// listBitmap lists the changed pages of a bitmap and of the references above it, moves each to its
// other place, and returns the references for the root.
func (b *backend) listBitmap(s *space, base uint64) []ShadowRef {
	c, refs := b.p.cache, s.refs
	for i := range c.frames {
		f := &c.frames[i]
		if f.dirty && f.key.kind() == s.kind {
			f.crc = checksum(c.page(int32(i)))
			n := int(f.key.number())
			refs.turn(0, n, f.crc)
			b.list(refs.block(0, n, refs.at(0, n).Place), c.page(int32(i)))
		}
	}
	for level := 1; level < refs.levels(); level++ {
		for i, changed := range refs.dirty[level-1] {
			if changed {
				mem := refs.content(level, i)
				refs.turn(level, i, checksum(mem))
				b.list(refs.block(level, i, refs.at(level, i).Place), mem)
			}
		}
		clear(refs.dirty[level-1])
	}
	return refs.top()
}

// writeSome writes the listed pages to both homes, in the order of their addresses.
func (b *backend) writeSome() bool {
	total := len(b.writes) * b.p.homes
	for b.next < total {
		home := log.Dev(b.next / len(b.writes))
		if b.room(home) <= 0 {
			break
		}
		b.writeRunOf(home, b.next%len(b.writes))
	}
	if b.next < total || b.pending > 0 {
		return false
	}
	b.phase = flushPages
	b.flushOne(log.Fast)
	if !b.p.oneDevice && !planted("capacity-not-flushed") {
		b.flushOne(log.Capacity)
	}
	return false
}

// writeRunOf writes the pages from list position from on whose addresses follow each other.
func (b *backend) writeRunOf(home log.Dev, from int) {
	l := &b.p.label
	at := l.locate(home, b.writes[from].block)
	op := b.p.ops.NewOp(b, at.dev, log.Write, at.off)
	for i := from; i < len(b.writes) && len(op.Bufs) < maxVector; i++ {
		if l.locate(home, b.writes[i].block) != (place{at.dev, at.off + int64(i-from)*log.BlockSize}) {
			break
		}
		op.Bufs = append(op.Bufs, b.writes[i].mem)
		b.next++
	}
	b.p.stats.PageWrites += uint64(len(op.Bufs))
	b.submit(op)
}

func (b *backend) flushOne(dev log.Dev) {
	b.submit(b.p.ops.NewOp(b, dev, log.Flush, 0))
}

// checkpointOpDone takes the end of a device operation and goes on when it was the last. No error
// can be mended here, and a failed flush is never tried again: what it should have made durable
// may be gone from the device's cache.
func (b *backend) checkpointOpDone(op *log.Op, err error) {
	if err != nil && op.Kind == log.Flush && planted("failed-flush-tried-again") {
		b.flushOne(op.Dev)
		return
	}
	if err != nil {
		b.p.setReadOnly(&DeviceError{Op: op.Kind.String(), Dev: op.Dev, Off: op.Off, Err: err})
		return
	}
	if b.pending > 0 || b.p.readOnly != nil {
		return
	}
	switch b.phase {
	case flushData:
		b.phase, b.next = writePages, 0
	case flushPages:
		b.phase, b.rootHome = writeRoot, 0
		b.putRoot()
	case writeRoot:
		if b.rootHome++; b.rootHome < b.p.homes {
			b.putRoot()
			return
		}
		b.phase = checkpointGrace
		b.p.beginGrace()
	}
}

// putRoot writes the root into one home.
func (b *backend) putRoot() {
	p := b.p
	home := log.Dev(b.rootHome)
	if planted("one-root-copy") {
		home = log.Fast
	}
	off := rootOffset(&p.label, home, b.cut.Generation)
	b.cut.Encode(b.rootMem, home, off)
	op := p.ops.NewOp(b, home, log.Write, off)
	op.FUA = true
	op.Bufs = append(op.Bufs, b.rootMem)
	b.submit(op)
}

// rootOffset returns where the root of a generation lies in a home, in bytes.
func rootOffset(l *Label, home log.Dev, generation uint64) int64 {
	return int64(l.HomeStart(home)+l.Home.Roots+generation%2) * log.BlockSize
}

// checkpointDone is step 6.
func (b *backend) checkpointDone() {
	p := b.p
	p.root = b.cut
	for i := range p.cache.frames {
		f := &p.cache.frames[i]
		if f.dirty && f.key.kind() == treePage {
			f.tree.fresh = 0
		}
		p.cache.setClean(int32(i))
	}
	p.ring.SetGeneration(p.root.Generation)
	b.ahead.prune()
	p.ring.FreeBelow(p.root.Replay)
	p.forgetSegments()
	p.forgetRemoved()
	p.dirtyLimit = p.opt.dirtyLimit()
	p.stats.Checkpoints++
	p.wake(&p.opWait) // frames can be had again
	b.phase, b.tight, b.since = backIdle, false, p.now
	if b.granted {
		b.wanted, b.over = false, b.clean
	}
}

// forgetRemoved drops from memory the nodes that the root no longer has.
func (p *Pool) forgetRemoved() {
	gone := func(n *node) bool { return n.removed && !n.stale }
	if !slices.ContainsFunc(p.dead, gone) {
		return
	}
	for _, n := range p.dead {
		if gone(n) {
			delete(p.nodes, n.rec.ID)
		}
	}
	p.order = slices.DeleteFunc(p.order, gone)
	p.dead = slices.DeleteFunc(p.dead, gone)
}
