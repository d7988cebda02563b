package placement

import "fmt"

// The pool is the sink of the log: it is told, in each lane's order, what has become durable, by
// the lanes and by recovery alike.

// logged counts what records hold, for the index: a restart from the durable root replays all of
// it, whatever has been destaged or overwritten since.
type logged struct {
	entries, extents int
	times
}

// enter counts what a record in the segment of loc holds for a node, and returns the node; nil if
// it has been deleted, or if a replay finds that the maps have it all: those of its descendants begin
// with its own, so that may not change any more.
func (p *Pool) enter(id, loc uint32, entries, extents int) *node {
	s := &p.segments[loc/p.label.SegmentBlocks]
	s.entries += entries
	s.extents += extents
	p.logged.entries += entries
	p.logged.extents += extents
	if p.replaying && (p.logged.entries > p.opt.IndexEntries || p.logged.extents > p.opt.Extents) {
		p.replayErr = fmt.Errorf("%d index entries and %d extents do not hold the log: %w",
			p.opt.IndexEntries, p.opt.Extents, ErrConfig)
	}
	n := p.nodes[id]
	if n == nil || n.gone() || p.replayErr != nil || p.replaying && n.settled ||
		p.replaying && n.hidden() && planted("removed-node-not-replayed") {
		return nil
	}
	return n
}

// forgetSegments takes freed segments out of the count.
func (p *Pool) forgetSegments() {
	for i := range p.segments {
		if s := &p.segments[i]; s.entries+s.extents > 0 && !p.ring.Segment(i).Used() {
			p.logged.entries -= s.entries
			p.logged.extents -= s.extents
			*s = logged{}
		}
	}
}

// Wrote puts durable blocks into the dirty index.
func (p *Pool) Wrote(seq uint64, _ int, node uint32, block uint64, loc uint32, crcs []uint32) {
	n := p.enter(node, loc, len(crcs), 0)
	if n == nil {
		return
	}
	if !p.replaying {
		p.segments[loc/p.label.SegmentBlocks].came(loc, len(crcs), p.now)
	}
	for i, crc := range crcs {
		p.putDirty(n, block+uint64(i), crc, loc+uint32(i), 0)
	}
}

// Zeroed makes durable zeros of a range: long ones are an extent, short ones entries.
func (p *Pool) Zeroed(seq uint64, _ int, node uint32, block, count uint64, loc uint32) {
	need := zeroNeeds(count)
	n := p.enter(node, loc, need.entries, need.extents)
	if n == nil {
		return
	}
	if count < extentMin {
		for b := block; b < block+count; b++ {
			p.putDirty(n, b, 0, loc, dirtyZero)
		}
		return
	}
	if planted("discard-leaves-the-index") {
		p.addExtent(n, block, block+count, seq)
		return
	}
	removed, data := p.index.removeRange(n.line.id, node, block, block+count, n.dirty)
	p.flow.Dropped += uint64(data)
	p.flowOf(n.line).Dropped += uint64(data)
	p.addData(n.line, -int64(data))
	p.addDirty(n, -int64(removed))
	p.addExtent(n, block, block+count, seq)
}

// Lost records that an acknowledged block in the log is unreadable.
func (p *Pool) Lost(seq uint64, _ int, node uint32, block uint64, loc uint32, crcs []uint32) {
	n := p.enter(node, loc, len(crcs), 0)
	if n == nil {
		return
	}
	for i, crc := range crcs {
		if planted("unreadable-block-forgotten") {
			break
		}
		p.putDirty(n, block+uint64(i), crc, loc+uint32(i), dirtyLost)
	}
	p.stats.LostBlocks += uint64(len(crcs))
}

func (p *Pool) putDirty(n *node, block uint64, crc, loc uint32, flags uint8) {
	old, replaced := p.index.put(n.line.id, n.rec.ID, block, crc, loc, flags)
	if !replaced {
		p.addDirty(n, 1)
	} else if old.flags == 0 {
		p.addData(n.line, -1)
	}
	if flags == 0 {
		p.addData(n.line, 1)
	}
	p.enterFlow(n.line, flags == 0, replaced && old.flags == 0)
}

// dropDirty removes the entry of a block if it still is the version at loc.
func (p *Pool) dropDirty(n *node, block uint64, loc uint32, data bool) bool {
	if !p.index.removeIf(n.line.id, n.rec.ID, block, loc) {
		return false
	}
	if data {
		p.addData(n.line, -1)
	}
	p.addDirty(n, -1)
	return true
}

// addDirty changes the number of n's dirty blocks and with it the pages that are promised.
func (p *Pool) addDirty(n *node, delta int64) {
	n.dirty = uint64(int64(n.dirty) + delta)
	n.line.dirty = uint64(int64(n.line.dirty) + delta)
	p.promise(n)
}
