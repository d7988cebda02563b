package placement

import (
	"math/bits"
	"slices"
)

// A batch takes the oldest segments that have live blocks, so that the log becomes free in its
// order. With a block it takes what else the log has of its leaf, from newer segments too, if that
// is much: the leaf is then written in one go, instead of once for each batch that has a little of
// it. Where a leaf has little the search for it would be in vain; vainMax bounds that.

// wholeMin is how many blocks of a leaf the log must have for them to be taken together. So many leaves
// are searched in vain for each batch: vainMin, and one for each vainPart of its blocks.
const (
	wholeMin = 4
	vainMin  = 16
	vainPart = 64
)

// gatherer collects the blocks of a batch.
type gatherer struct {
	whole []uint64   // keys of the leaves that were taken whole, ascending
	vain  int        // leaves that turned out to have little
	parts leafFilter // leaves of which blocks were taken one by one

	besides []moving // in order: the batch under way, beside which the next one is gathered
}

func newGatherer(batch int) gatherer {
	return gatherer{whole: make([]uint64, 0, batch/wholeMin), parts: newLeafFilter(batch)}
}

// reset forgets the last batch.
func (g *gatherer) reset() {
	g.whole, g.vain = g.whole[:0], 0
	clear(g.parts)
}

// leafFilter is a set of leaves by a bit of their hash: it may have some that were never added, at most
// one in sixteen, which are then taken block by block.
type leafFilter []uint64

func newLeafFilter(most int) leafFilter {
	return make(leafFilter, 1<<bits.Len(uint(most*16/64)))
}

// at returns the word and the bit of a leaf's key.
func (f leafFilter) at(key uint64) (int, uint64) {
	h := key * 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio, as Fibonacci hashing has it
	return int(h >> 32 & uint64(len(f)-1)), 1 << (h >> 58)
}

func (f leafFilter) add(key uint64) {
	i, bit := f.at(key)
	f[i] |= bit
}

func (f leafFilter) has(key uint64) bool {
	i, bit := f.at(key)
	return f[i]&bit != 0
}

// mayTake reports whether there is room for more. With whole leaves in the batch the rest is not
// filled up with parts of others.
func (b *backend) mayTake() bool {
	room := cap(b.batch) - len(b.batch)
	return room > 0 && (len(b.whole) == 0 || room >= leafBlocks)
}

// takeSegment adds the live blocks of a segment, as far as there is room.
func (b *backend) takeSegment(i int) {
	ix := b.p.index
	for e := ix.segHead(i); e != noEntry && b.mayTake(); e = ix.segNext(e) {
		id, block, d := ix.entry(e)
		if b.isBesides(id, block, d.loc) {
			continue
		}
		n := b.p.nodes[id]
		if n != nil && !n.gone() && !b.p.mayPlace(n) {
			continue
		}
		if n == nil || n.gone() || !b.takeLeaf(n, block) {
			b.takeOne(id, block, d)
		}
	}
}

// takeOne adds a block of a leaf that is not taken whole.
func (b *backend) takeOne(id uint32, block uint64, d dirty) {
	b.parts.add(leafKey(id, block/leafBlocks))
	b.take(id, block, d)
}

// take adds a block.
func (b *backend) take(id uint32, block uint64, d dirty) {
	b.batch = append(b.batch, moving{
		id: id, block: block, loc: d.loc, crc: d.crc, flags: d.flags, data: d.flags == 0,
	})
}

// takeLeaf adds all that the log has of the leaf that a block of n lies in, if that is much. It
// reports whether the leaf's blocks are in the batch now. In a leaf with zeros that the map does not
// know of, blocks of newer segments would have to wait for newer extents: there it takes nothing.
func (b *backend) takeLeaf(n *node, block uint64) bool {
	leaf := block / leafBlocks
	key := leafKey(n.rec.ID, leaf)
	at, found := slices.BinarySearch(b.whole, key)
	if found {
		return true
	}
	if b.vain >= vainMin+cap(b.batch)/vainPart || len(b.whole) == cap(b.whole) ||
		cap(b.batch)-len(b.batch) < leafBlocks || b.parts.has(key) ||
		b.p.zeros.overlaps(n.rec.ID, leaf*leafBlocks, (leaf+1)*leafBlocks) {
		return false
	}
	from := len(b.batch)
	for k := leaf * leafBlocks; k < (leaf+1)*leafBlocks; k++ {
		if d, ok := b.p.index.get(n.line.id, n.rec.ID, k); ok && !b.isBesides(n.rec.ID, k, d.loc) {
			b.take(n.rec.ID, k, d)
		}
	}
	if len(b.batch)-from >= wholeMin {
		b.whole = slices.Insert(b.whole, at, key)
		return true
	}
	b.batch = b.batch[:from]
	b.vain++
	return false
}
