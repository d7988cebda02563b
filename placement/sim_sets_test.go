package placement

// simChunk is how many sectors simSets allocates at a time: 1 MiB.
const simChunk = 2048

// simSets holds the candidates of every sector of a volume. Most sectors have one; most of a
// volume was never touched and has only the unwritten state.
type simSets struct {
	chunks []*simChunkSets
}

type simChunkSets struct {
	one  [simChunk]*simOp
	many [simChunk][]*simOp // where there are several; one is not looked at there
}

func newSets(size int64) *simSets {
	return &simSets{chunks: make([]*simChunkSets, (size/SectorSize+simChunk-1)/simChunk)}
}

// append appends the candidates of a sector.
func (x *simSets) append(list []*simOp, s uint32) []*simOp {
	c := x.chunks[s/simChunk]
	if c == nil {
		return append(list, nil)
	}
	if m := c.many[s%simChunk]; len(m) > 0 {
		return append(list, m...)
	}
	return append(list, c.one[s%simChunk])
}

// touched reports whether a chunk ever had anything but the unwritten state.
func (x *simSets) touched(chunk int) bool { return x.chunks[chunk] != nil }

func (x *simSets) chunk(s uint32) *simChunkSets {
	c := x.chunks[s/simChunk]
	if c == nil {
		c = new(simChunkSets)
		x.chunks[s/simChunk] = c
	}
	return c
}

// add makes op a candidate of its sectors.
func (x *simSets) add(op *simOp) {
	for s := op.first; s < op.first+op.n; s++ {
		c, i := x.chunk(s), s%simChunk
		if len(c.many[i]) == 0 {
			c.many[i] = append(c.many[i], c.one[i])
		}
		c.many[i] = append(c.many[i], op)
	}
}

// settle excludes what came before op.
func (x *simSets) settle(op *simOp) {
	for s := op.first; s < op.first+op.n; s++ {
		x.chunk(s).keep(s, func(c *simOp) bool { return !c.before(op) })
	}
}

// remove excludes op, which did not happen.
func (x *simSets) remove(op *simOp) {
	for s := op.first; s < op.first+op.n; s++ {
		x.chunk(s).keep(s, func(c *simOp) bool { return c != op })
	}
}

// keep excludes the candidates that f does not want. Whoever read the set before has a copy.
func (c *simChunkSets) keep(s uint32, f func(*simOp) bool) {
	set := c.many[s%simChunk]
	if len(set) == 0 {
		return
	}
	n := 0
	for _, op := range set {
		if f(op) {
			set[n] = op
			n++
		}
	}
	switch n {
	case 0:
		panic("oracle: a sector has no candidate")
	case 1:
		c.one[s%simChunk] = set[0]
		n = 0
	}
	clear(set[n:])
	c.many[s%simChunk] = set[:n]
}

// collapse excludes what had ended by a time and is not what a read that began then returned,
// unless that has been replaced meanwhile.
func (x *simSets) collapse(s uint32, b []byte, submit uint64) {
	c := x.chunks[s/simChunk]
	if c == nil {
		return
	}
	stays := func(op *simOp) bool {
		return op != nil && (op.end == 0 || op.end >= submit) || op.holds(b, s)
	}
	for _, op := range c.many[s%simChunk] {
		if stays(op) {
			c.keep(s, stays)
			return
		}
	}
}

// collapseOld excludes, if a read returned what was there when the process began to serve, the
// other contents that the crash before may have left.
func (x *simSets) collapseOld(s uint32, b []byte, born uint64) {
	c := x.chunks[s/simChunk]
	if c == nil {
		return
	}
	old := func(op *simOp) bool { return op == nil || op.end != 0 && op.end < born }
	fits := false
	for _, op := range c.many[s%simChunk] {
		if op.holds(b, s) {
			if !old(op) {
				return
			}
			fits = true
		}
	}
	if fits {
		c.keep(s, func(op *simOp) bool { return !old(op) || op.holds(b, s) })
	}
}

func (x *simSets) clone() *simSets {
	y := &simSets{chunks: make([]*simChunkSets, len(x.chunks))}
	for i, c := range x.chunks {
		if c == nil {
			continue
		}
		d := &simChunkSets{one: c.one}
		for s, set := range c.many {
			if len(set) > 0 {
				d.many[s] = append([]*simOp(nil), set...)
			}
		}
		y.chunks[i] = d
	}
	return y
}
