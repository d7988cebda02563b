package placement

// leafShape says how those blocks of a leaf that are its node's own lie on the capacity device.
type leafShape struct {
	own   int    // blocks
	runs  int    // ranges of them whose addresses follow each other
	least int    // ranges that they would make at their natural places in one chunk
	chunk uint64 // in which most of those at natural places lie
}

// scattered reports whether the leaf would be read in fewer pieces if it lay in a chunk of its own.
func (s *leafShape) scattered() bool { return s.own >= homeMin && s.runs > s.least }

// shapeOf looks at the leaf of n in frame f. Of the chunks in which blocks lie at their natural
// places it finds the one that most of them are in, if that has more than half; else one of them.
func (p *Pool) shapeOf(n *node, f int32, leaf uint64) (s leafShape) {
	page := p.cache.page(f)
	votes, before := 0, Entry{}
	for i := range fanout {
		e := entryAt(page, i)
		if !p.mayMove(n, e, leaf*leafBlocks+uint64(i)) {
			before = Entry{}
			continue
		}
		s.own++
		if before.Flags == 0 {
			s.least++
		}
		if before.Flags == 0 || e.Addr != before.Addr+1 {
			s.runs++
		}
		before = e
		if e.Addr%chunkUnits != uint64(i) {
			continue
		}
		switch chunk := e.Addr - uint64(i); {
		case votes == 0:
			s.chunk, votes = chunk, 1
		case chunk == s.chunk:
			votes++
		default:
			votes--
		}
	}
	return s
}

// atHome counts the blocks of a leaf that lie at their natural places in a chunk.
func (p *Pool) atHome(n *node, f int32, leaf, chunk uint64) (count int) {
	page := p.cache.page(f)
	for i := range fanout {
		e := entryAt(page, i)
		if e.Addr == chunk+uint64(i) && p.mayMove(n, e, leaf*leafBlocks+uint64(i)) {
			count++
		}
	}
	return count
}

// mayMove reports whether an entry's block is n's own, so that n may give it another place. What
// others share never moves.
func (p *Pool) mayMove(n *node, e Entry, block uint64) bool {
	return e.Flags&FlagMapped != 0 && (n.owns(e, block+1) || planted("shared-block-moved"))
}
