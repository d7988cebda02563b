package placement

// punch removes the blocks [from, to) from n's map, leaf by leaf, and frees those that are n's. It
// returns how far it came; a call does the work of one leaf. After errWait or errTight it has done
// a part, and may be called again with the same range. A node gets a map of its own when there is
// something to remove.
func (p *Pool) punch(n *node, from, to uint64, w *waiter) (uint64, error) {
	m := p.mapOf(n)
	if m == nil {
		return to, nil
	}
	at, err := p.nextLeaf(&m.tree, from, w)
	if err != nil {
		return from, err
	}
	if at >= to {
		return to, nil
	}
	p.adopt(n)
	end := min(to, (at/leafBlocks+1)*leafBlocks)
	if err := p.punchLeaf(n, at, end, w); err != nil {
		return at, err
	}
	return end, nil
}

// punchLeaf removes the blocks [from, to) of one leaf, and the leaf when it is empty. Where there
// is none below an empty page, making one and removing it removes that page too.
func (p *Pool) punchLeaf(n *node, from, to uint64, w *waiter) error {
	f, err := p.descend(&n.tree, from, 1, w)
	if err != nil {
		return err
	}
	if f != noFrame && !p.anyEntry(f, from, to) && !isZero(p.cache.page(f)) {
		return nil
	}
	if f, err = p.own(&n.tree, from, w); err != nil {
		return err
	}
	for b := from; b < to; b++ {
		e := entryAt(p.cache.page(f), slotAt(b, 1))
		if e.Flags == 0 {
			continue
		}
		if e.Flags&FlagMapped != 0 && n.owns(e, b+1) {
			if err := p.blocks.prepareFree(e.Addr, w); err != nil {
				return err
			}
			p.blocks.release(e.Addr)
		}
		putEntry(p.cache.page(f), slotAt(b, 1), Entry{})
		p.countEntry(n, b, e, Entry{})
	}
	p.prune(f)
	return nil
}

// anyEntry reports whether the leaf in frame f has an entry in [from, to).
func (p *Pool) anyEntry(f int32, from, to uint64) bool {
	for b := from; b < to; b++ {
		if entryAt(p.cache.page(f), slotAt(b, 1)).Flags != 0 {
			return true
		}
	}
	return false
}

// nextLeaf returns the first block at or after from for which the tree has a leaf page or an empty
// page above one, which something that was given up left, or the end of the address space.
func (p *Pool) nextLeaf(t *tree, from uint64, w *waiter) (uint64, error) {
	const none = ^uint64(0)
	for from>>(fanoutBits*t.levels) == 0 {
		e, level := t.root, t.levels
		for e.Flags&FlagMapped != 0 {
			if level == 1 {
				return from, nil
			}
			f, err := p.cache.need(key(treePage, e.Addr), e.CRC, w)
			if err != nil {
				return 0, err
			}
			if isZero(p.cache.page(f)) {
				return from, nil
			}
			e = entryAt(p.cache.page(f), slotAt(from, level))
			level--
		}
		span := uint64(1) << (fanoutBits * level)
		if from = (from/span + 1) * span; from == 0 {
			return none, nil
		}
	}
	return none, nil
}
