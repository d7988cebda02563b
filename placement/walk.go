package placement

// walking reports whether deleted nodes still hold blocks or pages.
func (b *backend) walking() bool { return b.p.walkable() != nil }

// walkable returns the first deleted node that still has a map.
func (p *Pool) walkable() *node {
	for _, n := range p.order {
		if n.gone() && n.root.Flags != 0 {
			return n
		}
	}
	return nil
}

// beginWalk begins to free what a deleted node had.
func (b *backend) beginWalk() bool {
	if b.p.gone == 0 || b.p.walkable() == nil {
		return false
	}
	b.phase, b.changed = walkNode, true
	return true
}

// walk frees one leaf of a deleted node. What has been freed is gone from its map, so the work
// goes on where it was after a restart.
func (b *backend) walk() bool {
	b.phase = backIdle
	n := b.p.walkable()
	if n == nil {
		return true
	}
	_, err := b.p.punch(n, 0, n.blocks(), &b.waiter)
	return b.goOn(err)
}
