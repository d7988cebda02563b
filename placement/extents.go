package placement

import (
	"fmt"
	"slices"
	"sort"
)

// extentMin is how many blocks a discard or write-zeroes needs to become an extent; smaller ones
// become entries of the dirty index.
const extentMin = 64

// extent is a range of blocks of a node that were zeroed. seq is the sequence number of the oldest
// record that took part in it: the map is to know of the extent before anything newer is moved
// there.
type extent struct {
	node       uint32
	start, end uint64 // blocks [start, end)
	seq        uint64
}

// extents holds the zeroed ranges that the maps do not know yet, at most a fixed number of them,
// by node and start. Extents of a node neither overlap nor touch: add merges them, and the merged
// one has the lowest sequence number. So
//
//   - a block that the dirty index has is newer than an extent around it: whoever adds an extent
//     first removes the blocks of its range from the index;
//   - before blocks up to some sequence number are moved into a map, all extents with numbers up
//     to it are applied there: then none is older than the blocks it covers.
type extents struct {
	list   []extent
	lowest uint64 // sequence number of all, if known
	known  bool
}

// newExtents returns room for n extents.
func newExtents(n int) *extents { return &extents{list: make([]extent, 0, n)} }

// len returns how many extents there are.
func (x *extents) len() int { return len(x.list) }

// room reports whether n more extents can be added, wherever they lie.
func (x *extents) room(n int) bool { return len(x.list)+n <= cap(x.list) }

// after returns the index of the first extent of node that ends at or after block, or of the first
// of a later node.
func (x *extents) after(node uint32, block uint64) int {
	return sort.Search(len(x.list), func(i int) bool {
		e := &x.list[i]
		return e.node > node || e.node == node && e.end >= block
	})
}

// add adds the range [start, end), which is not empty, of a node, and returns by how many that
// changes the number of extents. It panics when there is no room: whoever admits a request counts
// it first.
func (x *extents) add(node uint32, start, end, seq uint64) (delta int) {
	x.lowest = min(x.minSeq(), seq)
	i := x.after(node, start)
	j := i
	e := extent{node, start, end, seq}
	for ; j < len(x.list) && x.list[j].node == node && x.list[j].start <= end; j++ {
		old := &x.list[j]
		e.start, e.end = min(e.start, old.start), max(e.end, old.end)
		e.seq = min(e.seq, old.seq)
	}
	if i < j {
		x.list[i] = e
		x.list = slices.Delete(x.list, i+1, j)
		return i + 1 - j
	}
	if !x.room(1) {
		panic(fmt.Sprintf("placement: all %d zero extents are in use", len(x.list)))
	}
	x.list = slices.Insert(x.list, i, e)
	return 1
}

// covers reports whether block of node lies in an extent.
func (x *extents) covers(node uint32, block uint64) bool {
	return x.overlaps(node, block, block+1)
}

// overlaps reports whether an extent has a block of [from, to) of node.
func (x *extents) overlaps(node uint32, from, to uint64) bool {
	i := x.after(node, from+1)
	return i < len(x.list) && x.list[i].node == node && x.list[i].start < to
}

// minSeq returns the lowest sequence number of all, or the highest number there is when there are
// no extents.
func (x *extents) minSeq() uint64 {
	if !x.known {
		x.lowest, x.known = ^uint64(0), true
		for i := range x.list {
			x.lowest = min(x.lowest, x.list[i].seq)
		}
	}
	return x.lowest
}

// forget removes the extents with indexes from i to j.
func (x *extents) forget(i, j int) {
	for k := i; k < j; k++ {
		x.known = x.known && x.list[k].seq > x.lowest
	}
	x.list = slices.Delete(x.list, i, j)
}

// next returns the first extent, of those that end at or after a block of a node or belong to a
// later node, that has a sequence number of at most upto and whose node may be changed. An extent
// that is passed over stays: the same block leads on from there.
func (x *extents) next(node uint32, block, upto uint64, may func(node uint32) bool) (extent, bool) {
	for i := x.after(node, block); i < len(x.list); {
		e := x.list[i]
		switch {
		case e.seq > upto:
			i++
		case !may(e.node):
			i = x.after(e.node+1, 0)
		default:
			return e, true
		}
	}
	return extent{}, false
}

// applied notes that the map of node has zeros in [start, upto), where start was the start of an
// extent when that was applied. If the extent has been merged with one below since, all of it
// stays and is applied again: that needs no room for a split, and does no harm because nothing it
// covers may have been moved meanwhile. It returns whether the extent is gone.
func (x *extents) applied(node uint32, start, upto uint64) (gone bool) {
	i := x.after(node, start+1)
	if upto <= start || i == len(x.list) {
		return false
	}
	e := &x.list[i]
	if e.node != node || e.start != start {
		return false
	}
	if e.start = upto; e.start < e.end {
		return false
	}
	x.forget(i, i+1)
	return true
}

// removeNode forgets the extents of a node, and returns how many those were.
func (x *extents) removeNode(node uint32) int {
	i := x.after(node, 0)
	j := x.after(node+1, 0)
	x.forget(i, j)
	return j - i
}
