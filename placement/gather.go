package placement

import "slices"

// A batch takes the oldest segments that have live blocks, so that the log becomes free in its
// order. With a block it takes what else the log has of its leaf, from newer segments too, if that
// is much: the leaf is then written in one go, instead of once for each batch that has a little of
// it. Where a leaf has little the search for it would be in vain; probeMax bounds that.

// wholeMin is how many blocks of a leaf the log must have for them to be taken together, and probeMax
// how many leaves are searched in vain for each batch.
const (
	wholeMin = 4
	probeMax = 16
)

// gatherer collects the blocks of a batch.
type gatherer struct {
	whole  []uint64         // keys of the leaves that were taken whole, ascending
	missed [probeMax]uint64 // keys of leaves that turned out to have little
	failed int              // how many those are
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
		n := b.p.nodes[id]
		if n != nil && !n.gone() && !b.p.mayPlace(n) {
			continue
		}
		if n == nil || n.gone() || !b.takeLeaf(n, block) {
			b.take(id, block, d)
		}
	}
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
	if b.failed == probeMax || len(b.whole) == cap(b.whole) ||
		cap(b.batch)-len(b.batch) < leafBlocks || slices.Contains(b.missed[:b.failed], key) ||
		b.p.zeros.overlaps(n.rec.ID, leaf*leafBlocks, (leaf+1)*leafBlocks) {
		return false
	}
	from := len(b.batch)
	for k := leaf * leafBlocks; k < (leaf+1)*leafBlocks; k++ {
		if d, ok := b.p.index.get(n.line.id, n.rec.ID, k); ok {
			b.take(n.rec.ID, k, d)
		}
	}
	if len(b.batch)-from >= wholeMin && !b.overlaps(from, n.rec.ID, leaf) {
		b.whole = slices.Insert(b.whole, at, key)
		return true
	}
	b.batch = b.batch[:from]
	b.missed[b.failed] = key
	b.failed++
	return false
}

// overlaps reports whether blocks of a leaf were taken one by one, before batch[from].
func (b *backend) overlaps(from int, id uint32, leaf uint64) bool {
	return slices.ContainsFunc(b.batch[:from], func(m moving) bool {
		return m.id == id && m.block/leafBlocks == leaf
	})
}
