package placement

// The pool is the sink of the log: it is told, in each lane's order, what has become durable, by
// the lanes and by recovery alike.

// Wrote puts durable blocks into the dirty index.
func (p *Pool) Wrote(seq uint64, _ int, node uint32, block uint64, loc uint32, crcs []uint32) {
	n := p.nodes[node]
	if n == nil || n.gone() {
		return
	}
	for i, crc := range crcs {
		p.putDirty(n, block+uint64(i), crc, loc+uint32(i), 0)
	}
}

// Zeroed makes durable zeros of a range: long ones are an extent, short ones entries.
func (p *Pool) Zeroed(seq uint64, _ int, node uint32, block, count uint64, loc uint32) {
	n := p.nodes[node]
	if n == nil || n.gone() {
		return
	}
	if count < extentMin {
		for b := block; b < block+count; b++ {
			p.putDirty(n, b, 0, loc, dirtyZero)
		}
		return
	}
	removed, data := p.index.removeRange(node, block, block+count, n.dirty)
	p.stats.AbsorbedBlocks += uint64(data)
	p.dirtyData -= uint64(data)
	p.addDirty(n, -int64(removed))
	p.zeros.add(node, block, block+count, seq)
}

// Lost records that an acknowledged block in the log is unreadable.
func (p *Pool) Lost(seq uint64, _ int, node uint32, block, count uint64, loc uint32) {
	n := p.nodes[node]
	if n == nil || n.gone() {
		return
	}
	for b := block; b < block+count; b++ {
		p.putDirty(n, b, 0, loc, dirtyLost)
	}
	p.stats.LostBlocks += count
}

func (p *Pool) putDirty(n *node, block uint64, crc, loc uint32, flags uint8) {
	old, replaced := p.index.put(n.rec.ID, block, crc, loc, flags)
	if !replaced {
		p.addDirty(n, 1)
	} else if old.flags == 0 {
		p.stats.AbsorbedBlocks++
		p.dirtyData--
	}
	if flags == 0 {
		p.dirtyData++
	}
}

// dropDirty removes the entry of a block if it still is the version at loc.
func (p *Pool) dropDirty(n *node, block uint64, loc uint32, data bool) bool {
	if !p.index.removeIf(n.rec.ID, block, loc) {
		return false
	}
	if data {
		p.dirtyData--
	}
	p.addDirty(n, -1)
	return true
}

// addDirty changes the number of n's dirty blocks and with it the pages that are promised.
func (p *Pool) addDirty(n *node, delta int64) {
	p.pageNeed -= n.pagesNeeded(n.dirty + n.entering)
	n.dirty = uint64(int64(n.dirty) + delta)
	p.pageNeed += n.pagesNeeded(n.dirty + n.entering)
}

func (n *node) gone() bool { return n.rec.Flags&NodeGone != 0 }
