package placement

import (
	"fmt"

	"unblend/log"
)

// reach notes that a page or block is reachable, and whether it was not already.
func reach(set []uint64, i uint64) bool {
	was := set[i/64]>>(i%64)&1 == 1
	set[i/64] |= 1 << (i % 64)
	return !was
}

// page reads a metadata page in both homes and notes that it is reachable.
func (c *checker) page(structure string, e Entry) []byte {
	if e.Flags == 0 {
		return nil
	}
	if err := e.validate(c.label.Home.PageCount); err != nil || e.Flags != FlagMapped {
		c.problem(structure, false, fmt.Errorf("pointer %+v: %w", e, ErrDamaged))
		return nil
	}
	if !reach(c.pages, e.Addr) {
		c.problem(structure, false, fmt.Errorf("page %d is reached twice: %w", e.Addr, ErrDamaged))
		return nil
	}
	c.rep.Pages++
	mem := alignedBytes(log.BlockSize)
	if !c.both(structure, c.label.Home.Pages+e.Addr, e.CRC, mem) {
		return nil
	}
	return mem
}

// checkCatalogue walks the pages of the catalogue; the records were read by loadCatalogue.
func (c *checker) checkCatalogue(e Entry, level uint8) {
	mem := c.page("catalogue page", e)
	if mem == nil || level == 1 {
		return
	}
	for i := range fanout {
		c.checkCatalogue(entryAt(mem, i), level-1)
	}
}

// checkMap walks a part of a node's map, from block first on.
func (c *checker) checkMap(n *node, e Entry, level uint8, first uint64) {
	mem := c.page("map page", e)
	if mem == nil {
		return
	}
	span := uint64(1) << (fanoutBits * (level - 1))
	for i := range fanout {
		child, at := entryAt(mem, i), first+uint64(i)*span
		switch {
		case child.Flags == 0:
		case at >= n.blocks():
			c.problem("map page", false, fmt.Errorf(
				"volume %q: block %d is beyond its end: %w", n.rec.Name, at, ErrDamaged))
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
	if err := e.validate(c.label.CapacityBlocks); err != nil {
		c.problem("map entry", false, fmt.Errorf("volume %q, block %d: %w", n.rec.Name, at, err))
		return
	}
	if e.Flags&FlagMapped == 0 {
		return
	}
	if !reach(c.blocks, e.Addr) {
		c.problem("map entry", false, fmt.Errorf("volume %q, block %d: capacity block %d "+
			"is reached twice: %w", n.rec.Name, at, e.Addr, ErrDamaged))
		return
	}
	c.rep.Blocks++
	if c.opt.Progress != nil && c.rep.Blocks%1024 == 0 {
		used := c.label.CapacityBlocks - c.root.FreeBlocks
		c.opt.Progress(int64(c.rep.Blocks), int64(used))
	}
	if !c.opt.Data || n.gone() { // what the log had of a deleted volume is not replayed
		return
	}
	if _, dirty := c.p.index.get(n.rec.ID, at); dirty || c.p.zeros.covers(n.rec.ID, at) {
		return
	}
	off := int64(e.Addr) * log.BlockSize
	c.problem("data", false, c.verify(log.Capacity, off, e.CRC, n.rec.ID, at, c.mem[:log.BlockSize]))
}

// checkBitmaps compares the bitmaps with what is reachable, reserved or bad.
func (c *checker) checkBitmaps() {
	for _, r := range c.label.reservedBlocks() {
		for u := r.start; u < r.start+r.n; u++ {
			if !reach(c.blocks, u) {
				c.problem("map entry", false, fmt.Errorf(
					"capacity block %d is reserved but holds data: %w", u, ErrDamaged))
			}
		}
	}
	for _, u := range c.root.Bad {
		reach(c.blocks, u)
	}
	h := &c.label.Home
	c.checkBitmap("block bitmap", h.BlockMap, c.label.CapacityBlocks, c.root.BlockRefs, c.blocks,
		c.root.FreeBlocks)
	c.checkBitmap("page bitmap", h.PageMap, h.PageCount, c.root.PageRefs, c.pages, c.root.FreePages)
}

// checkBitmap verifies one bitmap: its pages in both homes, their counts, and every bit.
func (c *checker) checkBitmap(what string, base, total uint64, top []ShadowRef, used []uint64,
	wantFree uint64,
) {
	s := newShadow(base, bitmapPages(total))
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
		if clear(mem); ref.CRC != 0 && !c.both(what, s.block(0, i, ref.Place), ref.CRC, mem) {
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
func (c *checker) compareBits(what string, mem []byte, first, total uint64, used []uint64,
	before int,
) (wrong int) {
	for u := first; u < min(first+pageBits, total); u++ {
		set := mem[(u-first)/8]>>(u%8)&1 == 1
		reachable := used[u/64]>>(u%64)&1 == 1
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
