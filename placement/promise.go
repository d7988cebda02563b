package placement

// Before a write or a discard enters the log, the pages are promised that it may newly need in the
// metadata area when it is destaged: new ones, and copies of those that its node shares with an
// ancestor. A page of the node's own needs none: its copy gives back its address. Each node has one
// promise, for all that the log has of it and all that is on its way there.

// promise brings what is promised to n up to date. It follows every change of what n has in the log,
// of its size and of its parent.
func (p *Pool) promise(n *node) {
	want := p.pagesWanted(n, needs{})
	p.pageNeed += want - n.promised
	n.promised = want
}

// pagesWanted returns the most pages that n's map can newly need when more enters the log: at every
// level no more than the places that change there, and no more than that level of a fully mapped
// volume has.
//
//   - A block changes one place. A range of zeros has two, its ends: the pages between become empty,
//     and go.
//   - In a node without a parent nothing is shared, so zeros that come change nothing there.
//   - Above the top of a map whose volume has become larger there is one more place at each level:
//     the way to what the map had (raise).
func (p *Pool) pagesWanted(n *node, more needs) uint64 {
	in := n.entering
	in.add(more)
	places := n.dirty + in.data
	if n.parent != nil {
		places = n.dirty + uint64(in.entries) + 2*uint64(n.extents+in.extents)
	}
	if places == 0 {
		return 0
	}
	top := uint8(maxLevels)
	if m := p.mapOf(n); m != nil && (m != n || n.root.Flags != 0) {
		top = m.levels
	}
	sum, pages := uint64(0), n.blocks()
	for level := range levelsFor(pages) {
		pages = (pages + fanout - 1) / fanout
		at := places
		if level+1 > top {
			at++
		}
		sum += min(at, pages)
	}
	return sum
}

// enters counts r among what enters its node, or with sign -1 takes it out again.
func (p *Pool) enters(r *Request, sign int) {
	n := r.Vol.node
	if sign > 0 {
		n.entering.add(r.needs)
	} else {
		n.entering.sub(r.needs)
	}
	p.promise(n)
}

// needsNone reports whether destaging r takes neither blocks nor pages: every block with data has a
// place of its own in the map, and zeros leave something only in pages that are the node's own. It
// is not known when a page has to come first; the page is then on its way, and r asks again.
func (p *Pool) needsNone(r *Request) (none, known bool) {
	if r.Kind == Write {
		return p.ownsBlocks(r, r.first, r.count)
	}
	head, tail := uint64(0), uint64(0)
	if r.Kind == WriteZeroes {
		head, tail = r.edgeBlocks()
	}
	none, known = true, true
	also := func(owns, sure bool) { none, known = none && owns, known && sure }
	if head > 0 {
		also(p.ownsBlocks(r, r.first, 1))
	}
	if tail > 0 {
		also(p.ownsBlocks(r, r.first+r.count-1, 1))
	}
	if from, to := r.first+head, r.first+r.count-tail; from < to {
		also(p.ownsEnds(r.Vol.node, from, to))
	}
	return none, known
}

// ownsBlocks reports whether count blocks of r already have places of their own in the map.
func (p *Pool) ownsBlocks(r *Request, first, count uint64) (owns, known bool) {
	n := r.Vol.node
	if n.rec.Flags&NodeAsParent != 0 || r.olderZeroes(first, count) ||
		p.zeros.overlaps(n.rec.ID, first, first+count) {
		return false, true
	}
	owns, known = true, true
	for b := first; b < first+count; b++ {
		if d, ok := p.index.get(n.line.id, n.rec.ID, b); ok && d.flags&dirtyZero != 0 {
			return false, true
		}
		e, err := p.find(&n.tree, b, nil)
		switch {
		case err != nil:
			owns, known = false, known && err != errWait
		case e.Flags&FlagMapped == 0 || !n.owns(e, b+1):
			return false, true
		}
	}
	return owns, known
}

// olderZeroes reports whether an older request that zeroes some of the blocks is under way: they
// will not be owned any more when r is destaged. A write may hold zeros too, so any counts.
func (r *Request) olderZeroes(first, count uint64) bool {
	for e := r.older; e != nil; e = e.older {
		if e.first < first+count && first < e.first+e.count {
			return true
		}
	}
	return false
}

// ownsEnds reports whether zeroing the blocks [from, to) of n copies no page that is not n's, other
// than for as long as that takes. While n reads an ancestor's map that may still grow, who knows.
func (p *Pool) ownsEnds(n *node, from, to uint64) (owns, known bool) {
	if n.parent == nil {
		return true, true
	}
	m := p.mapOf(n)
	if m == nil {
		return true, true
	}
	if !p.mayPlace(n) {
		return false, true
	}
	for _, b := range [...]uint64{from, to - 1} {
		ok, err := p.ownsPath(n, &m.tree, b, from, to)
		if err != nil || !ok {
			return false, err != errWait
		}
	}
	return true, true
}

// ownsPath reports whether the pages of t on the way to block b that keep something when the blocks
// [from, to) become zeros are n's own. A short range is zeroed block by block: there every page
// may keep something in the meantime.
func (p *Pool) ownsPath(n *node, t *tree, b, from, to uint64) (bool, error) {
	if b>>(fanoutBits*t.levels) != 0 {
		return true, nil
	}
	e := t.root
	for level := t.levels; e.Flags&FlagMapped != 0; level-- {
		end := spanEnd(b, level)
		start := end - 1<<(fanoutBits*level)
		if to-from >= extentMin && from <= start && (to >= end || to >= n.blocks()) {
			return true, nil // it goes
		}
		if t.node != n || !n.owns(e, end) {
			return false, nil
		}
		if level == 1 {
			return true, nil
		}
		f, err := p.cache.need(key(treePage, e.Addr), e.CRC, nil)
		if err != nil {
			return false, err
		}
		e = entryAt(p.cache.page(f), slotAt(b, level))
	}
	return true, nil
}
