package placement

import (
	"fmt"

	"unblend/log"
)

// The counts in the catalogue follow from the maps alone: what a node has at another place than its
// parent is its own. Check makes them without a look at epochs, from the state of the root, by going
// through the maps of a node, its parent and its parent's parent side by side. Pages that the first
// two share are passed over. Wrong counts are no damage: only what status shows depends on them.

// tally is what one map has that another has not.
type tally struct {
	gained uint64 // blocks of the node that its parent has not, or elsewhere
	lost   uint64 // blocks of the parent that the node has not, or elsewhere
	over   uint64 // of these, the parent's own
}

// mapPart is what a place of a map leads to: the page at a level, or at level 0 a block.
type mapPart struct {
	e     Entry
	level uint8
}

func (m mapPart) same(o mapPart) bool {
	if m.e.Flags&FlagMapped == 0 {
		return o.e.Flags&FlagMapped == 0
	}
	return m.e.sameBlock(o.e) && m.level == o.level
}

// tallying compares the maps of a node, its parent and its parent's parent.
type tallying struct {
	c        *checker
	from, to uint64 // the blocks that are compared
	mem      [maxLevels + 1][3][]byte
	err      error
	tally
}

// tally compares the maps of three nodes, of which the older ones may be nil, in a range of blocks.
func (c *checker) tally(n, parent, older *node, from, to uint64) (tally, error) {
	t := tallying{c: c, from: from, to: to}
	var parts [3]mapPart
	for i, n := range [...]*node{n, parent, older} {
		if n != nil {
			parts[i] = mapPart{n.rec.Root, n.rec.Levels}
		}
	}
	level := max(parts[0].level, parts[1].level, parts[2].level)
	for l := range level {
		for i := range parts {
			t.mem[l+1][i] = alignedBytes(log.BlockSize)
		}
	}
	t.compare(parts, level, 0)
	return t.tally, t.err
}

// compare compares what lies below three places of the maps, from block first on.
func (t *tallying) compare(parts [3]mapPart, level uint8, first uint64) {
	span := uint64(1) << (fanoutBits * level)
	if t.err != nil || first >= t.to || first+span <= t.from || parts[0].same(parts[1]) {
		return
	}
	if level == 0 {
		t.block(parts[0].e, parts[1].e, parts[2].e)
		return
	}
	for i, m := range parts {
		if m.e.Flags&FlagMapped != 0 && m.level == level {
			if t.err = t.c.readPage(m.e, t.mem[level][i]); t.err != nil {
				return
			}
		}
	}
	for slot := range fanout {
		var below [3]mapPart
		for i, m := range parts {
			switch {
			case m.e.Flags&FlagMapped == 0:
			case m.level == level:
				below[i] = mapPart{entryAt(t.mem[level][i], slot), level - 1}
			case slot == 0: // a map with fewer levels
				below[i] = m
			}
		}
		t.compare(below, level-1, first+uint64(slot)<<(fanoutBits*(level-1)))
	}
}

func (t *tallying) block(n, parent, older Entry) {
	if n.Flags&FlagMapped != 0 && !n.sameBlock(parent) {
		t.gained++
	}
	if parent.Flags&FlagMapped != 0 && !n.sameBlock(parent) {
		t.lost++
		if !parent.sameBlock(older) {
			t.over++
		}
	}
}

// mapAbove returns the node whose map n's began with.
func (p *Pool) mapAbove(n *node) *node {
	if n == nil || n.parent == nil {
		return nil
	}
	return p.mapOf(n.parent)
}

// midway reports whether the walker has freed a part of what n had.
func (n *node) midway() bool { return n != nil && n.hidden() && n.rec.Cursor > 0 }

// checkCounts compares the counts in the catalogue with the maps.
func (c *checker) checkCounts() {
	for _, n := range c.p.order {
		switch {
		case n.rec.Flags&NodeAsParent != 0:
			c.wrongCount(n, "own blocks", n.rec.Owned, 0)
			c.wrongCount(n, "replaced blocks", n.rec.Over, 0)
		case n.gone() && n.root.Flags == 0, n.midway() && !n.gone():
		case n.parent.midway() && n.parent.rec.Flags&NodeAsParent == 0:
			c.countMerging(n, n.parent)
		default:
			c.countNode(n)
		}
	}
}

const everything = ^uint64(0)

// countNode checks the counts of a node that nothing is being merged into.
func (c *checker) countNode(n *node) {
	above := c.p.mapAbove(n)
	t, err := c.tally(n, above, c.p.mapAbove(above), n.rec.Cursor, everything)
	if err != nil {
		return // it is reported where the page is reached
	}
	c.wrongCount(n, "own blocks", n.rec.Owned, t.gained)
	if n.gone() {
		return
	}
	c.countMapped(n, above, t)
	if above == nil || !above.uncounted() && !above.parent.midway() && !(above == n.parent && above.hidden()) {
		c.wrongCount(n, "replaced blocks", n.rec.Over, t.over)
	}
}

// countMerging checks the counts of a node that its removed parent is being merged into, and what is
// left of the parent's: up to the cursor the node's parent is its parent's.
func (c *checker) countMerging(n, h *node) {
	above, at := c.p.mapAbove(h), h.rec.Cursor
	older := c.p.mapAbove(above)
	all, err := c.tally(n, above, older, 0, everything)
	behind, err2 := c.tally(n, above, older, 0, at)
	ahead, err3 := c.tally(n, h, above, at, everything)
	rest, err4 := c.tally(h, above, older, at, everything)
	if err != nil || err2 != nil || err3 != nil || err4 != nil {
		return
	}
	c.countMapped(n, above, all)
	c.wrongCount(n, "own blocks, with its parent's", n.rec.Owned+h.rec.Owned,
		behind.gained+ahead.gained+rest.gained)
	if above != nil && !above.uncounted() && !above.hidden() {
		c.wrongCount(n, "replaced blocks, with its parent's", n.rec.Over+h.rec.Over,
			behind.over+rest.over)
	}
}

func (c *checker) countMapped(n, above *node, t tally) {
	want := t.gained - t.lost
	if above != nil {
		want += above.rec.Mapped
	}
	c.wrongCount(n, "mapped blocks", int64(n.rec.Mapped), want)
}

// wrongCount notes a count that is not what it has to be.
func (c *checker) wrongCount(n *node, what string, got int64, want uint64) {
	if got != int64(want) {
		c.rep.Notes = append(c.rep.Notes, Problem{"counts", fmt.Errorf(
			"%s, node %d: %d %s, the catalogue says %d", c.object(n.rec.ID), n.rec.ID, want, what, got), false})
	}
}
