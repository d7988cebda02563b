package simdisk

import (
	"bytes"
	"fmt"

	"unblend/log"
)

// The store holds a disk's content sparsely, per block of 4 KiB: the durable content and the
// versions written since. What was never written costs nothing, a block that repeats its first 64
// bytes costs these (tests write such patterns by the gigabyte), so does one that is zero but for 64
// bytes (a page of a map with little in it), any other costs its 4 KiB.

// content is the bytes of a block: empty for zeros, patternSize bytes that repeat, spotSize for the
// bytes that are not zero, or all of them.
type content []byte

const (
	patternSize = 64
	spotSize    = patternSize + 1 // the last byte says where: the block's how manieth 64 bytes
)

// version is a write to a block that a power cut may or may not keep.
type version struct {
	c    content
	r    *request // the write, while it is in flight
	done uint64   // completion number; 0 while in flight
}

// block is what the medium and the cache hold of one block. vers has the completed versions in
// the order of completion, then those in flight in the order of submission.
type block struct {
	base content // durable
	vers []version
	bad  bool // unreadable until rewritten
}

// chunkBlocks is how many blocks one entry of the map holds: few enough that a lone block costs
// less than 1 KiB beside its content.
const chunkBlocks = 16

type chunk struct {
	first  int64 // number of blocks[0]
	blocks [chunkBlocks]block
}

// cached names a completed version that is not durable.
type cached struct {
	b    *block
	n    int64 // the block's number
	done uint64
}

type store struct {
	sector int // bytes
	chunks map[int64]*chunk
	last   *chunk    // the one looked up last
	free   []content // pages of a block's size for reuse
	queue  []cached  // volatile versions in the order of completion, from head on
	head   int

	unflushable []cached // versions whose flush failed: no later one makes them durable
}

func (s *store) init(sector int) {
	s.sector = sector
	s.chunks = make(map[int64]*chunk)
}

// find returns block number n, or nil if it was never written.
func (s *store) find(n int64) *block {
	first := n &^ (chunkBlocks - 1)
	if s.last == nil || s.last.first != first {
		c := s.chunks[first]
		if c == nil {
			return nil
		}
		s.last = c
	}
	return &s.last.blocks[n-first]
}

// make returns block number n, which exists from then on.
func (s *store) make(n int64) *block {
	if b := s.find(n); b != nil {
		return b
	}
	c := &chunk{first: n &^ (chunkBlocks - 1)}
	s.chunks[c.first] = c
	s.last = c
	return &c.blocks[n-c.first]
}

// pack returns p (one block) as stored content.
func (s *store) pack(p []byte) content {
	if bytes.Equal(p[patternSize:], p[:log.BlockSize-patternSize]) {
		if bytes.Equal(p[:patternSize], zeros[:patternSize]) {
			return nil
		}
		return append(make(content, 0, patternSize), p[:patternSize]...)
	}
	if at, ok := spot(p); ok {
		c := append(make(content, 0, spotSize), p[at*patternSize:(at+1)*patternSize]...)
		return append(c, byte(at))
	}
	c := s.page()
	copy(c, p)
	return c
}

// spot returns which 64 bytes of a block are not zero, if those are the only ones.
func spot(p []byte) (at int, ok bool) {
	for at*patternSize < len(p) && bytes.Equal(p[at*patternSize:(at+1)*patternSize], zeros[:patternSize]) {
		at++
	}
	rest := p[min((at+1)*patternSize, len(p)):]
	return at, bytes.Equal(rest, zeros[:len(rest)])
}

// page returns a whole block of content, with anything in it.
func (s *store) page() content {
	if n := len(s.free); n > 0 {
		c := s.free[n-1]
		s.free = s.free[:n-1]
		return c
	}
	return make(content, log.BlockSize)
}

// release takes back content that nothing refers to any more.
func (s *store) release(c content) {
	if len(c) == log.BlockSize {
		s.free = append(s.free, c)
	}
}

// read copies the bytes [from, from+len(p)) of the content to p.
func (c content) read(p []byte, from int) {
	switch len(c) {
	case 0:
		clear(p)
	case patternSize:
		n := copy(p, c[from%patternSize:])
		for n < len(p) {
			n += copy(p[n:], c)
		}
	case spotSize:
		clear(p)
		at := int(c[patternSize])*patternSize - from // in p
		if at < 0 {
			copy(p, c[min(-at, patternSize):patternSize])
		} else if at < len(p) {
			copy(p[at:], c[:patternSize])
		}
	default:
		copy(p, c[from:])
	}
}

// equal tells whether the content is that of p, a whole block.
func (c content) equal(p []byte) bool {
	switch len(c) {
	case 0:
		return bytes.Equal(p, zeros[:])
	case patternSize:
		return bytes.Equal(p[:patternSize], c) &&
			bytes.Equal(p[patternSize:], p[:log.BlockSize-patternSize])
	case spotSize:
		at, ok := spot(p)
		return ok && at == int(c[patternSize]) &&
			bytes.Equal(p[at*patternSize:(at+1)*patternSize], c[:patternSize])
	}
	return bytes.Equal(p, c)
}

var zeros [log.BlockSize]byte

// current returns what a read of the block gets when no write to it is in flight.
func (b *block) current() content {
	for i := len(b.vers) - 1; i >= 0; i-- {
		if b.vers[i].done != 0 {
			return b.vers[i].c
		}
	}
	return b.base
}

// flip inverts one bit of block n as a read gets it.
func (s *store) flip(n int64, bit int) {
	b := s.make(n)
	at := &b.base
	for i := range b.vers {
		if b.vers[i].done != 0 {
			at = &b.vers[i].c
		}
	}
	c := s.page()
	at.read(c, 0)
	c[bit/8] ^= 1 << (bit % 8)
	s.release(*at)
	*at = c
}

// durable makes the newest version completed by mark durable and forgets the older ones.
func (s *store) durable(b *block, mark uint64) {
	keep := -1
	for i := range b.vers {
		if v := &b.vers[i]; v.done != 0 && v.done <= mark {
			keep = i
		}
	}
	if keep < 0 {
		return
	}
	s.release(b.base)
	b.base = b.vers[keep].c
	for i := range keep {
		s.release(b.vers[i].c)
	}
	b.vers = append(b.vers[:0], b.vers[keep+1:]...)
}

// land moves the version that r has in flight behind the completed ones and stamps it.
func (b *block) land(r *request, done uint64) {
	i := b.indexOf(r)
	v := b.vers[i]
	for ; i > 0 && b.vers[i-1].done == 0; i-- {
		b.vers[i] = b.vers[i-1]
	}
	v.done, v.r = done, nil
	b.vers[i] = v
}

// drop forgets the version that r has in flight, if it is still there.
func (s *store) drop(b *block, r *request) {
	for i := range b.vers {
		if b.vers[i].r == r {
			s.release(b.vers[i].c)
			b.vers = append(b.vers[:i], b.vers[i+1:]...)
			return
		}
	}
}

func (b *block) indexOf(r *request) int {
	for i := range b.vers {
		if b.vers[i].r == r {
			return i
		}
	}
	panic(fmt.Sprintf("simdisk: no version in flight of the write at %d", r.off))
}

// enqueue remembers a completed version as volatile.
func (s *store) enqueue(b *block, n int64, done uint64) {
	if s.head > 1024 && s.head > len(s.queue)/2 {
		s.queue = append(s.queue[:0], s.queue[s.head:]...)
		s.head = 0
	}
	s.queue = append(s.queue, cached{b, n, done})
}

// mix replaces the block's durable content by the sectors of the versions that pick names, 0
// being the durable one, and forgets the versions.
func (s *store) mix(b *block, pick []int) {
	same := true
	for _, p := range pick {
		same = same && p == pick[0]
	}
	at := func(p int) *content {
		if p == 0 {
			return &b.base
		}
		return &b.vers[p-1].c
	}
	var c content
	if same {
		// Taken over, not copied: its place is emptied so that it is not released below.
		place := at(pick[0])
		c, *place = *place, nil
	} else {
		c = s.page()
		for i, p := range pick {
			at(p).read(c[i*s.sector:(i+1)*s.sector], i*s.sector)
		}
	}
	s.release(b.base)
	for i := range b.vers {
		s.release(b.vers[i].c)
	}
	b.base, b.vers = c, b.vers[:0]
}
