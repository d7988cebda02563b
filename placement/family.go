package placement

import "slices"

// hidden reports whether the node was removed or rolled back: it stays for its children, and until
// the walker has freed what was its alone.
func (n *node) hidden() bool { return n.rec.Flags&NodeHidden != 0 }

// gone reports whether nobody can read the node any more: it was removed and has no children.
func (n *node) gone() bool { return n.rec.Flags&NodeGone != 0 }

// frozen reports whether the node is a snapshot.
func (n *node) frozen() bool { return n.rec.Frozen != 0 }

// only returns the node's child if it has exactly one.
func (n *node) only() *node {
	if n.kid == nil || n.kid.next != nil {
		return nil
	}
	return n.kid
}

// enterFamily makes n a child of its parent.
func (n *node) enterFamily(parent *node) {
	n.parent, n.rec.Parent, n.next, n.prev = parent, 0, nil, nil
	if parent == nil {
		return
	}
	n.rec.Parent = parent.rec.ID
	if n.next = parent.kid; n.next != nil {
		n.next.prev = n
	}
	parent.kid = n
	parent.kids++
}

// leaveFamily undoes enterFamily.
func (n *node) leaveFamily() {
	if n.prev != nil {
		n.prev.next = n.next
	} else if n.parent != nil {
		n.parent.kid = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	if n.parent != nil {
		n.parent.kids--
	}
	n.parent, n.rec.Parent, n.next, n.prev = nil, 0, nil, nil
}

// hide removes a node from the sight of operators. What the log has of it is needed by its
// children only.
func (p *Pool) hide(n *node, seq uint64) {
	delete(p.names, n.rec.Name)
	n.rec.Name, n.rec.Device = "", -1
	n.rec.Flags = n.rec.Flags&(NodeAsParent|NodeUncounted) | NodeExists | NodeHidden
	n.rec.LastSeq, n.vol = seq, nil
	p.touch(n)
	p.settleRemoved(n)
}

// settleRemoved sees to what becomes of a hidden node, now that it has fewer children or none: the
// walker frees it, or merges it into the one that is left. With several it waits for that.
func (p *Pool) settleRemoved(n *node) {
	if !n.hidden() {
		return
	}
	if n.kid == nil && !n.gone() {
		n.rec.Flags |= NodeGone
		p.touch(n)
		p.countExtents(n, -p.zeros.removeNode(n.rec.ID))
	}
	switch {
	case n.queued, n.kid != nil && n.only() == nil:
		return
	case n.gone() && n.root.Flags == 0:
		p.remove(n)
		return
	}
	n.queued = true
	p.walks = append(p.walks, n)
	p.back.changed = true
}

// remove takes a node that owns nothing any more out of the tree: its child, if it has one, becomes
// its parent's. The record stays in the catalogue until no record in the log can name the node.
func (p *Pool) remove(n *node) {
	parent, child := n.parent, n.only()
	n.leaveFamily()
	if child != nil {
		child.leaveFamily()
		child.enterFamily(parent)
		child.floor = n.floor
		p.promise(child)
		n.rec.Merged = child.rec.ID
		p.touch(child)
		p.reshape()
	}
	if parent.midway() { // what the walker has passed over is counted there, and n has freed it
		parent.rec.Owned += n.rec.Owned
		p.touch(parent)
	}
	n.root, n.levels, n.floor = Entry{}, 0, 0
	n.rec.Flags = NodeExists | NodeHidden | NodeGone
	n.rec.Cursor, n.rec.Mapped, n.rec.Owned, n.rec.Over = 0, 0, 0, 0
	p.touch(n)
	p.dead = append(p.dead, n)
	if child != nil {
		p.settleCount(child)
	}
	if parent != nil {
		p.settleRemoved(parent)
		p.settleCount(parent)
	}
}

// byID compares for searches in lists of nodes by id.
func byID(n *node, id uint32) int { return int(n.rec.ID) - int(id) }

// addNode adds a node to the catalogue in memory. Its parent, if it has one, is there.
func (p *Pool) addNode(rec *NodeRecord, continues bool) *node {
	n := &node{rec: *rec}
	n.enterFamily(p.nodes[rec.Parent])
	n.tree = tree{
		node: n, root: rec.Root, levels: rec.Levels, birth: rec.Birth, floor: rec.Floor,
	}
	if rec.Levels == 0 {
		n.levels = levelsFor(n.blocks())
	}
	n.begin(continues)
	p.nodes[rec.ID] = n
	if last := len(p.order) - 1; last < 0 || p.order[last].rec.ID < rec.ID {
		p.order = append(p.order, n)
	} else {
		i, _ := slices.BinarySearchFunc(p.order, rec.ID, byID)
		p.order = slices.Insert(p.order, i, n)
	}
	if rec.Name != "" {
		p.names[rec.Name] = n
	}
	return n
}

// adoptFamily is called when all nodes of a root are in memory: it finds out what follows from
// their relations.
func (p *Pool) adoptFamily() {
	for _, n := range p.order {
		if n.gone() && n.root.Flags == 0 && n.rec.Flags&NodeAsParent == 0 {
			n.leaveFamily()
			p.dead = append(p.dead, n)
			continue
		}
		if n.rec.Flags&NodeAsParent == 0 {
			n.settleAncestors()
		}
		if n.frozen() && !n.hidden() {
			p.snapshots++
		}
	}
	for _, n := range p.order {
		if !n.gone() || n.root.Flags != 0 || n.rec.Flags&NodeAsParent != 0 {
			p.settleRemoved(n)
		}
	}
	for _, n := range p.order {
		p.settleCount(n)
	}
	// A walk that had begun goes on first: there never are two.
	for i, n := range p.walks {
		if n.rec.Cursor > 0 {
			p.walks[0], p.walks[i] = n, p.walks[0]
		}
	}
}
