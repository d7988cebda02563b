package placement

import (
	"slices"

	"unblend/log"
)

// How a scrub finds its way. It goes through areas one after the other, in each in groups of up to 256
// slots: the copies of label and root, the bitmaps, the catalogue, and then the maps of all nodes by
// id. A group of a tree is a page that has been verified, its slots are what the page points at:
// pages, which are read in both homes, or blocks of data. So pages are visited from the root down.
//
// What nodes share is read once. A node's map is gone through only as far as its entries are younger
// than what the nodes before it in its family have: parents have lower ids than their children, so
// they have had their turn. A removed node is read as its children read it:
//
//   - With several of them it has its turn like any snapshot.
//   - With one, or none that is not removed itself, the walker may have been at work before the last
//     crash, and the child may have written in place what had become its own. So the child's turn
//     takes what was its parent's as well, with a look at what the log has of the child; of the
//     removed node itself only the pages are read that the walker has still to see, because pages
//     are never written in place.

// scrubArea is a part of what a scrub reads.
type scrubArea uint8

const (
	scrubHeaders scrubArea = iota
	scrubBlockMap
	scrubPageMap
	scrubCatalogue
	scrubNodes
)

// scrubCursor is where a scrub has come to.
type scrubCursor struct {
	area  scrubArea
	node  uint32 // of scrubNodes: the one under way
	whole bool   // its blocks are read, too, not only its pages
	level uint8  // of the page of which the slots are read; above the root: the pointer to that
	at    uint64 // where that page begins, in blocks or records; of bitmaps in pages
	slot  int    // what is to be read next
	end   int    // up to where the present step goes
}

const aboveRoot = 255 // a level

// scrubGroup is what the cursor points at.
type scrubGroup struct {
	slots  int
	labels []place // of scrubHeaders

	t     *tree
	n     *node // whose view of the tree it is; nil: the catalogue
	f     int32 // frame of the page, or noFrame: the slot is the pointer to the root
	key   pageKey
	floor uint32 // what is not younger has been read with another node
	low   uint8  // lowest level of a page of which the slots are read
	from  uint64 // what ends before it is not the node's any more
}

// scrubUnit is what is in one slot.
type scrubUnit struct {
	n   int // how many copies it has; 0: nothing is to be read
	at  [log.Devs]place
	key pageKey
	crc uint32
}

// id tells a unit from what may stand in its slot later.
func (u *scrubUnit) id() uint64 { return uint64(u.at[0].off)<<20 ^ uint64(u.crc)<<1 | 1 }

// spaceOf returns the bitmap of an area.
func (p *Pool) spaceOf(a scrubArea) *space {
	if a == scrubBlockMap {
		return p.blocks
	}
	return p.pages
}

// findGroup looks up what the cursor points at. A group without slots is to be passed over.
func (b *backend) findGroup() (scrubGroup, error) {
	p, s := b.p, &b.scrub
	switch s.area {
	case scrubHeaders:
		labels := p.label.copies()
		return scrubGroup{slots: len(labels) + p.homes, labels: labels}, nil
	case scrubBlockMap, scrubPageMap:
		left := p.spaceOf(s.area).refs.count(int(s.level)) - int(s.at)
		return scrubGroup{slots: min(max(left, 0), fanout)}, nil
	case scrubCatalogue:
		g := scrubGroup{t: &p.catalogue, low: 2}
		return g, b.enterTree(&g)
	}
	g, err := b.view(), error(nil)
	if g.t != nil {
		err = b.enterTree(&g)
	}
	return g, err
}

// view returns what is to be read for the present node; without a tree: nothing.
func (b *backend) view() scrubGroup {
	p, s := b.p, &b.scrub
	n := p.nodes[s.node]
	if n == nil || n.removed {
		return scrubGroup{}
	}
	if n.gone() || n.queued {
		s.whole = false
	}
	if !s.whole {
		g := scrubGroup{n: n, floor: n.floor, low: 2, from: n.rec.Cursor}
		if n.root.Flags != 0 {
			g.t = &n.tree
		}
		return g
	}
	g := scrubGroup{n: n, low: 1, floor: n.unscrubbed(s.Pass)}
	if m := p.mapOf(n); m != nil {
		g.t = &m.tree
	}
	return g
}

// unscrubbed returns the epoch above which nothing of what n reads has been read with another node.
func (n *node) unscrubbed(pass uint32) uint32 {
	for n.parent != nil && n.parent.scrubbed != pass && !planted("scrub-passes-the-removed") {
		n = n.parent
	}
	if n.parent == nil {
		return 0
	}
	return n.floor
}

// read reports whether blocks of a node are read by guests as the node has them: it was not removed, or
// two others at least need it, so that nothing of it has become theirs.
func (n *node) read() bool {
	if !n.hidden() {
		return true
	}
	needed := 0
	for k := n.kid; k != nil && needed < 2; k = k.next {
		if !k.hidden() {
			needed++
		}
	}
	return needed == 2
}

// enterTree finds the page of a group. Where there is none, or none that is to be read, the cursor
// moves on behind it.
func (b *backend) enterTree(g *scrubGroup) error {
	p, s, t := b.p, &b.scrub, g.t
	if s.at>>(fanoutBits*t.levels) != 0 {
		g.t = nil // it has been read
		return nil
	}
	if s.level = min(s.level, t.levels+1); s.level > t.levels {
		g.slots, g.f = 1, noFrame
		return nil
	}
	e := t.root
	for level := t.levels; ; level-- {
		end := spanEnd(s.at, level)
		if !g.wants(e, end) || level < g.low {
			s.to(spanEnd(s.at, max(level, g.low)))
			return nil
		}
		f, err := p.cache.need(key(treePage, e.Addr), e.CRC, &b.waiter)
		if err != nil {
			return err
		}
		if level == s.level {
			g.slots, g.f, g.key = fanout, f, key(treePage, e.Addr)
			return nil
		}
		e = entryAt(p.cache.page(f), slotAt(s.at, level))
	}
}

// wants reports whether what e points at is to be read with this node. end is where that ends.
func (g *scrubGroup) wants(e Entry, end uint64) bool {
	return e.Flags&FlagMapped != 0 && e.Epoch > g.floor && end > g.from
}

// to moves the cursor to the highest page that begins at a block.
func (s *scrubber) to(at uint64) {
	s.at, s.slot, s.level, s.again = at, 0, 1, false
	for s.level < maxLevels && at&(1<<(fanoutBits*(s.level+1))-1) == 0 {
		s.level++
	}
}

// unit returns what is to be read of a slot of a group.
func (b *backend) unit(g *scrubGroup, slot int) scrubUnit {
	s := &b.scrub
	switch s.area {
	case scrubHeaders:
		at := b.encodeHeader(b.gap, g.labels, slot)
		return scrubUnit{n: 1, at: [log.Devs]place{at}, crc: checksum(b.gap)}
	case scrubBlockMap, scrubPageMap:
		return b.bitmapUnit(int(s.level), int(s.at)+slot)
	}
	e := g.t.root
	if g.f != noFrame {
		e = entryAt(b.p.cache.page(g.f), slot)
	}
	if s.level == 1 {
		return b.blockUnit(g, e, s.at+uint64(slot))
	}
	span := uint64(1) << (fanoutBits * (s.level - 1))
	if !g.wants(e, s.at+uint64(slot+1)*span) {
		return scrubUnit{}
	}
	return b.pageUnit(key(treePage, e.Addr), b.p.label.pageBlock(e.Addr), e.CRC)
}

// pageUnit returns both copies of a page. One that has changed since the last checkpoint is not on the
// devices yet.
func (b *backend) pageUnit(k pageKey, block uint64, crc uint32) scrubUnit {
	p := b.p
	if f := p.cache.find(k); f != noFrame && p.cache.frames[f].dirty {
		return scrubUnit{}
	}
	u := b.bothCopies(block, crc)
	u.key = k
	return u
}

// bothCopies returns both copies of a block of the homes.
func (b *backend) bothCopies(block uint64, crc uint32) scrubUnit {
	l := &b.p.label
	return scrubUnit{
		n: b.p.homes, crc: crc,
		at: [log.Devs]place{l.locate(b.p.firstHome(), block), l.locate(b.p.secondHome(), block)},
	}
}

// bitmapUnit returns page i of a level of a bitmap: bits, or references to them.
func (b *backend) bitmapUnit(level, i int) scrubUnit {
	sp := b.p.spaceOf(b.scrub.area)
	refs := sp.refs
	ref := refs.at(level, i)
	block := refs.block(level, i, ref.Place)
	switch {
	case level == 0 && ref.unwritten(), level > 0 && refs.dirty[level-1][i]:
		return scrubUnit{}
	case level == 0:
		return b.pageUnit(key(sp.kind, uint64(i)), block, ref.CRC)
	}
	return b.bothCopies(block, ref.CRC)
}

// blockUnit returns a block of data, unless the log has something newer: then it may have been written
// in place, and a crash has taken back the map that knew of it.
func (b *backend) blockUnit(g *scrubGroup, e Entry, block uint64) scrubUnit {
	if !g.wants(e, block+1) || e.Flags&FlagLost != 0 {
		return scrubUnit{}
	}
	for l, upto := g.n.line, g.n.rec.ID; l != nil; l, upto = l.base, l.upto {
		if planted("scrub-without-the-log") {
			break
		}
		if _, newer := b.p.known(l, upto, block); newer {
			return scrubUnit{}
		}
		if g.t.node.line == l {
			break
		}
	}
	at := place{log.Capacity, int64(e.Addr) * log.BlockSize}
	return scrubUnit{n: 1, at: [log.Devs]place{at}, key: dataPiece, crc: e.CRC}
}

// encodeHeader makes in mem what a copy of the label or of the root has to be, and returns its place.
func (b *backend) encodeHeader(mem []byte, labels []place, slot int) place {
	p := b.p
	if slot < len(labels) {
		at := labels[slot]
		p.label.encodeCopy(mem, at.dev, at.off)
		return at
	}
	home := [...]log.Dev{p.firstHome(), p.secondHome()}[slot-len(labels)]
	at := place{home, rootOffset(&p.label, home, p.root.Generation)}
	p.root.Encode(mem, home, at.off)
	return at
}

// scrubOn moves the cursor on behind what the step has read.
func (b *backend) scrubOn() {
	s, g := &b.scrub, &b.scrub.group
	s.slot = s.end
	if s.again && s.slot >= s.againEnd {
		s.again = false
	}
	if s.slot < g.slots {
		return
	}
	s.slot, s.again = 0, false
	switch s.area {
	case scrubHeaders:
		s.nextArea()
	case scrubBlockMap, scrubPageMap:
		refs := b.p.spaceOf(s.area).refs
		if s.at += fanout; int(s.at) >= refs.count(int(s.level)) {
			s.at = 0
			s.level++
		}
		if int(s.level) == refs.levels() {
			s.nextArea()
		}
	default:
		b.treeOn(g)
	}
}

// nextArea moves the cursor to the begin of the next area.
func (s *scrubber) nextArea() {
	s.scrubCursor = scrubCursor{area: s.area + 1}
	if s.area >= scrubCatalogue {
		s.level = aboveRoot
	}
}

// treeOn moves the cursor on from a group of a tree: down to its first page, behind its blocks, or to the
// next tree.
func (b *backend) treeOn(g *scrubGroup) {
	s := &b.scrub
	switch {
	case g.t == nil && s.area == scrubNodes:
		b.nextNode()
	case g.t == nil:
		s.nextArea()
		b.nextNode()
	case g.slots == 0: // enterTree has moved it
	case s.level > g.low:
		s.level--
	default:
		if g.low == 1 && b.p.cache.find(g.key) == g.f {
			b.p.cache.passedBy(g.f)
		}
		s.to(spanEnd(s.at, s.level))
	}
}

// nextNode begins with the next node, or ends the scrub.
func (b *backend) nextNode() {
	p, s := b.p, &b.scrub
	if n := p.nodes[s.node]; n != nil && s.whole {
		n.scrubbed = s.Pass
	}
	i, _ := slices.BinarySearchFunc(p.order, s.node+1, byID)
	if i == len(p.order) || p.order[i].rec.ID >= s.last {
		p.endScrub(nil)
		return
	}
	n := p.order[i]
	s.scrubCursor = scrubCursor{
		area: scrubNodes, node: n.rec.ID, whole: n.read(), level: aboveRoot,
	}
}
