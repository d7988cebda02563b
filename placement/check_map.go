package placement

import (
	"fmt"

	"unblend/log"
)

// reached is a set of units, with what reached each first: a fingerprint of the family of nodes and
// of the place in their maps. Nodes of one family share pages and blocks, at the same place each.
type reached struct {
	bits   []uint64
	prints [][]byte // by chunks of printChunk units; nil: none is reached
}

const printChunk = 1 << 14

func newReached(n uint64) reached {
	return reached{make([]uint64, n/64+1), make([][]byte, n/printChunk+1)}
}

func (s *reached) has(i uint64) bool { return s.bits[i/64]>>(i%64)&1 == 1 }

// add notes that a unit is reachable. It reports whether it was before, and from elsewhere.
func (s *reached) add(i uint64, print byte) (again, elsewhere bool) {
	c := &s.prints[i/printChunk]
	if *c == nil {
		*c = make([]byte, printChunk)
	}
	p := &(*c)[i%printChunk]
	if s.has(i) {
		return true, *p != print
	}
	s.bits[i/64] |= 1 << (i % 64)
	*p = print
	return false, false
}

// printOf returns the fingerprint of a place in the maps of a family. Two that differ have the same
// one time in 255.
func printOf(family uint32, level uint8, first uint64) byte {
	h := uint64(family)<<8 | uint64(level)
	h = (h ^ first) * 0x9e3779b97f4a7c15
	h = (h ^ h>>29 ^ uint64(family)) * 0xbf58476d1ce4e5b9
	return byte(h>>32%255) + 1
}

// family returns the oldest ancestor of a node.
func (c *checker) family(n *node) uint32 {
	if id, known := c.tops[n]; known {
		return id
	}
	top := n
	for top.parent != nil {
		top = top.parent
	}
	c.tops[n] = top.rec.ID
	return top.rec.ID
}

// page reads a metadata page in both homes and notes that it is reachable. It returns nil if there
// is nothing to be seen there, or it has been seen before.
func (c *checker) page(structure string, e Entry, print byte) []byte {
	if e.Flags == 0 {
		return nil
	}
	if err := e.validate(c.root.Pages); err != nil || e.Flags != FlagMapped {
		c.problem(structure, false, fmt.Errorf("pointer %+v: %w", e, ErrDamaged))
		return nil
	}
	again, elsewhere := c.pages.add(e.Addr, print)
	if elsewhere {
		c.problem(structure, false, fmt.Errorf("page %d is reached twice: %w", e.Addr, ErrDamaged))
	}
	if again {
		return nil
	}
	c.rep.Pages++
	mem := alignedBytes(log.BlockSize)
	if !c.both(structure, c.label.pageBlock(e.Addr), e.CRC, mem) {
		return nil
	}
	return mem
}

// checkCatalogue walks the pages of the catalogue; the records were read by loadCatalogue.
func (c *checker) checkCatalogue(e Entry, level uint8, first uint64) {
	mem := c.page("catalogue page", e, printOf(0, level, first))
	if mem == nil || level == 1 {
		return
	}
	for i := range fanout {
		c.checkCatalogue(entryAt(mem, i), level-1, first*fanout+uint64(i))
	}
}

// checkMap walks a part of a node's map, from block first on. What the walker has passed of a removed
// node is not its any more.
func (c *checker) checkMap(n *node, e Entry, level uint8, first uint64) {
	mem := c.page("map page", e, printOf(c.family(n), level, first))
	if mem == nil {
		return
	}
	span := uint64(1) << (fanoutBits * (level - 1))
	for i := range fanout {
		child, at := entryAt(mem, i), first+uint64(i)*span
		switch {
		case child.Flags == 0, at+span <= n.rec.Cursor:
		case at >= n.blocks():
			c.problem("map page", false, fmt.Errorf(
				"%s: block %d is beyond its end: %w", c.object(n.rec.ID), at, ErrDamaged))
		case level > 1:
			c.checkMap(n, child, level-1, at)
		default:
			c.checkBlock(n, child, at)
		}
	}
}

// checkBlock verifies one map entry, and with Data what it points at. A block that was overwritten
// in place after the last checkpoint does not match its entry; its newer content is in the log.
func (c *checker) checkBlock(n *node, e Entry, at uint64) {
	if err := e.validate(c.root.Blocks); err != nil {
		c.problem("map entry", false, fmt.Errorf("%s, block %d: %w", c.object(n.rec.ID), at, err))
		return
	}
	if e.Flags&FlagMapped == 0 {
		return
	}
	again, elsewhere := c.blocks.add(e.Addr, printOf(c.family(n), 0, at))
	if elsewhere {
		c.problem("map entry", false, fmt.Errorf("%s, block %d: capacity block %d "+
			"is reached twice: %w", c.object(n.rec.ID), at, e.Addr, ErrDamaged))
	}
	if again {
		return
	}
	c.rep.Blocks++
	if c.opt.Progress != nil && c.rep.Blocks%1024 == 0 {
		used := c.root.Blocks - c.root.FreeBlocks
		c.opt.Progress(int64(c.rep.Blocks), int64(used))
	}
	if !c.opt.Data || c.unread[n] || c.noLog {
		return
	}
	if _, dirty := c.p.index.get(n.line.id, n.rec.ID, at); dirty || c.p.zeros.covers(n.rec.ID, at) {
		return
	}
	off := int64(e.Addr) * log.BlockSize
	c.problem("data", false, c.verify(log.Capacity, off, e.CRC, n.rec.ID, at, c.mem[:log.BlockSize]))
}

// checkBitmaps compares the bitmaps with what is reachable, reserved or bad.
func (c *checker) checkBitmaps() {
	for _, r := range c.label.reservedBlocks() {
		for u := r.start; u < r.start+r.n; u++ {
			if again, _ := c.blocks.add(u, 0); again {
				c.problem("map entry", false, fmt.Errorf(
					"capacity block %d is reserved but holds data: %w", u, ErrDamaged))
			}
		}
	}
	for _, u := range c.root.Bad {
		c.blocks.add(u, 0)
	}
	r := &c.root
	blocks, pages := c.label.bitmaps(r.Blocks, r.Pages)
	c.checkBitmap("block bitmap", blocks, r.Blocks, r.BlockRefs, &c.blocks, r.FreeBlocks)
	c.checkBitmap("page bitmap", pages, r.Pages, r.PageRefs, &c.pages, r.FreePages)
}

// checkBitmap verifies one bitmap: its pages in both homes, their counts, and every bit.
func (c *checker) checkBitmap(what string, s *shadow, total uint64, top []ShadowRef, used *reached,
	wantFree uint64,
) {
	err := s.load(top, func(block uint64, crc uint32, p []byte) error {
		if !c.both(what, block, crc, p) {
			return fmt.Errorf("%s: no copy of block %d is good: %w", what, block, ErrDamaged)
		}
		return nil
	})
	if err != nil {
		c.problem(what, false, err)
		return
	}
	free, wrong := uint64(0), 0
	mem := alignedBytes(log.BlockSize)
	for i := range s.count(0) {
		ref := s.at(0, i)
		if ref.fill(mem); !ref.unwritten() && !c.both(what, s.block(0, i, ref.Place), ref.CRC, mem) {
			continue
		}
		free += uint64(ref.Free)
		wrong += c.compareBits(what, mem, uint64(i)*pageBits, total, used, wrong)
		if got := freeChunks(mem); got != ref.FreeChunks {
			c.problem(what, false, fmt.Errorf("page %d: %d free chunks, its reference says %d: %w",
				i, got, ref.FreeChunks, ErrDamaged))
		}
	}
	if free != wantFree {
		c.problem(what, false, fmt.Errorf("%d free, the root says %d: %w", free, wantFree, ErrDamaged))
	}
}

// maxBits is how many wrong bits of a bitmap are named one by one.
const maxBits = 16

// compareBits compares one bitmap page with the reachable units and returns how many differ.
func (c *checker) compareBits(what string, mem []byte, first, total uint64, used *reached,
	before int,
) (wrong int) {
	for u := first; u < min(first+pageBits, total); u++ {
		set := mem[(u-first)/8]>>(u%8)&1 == 1
		reachable := used.has(u)
		if set == reachable {
			continue
		}
		if wrong++; before+wrong > maxBits {
			continue
		}
		state := "in use, but nothing reaches it"
		if reachable {
			state = "free, but in use"
		}
		c.problem(what, false, fmt.Errorf("unit %d is %s: %w", u, state, ErrDamaged))
	}
	return wrong
}
