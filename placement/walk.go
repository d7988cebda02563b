package placement

// The walker frees what removed nodes had, one node at a time. It goes through the node's map in
// the order of blocks, with a cursor that stands in the catalogue with what was freed up to it.
//
//   - A node without children: everything that is its own is freed, pages behind the blocks that
//     they map. What is not its own is its ancestors' and is not even looked at.
//   - A node with one child is merged into it: beside the child's map. Where both point at the same
//     page the walker passes over it, and what is below belongs to the child from then on (see
//     tree.owns). What the child has replaced is freed.
//
// Before its walk a node has been destaged and its pages are durable, so nothing in its map changes
// any more but by the walk.

// walkLeaves bounds how many leaves are walked in one turn of the pool.
const walkLeaves = 16

// walking reports whether removed nodes still have something.
func (b *backend) walking() bool { return len(b.p.walks) > 0 }

// beginWalk begins to free what a removed node had, or goes on. It reports whether there was
// something to do right away.
func (b *backend) beginWalk() bool {
	p := b.p
	for i, n := range p.walks {
		if i == walkLeaves {
			break
		}
		if planted("neighbours-walked-at-once") && len(p.walks) > 1 {
			i = int(p.root.Generation) % min(len(p.walks), walkLeaves)
			n = p.walks[i]
		}
		if !p.mayWalk(n) {
			if n.rec.Cursor > 0 {
				return false
			}
			continue
		}
		p.walks[0], p.walks[i] = n, p.walks[0]
		b.phase, b.changed = walkNode, true
		return true
	}
	return false
}

// mayWalk reports whether a removed node can be walked now.
func (p *Pool) mayWalk(n *node) bool {
	return n.fresh == 0 && (n.kid == nil || n.clean())
}

// awaitsCheckpoint reports whether the next walk has only to wait for the node's pages to become
// durable.
func (b *backend) awaitsCheckpoint() bool {
	for i, n := range b.p.walks {
		if i == walkLeaves {
			break
		}
		if n.fresh > 0 && (n.kid == nil || n.clean()) {
			return true
		}
	}
	return false
}

// walk does a bounded piece of the present walk.
func (b *backend) walk() bool {
	p := b.p
	b.phase = backIdle
	n := p.walks[0]
	if b.leaves == 0 {
		b.paused = true
		return false
	}
	if p.cache.dirty+p.cutNeeds()+catalogueLevels > p.cache.cutLimit() {
		return b.goOn(errTight) // the next cut would not hold one more record
	}
	b.leaves--
	b.owed = max(b.owed-1, 0)
	w := walker{p: p, n: n, child: n.only()}
	if n.rec.Cursor == 0 && w.merges() {
		w.child.rec.Over = 0 // from here on of what is n's parent's; finish adds n's
		p.touch(w.child)
	}
	if w.trivial() || n.rec.Cursor >= n.mapEnd() {
		w.finish()
		return true
	}
	err := w.step(&b.waiter)
	if err == nil && n.rec.Cursor >= n.mapEnd() { // the root page is free with this step
		w.finish()
	}
	return b.goOn(err)
}

// mapEnd returns the end of the range that n's map can hold.
func (n *node) mapEnd() uint64 { return 1 << (fanoutBits * n.levels) }

// walker walks one node, beside its only child if it has one.
type walker struct {
	p     *Pool
	n     *node
	child *node
	path  [maxLevels + 1]Entry // path[l] leads to the page at level l on the way to the cursor
	low   uint8                // lowest level of path that is filled
}

// trivial reports whether there is nothing to walk: the node has no map of its own, or its child
// takes all of it over.
func (w *walker) trivial() bool {
	return w.n.root.Flags == 0 || w.child != nil && w.child.rec.Flags&NodeAsParent != 0
}

// merges reports whether the maps of the node and of its child become one.
func (w *walker) merges() bool {
	return w.child != nil && (w.n.rec.Flags|w.child.rec.Flags)&NodeAsParent == 0
}

// finish removes the node.
func (w *walker) finish() {
	p, n, c := w.p, w.n, w.child
	p.walks = append(p.walks[:0], p.walks[1:]...)
	n.queued = false
	merged := w.merges()
	switch {
	case merged:
		c.rec.Owned += n.rec.Owned
		c.rec.Over += n.rec.Over
	case c != nil && n.rec.Flags&NodeAsParent == 0: // the child takes all over
		c.root, c.levels = n.root, n.levels
		c.rec.Flags = c.rec.Flags&^NodeAsParent | n.rec.Flags&NodeUncounted
		c.rec.Mapped, c.rec.Owned, c.rec.Over = n.rec.Mapped, n.rec.Owned, n.rec.Over
	}
	p.remove(n)
	if merged {
		p.miscount(c)
	}
}

// step walks from the cursor to the end of the leaf it is in, or passes over a subtree.
func (w *walker) step(wait *waiter) error {
	p, n := w.p, w.n
	at := n.rec.Cursor
	w.path[n.levels], w.low = n.root, n.levels
	for {
		e := w.path[w.low]
		pass, err := w.passes(e, at, wait)
		if err != nil {
			return err
		}
		if pass {
			end := spanEnd(at, w.low)
			w.low++ // the page itself stays
			return w.close(end, wait)
		}
		f, err := p.cache.need(key(treePage, e.Addr), e.CRC, wait)
		if err != nil {
			return err
		}
		if w.low == 1 {
			return w.leaf(f, at, wait)
		}
		w.path[w.low-1] = entryAt(p.cache.page(f), slotAt(at, w.low))
		w.low--
	}
}

// passes reports whether nothing below a pointer is to be looked at.
func (w *walker) passes(e Entry, at uint64, wait *waiter) (bool, error) {
	if e.Flags&FlagMapped == 0 {
		return true, nil
	}
	if w.child == nil {
		return e.Epoch <= w.n.floor, nil
	}
	c, err := w.p.pointer(&w.child.tree, at, w.low, wait)
	return c.Flags&FlagMapped != 0 && c.Addr == e.Addr, err
}

// pointer returns what leads to the page at a level of a tree on the way to index.
func (p *Pool) pointer(t *tree, index uint64, level uint8, w *waiter) (Entry, error) {
	switch {
	case level > t.levels:
		return Entry{}, nil
	case level == t.levels:
		if index>>(fanoutBits*t.levels) != 0 {
			return Entry{}, nil
		}
		return t.root, nil
	}
	f, err := p.descend(t, index, level+1, w)
	if err != nil || f == noFrame {
		return Entry{}, err
	}
	return entryAt(p.cache.page(f), slotAt(index, level+1)), nil
}

// leaf frees the entries of a leaf from block at on, and with the last of them the pages that end
// there.
func (w *walker) leaf(f int32, at uint64, wait *waiter) error {
	p := w.p
	p.cache.frames[f].pins++
	defer func() { p.cache.frames[f].pins-- }()
	cf := int32(noFrame)
	if w.child != nil {
		var err error
		if cf, err = p.descend(&w.child.tree, at, 1, wait); err != nil {
			return err
		}
	}
	if cf != noFrame {
		p.cache.frames[cf].pins++
		defer func() { p.cache.frames[cf].pins-- }()
	}
	end := spanEnd(at, 1)
	for ; at < end; at++ {
		e, c := entryAt(p.cache.page(f), slotAt(at, 1)), Entry{}
		if cf != noFrame {
			c = entryAt(p.cache.page(cf), slotAt(at, 1))
		}
		if w.frees(e, c) {
			if err := p.blocks.prepareFree(e.Addr, wait); err != nil {
				return err
			}
		}
		if at == end-1 {
			if err := w.prepareClose(end, wait); err != nil {
				return err
			}
		}
		w.entry(e, c)
		w.n.rec.Cursor = at + 1
		p.touch(w.n)
	}
	w.closePages(end)
	return nil
}

// frees reports whether a block is the node's own and its child does not share it.
func (w *walker) frees(e, c Entry) bool {
	shared := c.sameBlock(e) && !planted("walk-frees-what-is-shared")
	return e.Flags&FlagMapped != 0 && e.Epoch > w.n.floor && !shared
}

// entry takes leave of one entry: its block is freed, or becomes the child's.
func (w *walker) entry(e, c Entry) {
	if e.Flags&FlagMapped == 0 {
		return
	}
	n, own := w.n, e.Epoch > w.n.floor
	switch {
	case w.frees(e, c):
		w.p.blocks.release(e.Addr)
		n.rec.Owned--
	case w.child == nil:
	case own:
		n.rec.Owned--
		w.child.rec.Owned++
	case !c.sameBlock(e):
		if g := n.parent; g != nil && e.Epoch > w.p.mapOf(g).floor {
			w.child.rec.Over++
		}
	}
	if w.child != nil {
		w.p.touch(w.child)
	}
}

// close moves the cursor to the end of what was passed over, and frees the pages that end there.
func (w *walker) close(end uint64, wait *waiter) error {
	if err := w.prepareClose(end, wait); err != nil {
		return err
	}
	w.closePages(end)
	w.n.rec.Cursor = end
	w.p.touch(w.n)
	return nil
}

// closing calls f for the node's own pages on the path that end at a block.
func (w *walker) closing(end uint64, f func(e Entry) error) error {
	for l := w.low; l <= w.n.levels && spanEnd(end-1, l) == end; l++ {
		if e := w.path[l]; e.Epoch > w.n.floor {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) prepareClose(end uint64, wait *waiter) error {
	if len(w.p.pages.freed)+maxLevels > cap(w.p.pages.freed) {
		return errTight
	}
	return w.closing(end, func(e Entry) error { return w.p.pages.prepareFree(e.Addr, wait) })
}

func (w *walker) closePages(end uint64) {
	_ = w.closing(end, func(e Entry) error {
		w.p.pages.release(e.Addr)
		return nil
	})
}
