package placement

// homeMin is how many blocks of a leaf (1 MiB of a volume) must be mapped or about to be mapped
// for the leaf to get a home chunk. Fewer are packed with those of other leaves.
const homeMin = 16

// homeChunk is where the blocks of the leaf at hand have their natural places: block i of the leaf
// at chunk + i, so that the image reads sequentially. It is not recorded anywhere: a leaf's home
// is where blocks of its own lie at their natural places.
type homeChunk struct {
	id    uint32
	leaf  uint64
	known bool
	has   bool
	chunk uint64
}

// placeBatch gives the blocks of the batch their places and enters those into the map. In memory
// the map may be ahead of the devices: until the blocks are written and retired, the index answers
// for them. When pages or space run out, what has been placed goes on and the rest stays in the
// log until after the next checkpoint.
func (b *backend) placeBatch() bool {
	for range stepMax {
		if b.next == len(b.batch) {
			b.endPlacing()
			return true
		}
		err := b.placeOne(&b.batch[b.next])
		switch err {
		case nil:
			b.next++
		case errWait:
			b.prefetch()
			return false
		case errTight, errFull:
			b.tight = true
			b.endPlacing()
			return true
		default:
			b.p.setReadOnly(err)
			return false
		}
	}
	return true
}

// prefetchMax is how many leaves' pages are asked for at once, if that is no more than a sixteenth of the
// cache.
const prefetchMax = 32

// prefetch begins to load the pages of the leaves that come next, beside the one that is waited for: a
// device performs many reads in less time than one after the other.
func (b *backend) prefetch() {
	p, last := b.p, uint64(noScan)
	left := min(prefetchMax, p.opt.Frames/16)
	for i := b.next; i < len(b.batch) && left > 0; i++ {
		m := &b.batch[i]
		key := leafKey(m.id, m.block/leafBlocks)
		n := p.nodes[m.id]
		if key == last || n == nil || n.gone() {
			continue
		}
		last = key
		left--
		if from := p.mapOf(n); from != nil {
			_, _ = p.find(&from.tree, m.block, nil) // who needs it will see what is wrong with it
		}
	}
}

// endPlacing goes on to write what has been placed, once no read looks at places that are to be
// overwritten.
func (b *backend) endPlacing() {
	b.placed = b.next
	b.sortByAddr()
	b.countRuns()
	b.gatherAhead()
	b.phase = destageGrace
	b.p.beginGrace()
}

// placeOne enters one block into the map of its node, unless something newer has come since it was
// gathered: an extent that zeroed it may have been applied already, and must not be undone.
func (b *backend) placeOne(m *moving) error {
	p := b.p
	n := p.nodes[m.id]
	if n == nil || n.gone() {
		return nil
	}
	if d, ok := p.index.get(n.line.id, m.id, m.block); !ok || d.loc != m.loc {
		return nil
	}
	if m.flags&dirtyZero != 0 {
		_, err := p.punch(n, m.block, m.block+1, &b.waiter)
		return err
	}
	p.adopt(n)
	f, err := p.own(&n.tree, m.block, &b.waiter)
	if err != nil {
		return err
	}
	old := entryAt(p.cache.page(f), slotAt(m.block, 1))
	owned := old.Flags&FlagMapped != 0 && n.owns(old, m.block+1)
	p.cache.frames[f].pins++
	defer func() { p.cache.frames[f].pins-- }()
	e := Entry{Flags: FlagLost, Epoch: n.birth, CRC: m.crc}
	if planted("epoch-of-the-destage") {
		e.Epoch = p.epoch
	}
	if m.flags&dirtyLost == 0 {
		e.Flags = FlagMapped
		if e.Addr, err = b.placeFor(n, f, m.block, old, owned); err != nil {
			return err
		}
	}
	if owned && e.Addr != old.Addr || owned && e.Flags == FlagLost {
		if err := p.blocks.prepareFree(old.Addr, &b.waiter); err != nil {
			if e.Flags == FlagMapped {
				p.blocks.unalloc(e.Addr)
			}
			return err
		}
		p.blocks.release(old.Addr)
	}
	putEntry(p.cache.page(f), slotAt(m.block, 1), e)
	p.countEntry(n, m.block, old, e)
	m.addr, m.write = e.Addr, e.Flags == FlagMapped
	return nil
}

// countEntry keeps count of n's mapped blocks, of those that are its own, and of those that were its
// parent's, when the entry of a block changes.
func (p *Pool) countEntry(n *node, block uint64, old, e Entry) {
	n.rec.Mapped += uint64(e.Flags&FlagMapped) - uint64(old.Flags&FlagMapped)
	if e.Flags&FlagMapped != 0 {
		n.rec.Owned++
	}
	if old.Flags&FlagMapped != 0 {
		if n.owns(old, block+1) {
			n.rec.Owned--
		} else if p.parentOwns(n, block, old) {
			n.rec.Over++
		}
	}
	p.touch(n)
}

// parentOwns reports whether an entry that is not n's belongs to the ancestor whose map n's began
// with, and not to an older one. What of a count is still to be made is left to whoever makes it: the
// walk that merges the parent into n, or the recount.
func (p *Pool) parentOwns(n *node, block uint64, e Entry) bool {
	h := n.parent
	if h != nil && h.rec.Flags&NodeAsParent == 0 {
		switch {
		case h.hidden() && block >= h.rec.Cursor, !h.hidden() && h.uncounted() && block >= h.counted:
			return false
		case h.hidden():
			h = h.parent // the walker has passed: h is n itself there
		}
	}
	if h != nil {
		h = p.mapOf(h)
	}
	return h != nil && e.Epoch > h.floor
}

// placeFor chooses the address of a block: its natural place in the leaf's home chunk if that is
// free or already its own, else the place it has, else the next of the chunk that is being packed.
// The last free blocks are kept for those whose write fails.
func (b *backend) placeFor(n *node, f int32, block uint64, old Entry, owned bool) (uint64, error) {
	p := b.p
	if err := b.findHome(n, f, block); err != nil {
		return 0, err
	}
	if b.home.has {
		natural := b.home.chunk + block%chunkUnits
		if owned && old.Addr == natural {
			return natural, nil
		}
		if p.blocks.free > maxBadBlocks {
			ok, err := p.blocks.allocAt(natural, &b.waiter)
			if ok || err != nil {
				return natural, err
			}
		}
	}
	switch {
	case owned:
		return old.Addr, nil
	case p.blocks.free <= maxBadBlocks:
		return 0, errFull
	}
	return p.blocks.alloc(&b.waiter)
}

// findHome finds the home chunk of the leaf in frame f, or gives it one when it is dense enough.
func (b *backend) findHome(n *node, f int32, block uint64) error {
	leaf := block / leafBlocks
	if b.home.known && b.home.id == n.rec.ID && b.home.leaf == leaf {
		return nil
	}
	s := b.p.shapeOf(n, f, leaf)
	h := homeChunk{id: n.rec.ID, leaf: leaf, known: true, chunk: s.chunk}
	h.has = b.p.atHome(n, f, leaf, h.chunk) > 0
	if !h.has && s.own+b.coming(n.rec.ID, leaf) >= homeMin {
		chunk, err := b.p.blocks.freeChunk(&b.waiter)
		switch err {
		case nil:
			h.has, h.chunk = true, chunk
		case errFull: // no free chunk: pack
		default:
			return err
		}
	}
	b.home = h
	return nil
}

// coming returns how many blocks of a leaf the batch still has, from the present one on.
func (b *backend) coming(id uint32, leaf uint64) int {
	k := 0
	for i := b.next; i < len(b.batch); i++ {
		m := &b.batch[i]
		if m.id != id || m.block/leafBlocks != leaf {
			break
		}
		if m.flags == 0 {
			k++
		}
	}
	return k
}

// replaceBad deals with failed writes. The blocks of a run are written once more, each alone; those
// that fail then get new places. A block that cannot be written is not used again: the root lists
// it. It reports whether there is more to write, or to wait for.
func (b *backend) replaceBad() bool {
	for _, i := range b.order {
		m := &b.batch[i]
		if !m.bad {
			continue
		}
		if !m.alone {
			m.alone, m.bad, m.moved = true, false, true
			continue
		}
		b.tight, b.p.dirtyLimit = true, b.p.cache.cutLimit() // it cannot wait for a checkpoint
		if err := b.replace(m); err == errWait {
			return true
		} else if err != nil {
			b.p.setReadOnly(err)
			return true
		}
		m.bad, m.moved = false, true
	}
	again := b.order[:0]
	for _, i := range b.order {
		if m := &b.batch[i]; m.moved {
			m.moved = false
			again = append(again, i)
		}
	}
	b.order, b.next = again, 0
	return len(again) > 0
}

// replace moves one block away from a bad place. Its leaf is dirty and so in memory.
func (b *backend) replace(m *moving) error {
	p := b.p
	if len(p.bad) == maxBadBlocks {
		return ErrTooManyBad
	}
	n := p.nodes[m.id]
	f, err := p.own(&n.tree, m.block, &b.waiter)
	if err != nil {
		return err
	}
	addr, err := p.blocks.alloc(&b.waiter)
	if err != nil {
		return err
	}
	p.bad = append(p.bad, m.addr)
	p.stats.BadBlocks++
	e := entryAt(p.cache.page(f), slotAt(m.block, 1))
	e.Addr = addr
	putEntry(p.cache.page(f), slotAt(m.block, 1), e)
	m.addr = addr
	return nil
}
