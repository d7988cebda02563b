package placement

// What removing a snapshot would free are the blocks of its own that its only child does not share;
// the child keeps count of them (NodeRecord.Over). When a removed node is merged into a snapshot,
// blocks become that snapshot's own of which nobody knows whether its children share them. Then the
// count begins anew (NodeUncounted): as soon as there is one child it is made by going through
// the pages of both that differ, a few leaves in each turn, while the back end has nothing else to do.
// Ahead of where that has come the child does not count what it replaces, behind it it does. A restart
// begins again.

// uncounted reports whether what n's children do not share of it is not known.
func (n *node) uncounted() bool { return n.rec.Flags&NodeUncounted != 0 }

// miscount notes that blocks have become n's own.
func (p *Pool) miscount(n *node) {
	if n.settled { // else no child has a map, and they share everything
		n.rec.Flags |= NodeUncounted
		p.touch(n)
		n.counted = 0
		p.settleCount(n)
	}
}

// settleCount sees to n's count, now that something has changed that it waited for.
func (p *Pool) settleCount(n *node) {
	if !n.counting && p.countable(n) {
		n.counting, n.counted = true, 0
		p.counts = append(p.counts, n)
	}
}

// countable reports whether n's count is missing and can be made: nobody else works on the nodes.
func (p *Pool) countable(n *node) bool {
	c := n.only()
	return n.uncounted() && !n.hidden() && n.rec.Flags&NodeAsParent == 0 &&
		c != nil && c.rec.Flags&NodeAsParent == 0 && !c.queued &&
		(n.parent == nil || !n.parent.queued)
}

// beginCount begins, or goes on, to count. It reports whether there is something to count.
func (b *backend) beginCount() bool {
	p := b.p
	for len(p.counts) > 0 && !p.countable(p.counts[0]) {
		p.endCount()
	}
	if len(p.counts) > 0 {
		b.phase, b.changed = countNode, true
	}
	return len(p.counts) > 0
}

// endCount takes the first node off the list.
func (p *Pool) endCount() {
	p.counts[0].counting, p.counts[0].counted = false, 0
	p.counts = append(p.counts[:0], p.counts[1:]...)
}

// count counts in one leaf, or passes over a subtree. That a page is damaged concerns the count only.
func (b *backend) count() bool {
	p := b.p
	n := p.counts[0]
	b.phase = backIdle
	if b.leaves == 0 {
		b.paused = true
		return false
	}
	if p.cache.dirty+p.cutNeeds()+catalogueLevels > p.cache.cutLimit() {
		return b.goOn(errTight)
	}
	b.leaves--
	c := n.only()
	if n.counted == 0 {
		c.rec.Over = 0
	}
	if n.root.Flags != 0 && n.counted < n.mapEnd() {
		err := p.countStep(n, c, &b.waiter)
		if err != nil && err != errWait && err != errTight {
			p.endCount()
			return true
		}
		return b.goOn(err)
	}
	n.rec.Flags &^= NodeUncounted
	p.touch(n)
	p.touch(c)
	p.endCount()
	return true
}

// countStep counts from n.counted to the end of the leaf it is in, or passes over a subtree of which
// nothing is n's or its child c shares everything.
func (p *Pool) countStep(n, c *node, w *waiter) error {
	at, e := n.counted, n.root
	for level := n.levels; ; level-- {
		end := spanEnd(at, level)
		pass := e.Flags&FlagMapped == 0 || !n.owns(e, end)
		if !pass {
			ce, err := p.pointer(&c.tree, at, level, w)
			if err != nil {
				return err
			}
			pass = ce.Flags&FlagMapped != 0 && ce.Addr == e.Addr
		}
		if pass {
			n.counted = end
			return nil
		}
		f, err := p.cache.need(key(treePage, e.Addr), e.CRC, w)
		if err != nil {
			return err
		}
		if level == 1 {
			return p.countLeaf(n, c, f, w)
		}
		e = entryAt(p.cache.page(f), slotAt(at, level))
	}
}

// countLeaf counts the blocks of the leaf in frame f that are n's and that c does not share.
func (p *Pool) countLeaf(n, c *node, f int32, w *waiter) error {
	p.cache.frames[f].pins++
	defer func() { p.cache.frames[f].pins-- }()
	cf, err := p.descend(&c.tree, n.counted, 1, w)
	if err != nil {
		return err
	}
	for end := spanEnd(n.counted, 1); n.counted < end; n.counted++ {
		e, ce := entryAt(p.cache.page(f), slotAt(n.counted, 1)), Entry{}
		if cf != noFrame {
			ce = entryAt(p.cache.page(cf), slotAt(n.counted, 1))
		}
		if e.Flags&FlagMapped != 0 && n.owns(e, n.counted+1) && !ce.sameBlock(e) {
			c.rec.Over++
		}
	}
	p.touch(c)
	return nil
}

// sameBlock reports whether both entries have a block, and the same one.
func (e Entry) sameBlock(o Entry) bool {
	return e.Flags&o.Flags&FlagMapped != 0 && e.Addr == o.Addr
}
