package placement

import "slices"

// line is a volume's past as one sequence: a node, the child that a snapshot gave it, the child of
// that, and so on, with rising ids. A clone, and what a rollback starts, begins a line of its own
// that branches off another one. What a node does not have itself its line has in an older node, or
// the lines that it comes from; so a block is looked up once for each line, not for each node.
type line struct {
	id     uint32  // of its first node
	base   *line   // the line it branched off; nil: none
	upto   uint32  // node of base up to which that is its past
	floor  uint32  // epochs up to it are those of other lines: several volumes may read what has them
	dirty  uint64  // entries of the index
	data   uint64  // of these, with data
	flow   *Flow   // what became of the blocks; nil: no volume of the line is in use
	zeroed []*node // nodes with zero extents, by id
}

// begin gives a new node its line: that of its parent, which a snapshot continues, or a new one.
func (n *node) begin(continues bool) {
	switch {
	case n.parent == nil:
		n.line = &line{id: n.rec.ID}
	case continues:
		n.line = n.parent.line
	default:
		n.line = &line{
			id: n.rec.ID, base: n.parent.line, upto: n.parent.rec.ID, floor: n.floor,
		}
	}
}

// known returns what the index and the extents know of a block in the youngest node of a line that
// has it, of those up to node upto. An entry is newer than an extent of the same node.
func (p *Pool) known(l *line, upto uint32, block uint64) (d dirty, ok bool) {
	var from uint32
	if l.dirty > 0 {
		d, from = p.index.newest(l.id, upto, block)
		p.stats.IndexProbes++
	}
	for i := len(l.zeroed) - 1; i >= 0; i-- {
		n := l.zeroed[i]
		if n.rec.ID <= from {
			break
		}
		if n.rec.ID <= upto && p.zeros.covers(n.rec.ID, block) {
			return dirty{flags: dirtyZero}, true
		}
	}
	return d, from != 0
}

// mapOf returns the node whose map n reads: its own, or that of its nearest ancestor with one; nil
// if none has a map.
func (p *Pool) mapOf(n *node) *node {
	if n.mapSeen == p.shape {
		return n.mapped
	}
	a := n
	for a != nil && a.rec.Flags&NodeAsParent != 0 {
		a = a.parent
	}
	n.mapped, n.mapSeen = a, p.shape
	return a
}

// reshape notes that nodes may find the maps they read elsewhere than before.
func (p *Pool) reshape() { p.shape++ }

// clean reports whether neither the log nor an extent holds anything of n that its map lacks.
func (n *node) clean() bool { return n.dirty == 0 && n.extents == 0 }

// mayPlace reports whether n's map may change. While it is "as my parent's" that needs a map of its
// own, which has to begin with all that its ancestors have.
func (p *Pool) mayPlace(n *node) bool {
	if n.rec.Flags&NodeAsParent == 0 {
		return true
	}
	m := p.mapOf(n)
	for a := n.parent; a != nil; a = a.parent {
		if !a.clean() {
			return false
		}
		if a == m {
			break
		}
	}
	return true
}

// adopt gives n a map of its own if it has none: at first the pages of its ancestor's, none of
// which change any more. mayPlace has said that it may.
func (p *Pool) adopt(n *node) {
	if n.rec.Flags&NodeAsParent == 0 {
		return
	}
	if m := p.mapOf(n); m != nil {
		p.sealTree(&m.tree)
		n.root, n.levels = m.root, m.levels
		n.rec.Mapped = m.rec.Mapped
	}
	n.rec.Flags &^= NodeAsParent
	n.settleAncestors()
	n.mapped = n
	if n.kid != nil {
		p.reshape()
	}
	if n.parent != nil {
		p.settleCount(n.parent)
	}
	p.touch(n)
}

// settleAncestors notes that a descendant of n's ancestors has pages of its own: what the log still
// has of them is in the maps.
func (n *node) settleAncestors() {
	for a := n.parent; a != nil && !a.settled; a = a.parent {
		a.settled = true
	}
}

// addExtent notes that a range of n reads as zeros.
func (p *Pool) addExtent(n *node, start, end, seq uint64) {
	p.countExtents(n, p.zeros.add(n.rec.ID, start, end, seq))
}

// countExtents changes the number of n's extents.
func (p *Pool) countExtents(n *node, delta int) {
	had := n.extents > 0
	n.extents += delta
	p.promise(n)
	if has := n.extents > 0; has == had {
		return
	}
	l := n.line
	i, found := slices.BinarySearchFunc(l.zeroed, n.rec.ID, byID)
	if found {
		l.zeroed = slices.Delete(l.zeroed, i, i+1)
	} else {
		l.zeroed = slices.Insert(l.zeroed, i, n)
	}
}
