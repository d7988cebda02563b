package placement

import (
	"fmt"
	"math/bits"

	"unblend/log"
)

// index is the dirty index: which blocks of which node live in the log, and where. A volume and its
// snapshots are one line of nodes (line.go), and the index is asked for the newest version of a
// block that a line has up to one of its nodes: one lookup, however many snapshots there are.
//
// It has a fixed number of entries, allocated once and free of pointers, so that the garbage
// collector does not look at them; memory that was never used is never touched either. Lookup,
// insertion and removal take constant time and allocate nothing. The hash is fixed, so the same
// calls give the same order of everything.
//
// Each entry stands in two lists: the chain of its hash bucket, and the list of the segment of the
// log that holds its block, in the order of insertion. A segment whose list is empty holds nothing
// that is still needed. In a chain the versions of a block stand from new to old: only the youngest
// node of a line can be written, and a new entry is put at the head.
//
// Entry 0 is never used: 0 ends every list.
type index struct {
	entries  []indexEntry
	buckets  []uint32
	shift    uint // 64 - log2(len(buckets))
	segments []indexSegment
	segSize  uint32 // blocks of a segment

	unused uint32 // first entry that was never used
	spare  uint32 // chain of entries that were used and are free again
	used   int
}

// indexEntry takes 32 bytes.
type indexEntry struct {
	lo, hi     uint32 // key: line in the upper 28 bits, block in the lower 36
	node       uint32
	loc        uint32 // flags in the upper 2 bits, location in the lower 30
	crc        uint32
	chain      uint32 // next entry of the bucket
	next, prev uint32 // in the segment's list
}

type indexSegment struct {
	head, tail uint32
	count      uint32
}

// dirty is what the index says about a block.
type dirty struct {
	loc   uint32 // block of the log area; of zeros, the record's
	crc   uint32
	flags uint8
}

// The flags of a dirty block. Without any, its data is at loc.
const (
	dirtyZero uint8 = 1 << iota // the block is zero and takes no space in the log
	dirtyLost                   // its data was unreadable
)

const (
	noEntry = 0 // ends the iteration over a segment's entries

	blockBits  = 36
	nodeBits   = 64 - blockBits
	locBits    = 30
	locMask    = 1<<locBits - 1
	bucketLoad = 2 // entries for each bucket of a full index
	scanFactor = 8 // entries scanned in the time that one lookup takes
)

const (
	_ = uint(1<<nodeBits - 1 - MaxNode) // line and block fit into a key
	_ = uint(1<<blockBits - MaxSize/log.BlockSize)
	_ = uint(1<<locBits - MaxLogBlocks)
)

// newIndex returns an index of at most maxEntries blocks in a log of the given geometry. It takes
// about 34 bytes for each entry.
func newIndex(maxEntries, segments, segmentBlocks int) *index {
	log2 := max(bits.Len(uint((maxEntries-1)/bucketLoad)), 1)
	return &index{
		entries:  make([]indexEntry, maxEntries+1),
		buckets:  make([]uint32, 1<<log2),
		shift:    uint(64 - log2),
		segments: make([]indexSegment, segments),
		segSize:  uint32(segmentBlocks),
		unused:   1,
	}
}

// len returns how many blocks the index holds.
func (x *index) len() int { return x.used }

// free returns how many more it can hold.
func (x *index) free() int { return len(x.entries) - 1 - x.used }

// segCount returns how many blocks of the index live in segment seg.
func (x *index) segCount(seg int) int { return int(x.segments[seg].count) }

// segHead returns the handle of the block of segment seg that was put first, or noEntry. A handle
// is good until its entry is removed or put again.
func (x *index) segHead(seg int) uint32 { return x.segments[seg].head }

// segNext returns the handle of the block that was put after e into the same segment, or noEntry.
func (x *index) segNext(e uint32) uint32 { return x.entries[e].next }

// entry returns what a handle stands for.
func (x *index) entry(e uint32) (node uint32, block uint64, d dirty) {
	en := &x.entries[e]
	return en.node, en.key() & (1<<blockBits - 1), en.dirty()
}

// newest returns what the index says about a block in the youngest node of a line that has it, of
// those up to node upto, and which one that is; node 0: none.
func (x *index) newest(line, upto uint32, block uint64) (d dirty, node uint32) {
	k := indexKey(line, block)
	lo, hi := uint32(k), uint32(k>>32)
	for e := *x.bucket(k); e != noEntry; e = x.entries[e].chain {
		if en := &x.entries[e]; en.lo == lo && en.hi == hi && en.node <= upto {
			return en.dirty(), en.node
		}
	}
	return dirty{}, 0
}

// get returns what the index says about a block of one node, if anything.
func (x *index) get(line, node uint32, block uint64) (dirty, bool) {
	e := *x.find(indexKey(line, block), node)
	if e == noEntry {
		return dirty{}, false
	}
	return x.entries[e].dirty(), true
}

// put sets what the index says about a block of a node, and returns what it said before. A block
// that is new needs a free entry: whoever admits writes counts them, and put panics without one.
func (x *index) put(line, node uint32, block uint64, crc, loc uint32, flags uint8) (old dirty, had bool) {
	k := indexKey(line, block)
	e := *x.find(k, node)
	if had = e != noEntry; had {
		old = x.entries[e].dirty()
		x.unlink(e)
	} else {
		e = x.take()
		b := x.bucket(k)
		en := &x.entries[e]
		en.lo, en.hi, en.node, en.chain = uint32(k), uint32(k>>32), node, *b
		*b = e
	}
	en := &x.entries[e]
	en.loc, en.crc = loc|uint32(flags)<<locBits, crc
	x.link(e)
	return old, had
}

// removeIf removes a block if the index still says that it is at loc, and reports whether it did.
func (x *index) removeIf(line, node uint32, block uint64, loc uint32) bool {
	at := x.find(indexKey(line, block), node)
	if *at == noEntry || x.entries[*at].loc&locMask != loc {
		return false
	}
	x.drop(at)
	return true
}

// remove removes a block, and returns what the index said about it.
func (x *index) remove(line, node uint32, block uint64) (old dirty, had bool) {
	at := x.find(indexKey(line, block), node)
	if *at == noEntry {
		return dirty{}, false
	}
	old = x.entries[*at].dirty()
	x.drop(at)
	return old, true
}

// removeRange removes the blocks [from, to) of a node, and returns how many those were and how
// many of them had data. The node has live blocks in the index: when the last has been removed
// the search ends. It looks up every block of the range or goes through all entries, whichever is
// less work.
func (x *index) removeRange(line, node uint32, from, to, live uint64) (removed, data int) {
	if to <= from || live == 0 {
		return 0, 0
	}
	if (to-from)*scanFactor > uint64(x.unused) {
		return x.removeScan(indexKey(line, from), indexKey(line, to-1), node, live)
	}
	for b := from; b < to && uint64(removed) < live; b++ {
		if old, had := x.remove(line, node, b); had {
			removed++
			data += old.hasData()
		}
	}
	return removed, data
}

// removeScan removes all entries of a node with keys from first to last.
func (x *index) removeScan(first, last uint64, node uint32, live uint64) (removed, data int) {
	for e := uint32(1); e < x.unused && uint64(removed) < live; e++ {
		en := &x.entries[e]
		k := en.key()
		if k < first || k > last || en.node != node {
			continue
		}
		if at := x.find(k, node); *at == e { // not a spare entry
			data += en.dirty().hasData()
			removed++
			x.drop(at)
		}
	}
	return removed, data
}

func (d dirty) hasData() int {
	if d.flags == 0 {
		return 1
	}
	return 0
}

func (en *indexEntry) key() uint64 { return uint64(en.hi)<<32 | uint64(en.lo) }

func (en *indexEntry) dirty() dirty {
	return dirty{loc: en.loc & locMask, crc: en.crc, flags: uint8(en.loc >> locBits)}
}

func indexKey(line uint32, block uint64) uint64 { return uint64(line)<<blockBits | block }

// bucket returns the bucket of a key. Two rounds, because guests like strides of powers of two.
func (x *index) bucket(k uint64) *uint32 {
	k *= 0x9e3779b97f4a7c15
	k ^= k >> 32
	k *= 0xd6e8feb86659fd93
	return &x.buckets[k>>x.shift]
}

// find returns the link that leads to a node's entry of a key, or the one that ends its chain.
func (x *index) find(k uint64, node uint32) *uint32 {
	lo, hi := uint32(k), uint32(k>>32)
	at := x.bucket(k)
	for *at != noEntry {
		en := &x.entries[*at]
		if en.lo == lo && en.hi == hi && en.node == node {
			break
		}
		at = &en.chain
	}
	return at
}

// take returns a free entry.
func (x *index) take() uint32 {
	e := x.spare
	switch {
	case e != noEntry:
		x.spare = x.entries[e].chain
	case int(x.unused) < len(x.entries):
		e = x.unused
		x.unused++
	default:
		panic(fmt.Sprintf("placement: dirty index: all %d entries are in use", x.used))
	}
	x.used++
	return e
}

// drop frees the entry to which the link at leads.
func (x *index) drop(at *uint32) {
	e := *at
	en := &x.entries[e]
	*at = en.chain
	x.unlink(e)
	en.chain, x.spare = x.spare, e
	x.used--
}

// link puts e at the end of the list of its location's segment.
func (x *index) link(e uint32) {
	en := &x.entries[e]
	s := &x.segments[en.loc&locMask/x.segSize]
	en.next, en.prev = noEntry, s.tail
	if s.tail == noEntry {
		s.head = e
	} else {
		x.entries[s.tail].next = e
	}
	s.tail = e
	s.count++
}

// unlink takes e out of its segment's list.
func (x *index) unlink(e uint32) {
	en := &x.entries[e]
	s := &x.segments[en.loc&locMask/x.segSize]
	if en.prev == noEntry {
		s.head = en.next
	} else {
		x.entries[en.prev].next = en.next
	}
	if en.next == noEntry {
		s.tail = en.prev
	} else {
		x.entries[en.next].prev = en.prev
	}
	s.count--
}
