package placement

import "unblend/log"

// refsPerPage is how many references a reference page holds.
const refsPerPage = log.BlockSize / refSize

// shadow is an array of pages at fixed places, two for each page: a changed page is written to the
// place that the durable root does not use. Level 0 are the bitmap pages; the references to the
// pages of one level (place, checksum, free counts) fill the pages of the next, until so few are
// left that the root holds them. The references stay in memory: 8 bytes for 128 MiB of capacity.
//
// The area has room for more pages than there are, and the levels are those that it takes to
// describe it all; so the array grows without moving.
//
//	  root            up to maxTopRefs references
//	   |
//	level 2 page      512 references          on the device: place 0, place 1 of page 0,
//	   |                                      place 0, place 1 of page 1, ... of level 0,
//	level 1 page      512 references          then those of level 1, and so on
//	   |
//	level 0 page      bitmap of 32,768 units
type shadow struct {
	base   uint64   // first block of the area, from the start of the home
	room   []int    // pages of each level that the area has room for
	counts []int    // pages of each level that there are
	refs   [][]byte // refs[l]: the references to level l, encoded: the content of level l+1
	dirty  [][]bool // dirty[l]: page of level l+1 (content refs[l]) changed since the last checkpoint
}

// newShadow lays out an area with room for room bitmap pages, of which there are pages.
func newShadow(base uint64, pages, room int) *shadow {
	s := &shadow{base: base, room: []int{room}}
	for n := room; n > maxTopRefs; {
		n = refPages(n)
		s.room = append(s.room, n)
	}
	s.counts = make([]int, len(s.room))
	s.refs, s.dirty = make([][]byte, len(s.room)), make([][]bool, len(s.room))
	s.grow(pages)
	return s
}

// refPages returns how many pages the references to n pages fill.
func refPages(n int) int { return (n + refsPerPage - 1) / refsPerPage }

// grow makes the array hold more pages. The references to new ones are zero: all that such a page
// describes is in use.
func (s *shadow) grow(pages int) {
	for l := range s.counts {
		if s.counts[l] = pages; pages > s.room[l] {
			panic("placement: a bitmap outgrows its area")
		}
		up := refPages(pages)
		if more := up - len(s.dirty[l]); more > 0 {
			refs := alignedBytes(up * log.BlockSize)
			copy(refs, s.refs[l])
			s.refs[l], s.dirty[l] = refs, append(s.dirty[l], make([]bool, more)...)
		}
		pages = up
	}
}

// blocks returns the size of the area.
func (s *shadow) blocks() uint64 {
	var n uint64
	for _, c := range s.room {
		n += 2 * uint64(c)
	}
	return n
}

func (s *shadow) levels() int         { return len(s.counts) }
func (s *shadow) count(level int) int { return s.counts[level] }

// at returns the reference to page i of level.
func (s *shadow) at(level, i int) ShadowRef {
	return refAt(s.refs[level][i*refSize:])
}

func (s *shadow) put(level, i int, r ShadowRef) {
	putRef(s.refs[level][i*refSize:], r)
	s.dirty[level][i/refsPerPage] = true
}

// content returns page i of level l >= 1: the references to level l-1.
func (s *shadow) content(level, i int) []byte {
	return s.refs[level-1][i*log.BlockSize : (i+1)*log.BlockSize]
}

// block returns where one place of page i of level lies, in blocks from the start of the home.
func (s *shadow) block(level, i int, place uint8) uint64 {
	at := s.base
	for _, c := range s.room[:level] {
		at += 2 * uint64(c)
	}
	return at + 2*uint64(i) + uint64(place)
}

// turn moves page i of level to its other place and notes the checksum of what will be written
// there.
func (s *shadow) turn(level, i int, crc uint32) {
	r := s.at(level, i)
	r.Place, r.CRC = r.Place^1, crc
	s.put(level, i, r)
}

// top returns the references that the root holds.
func (s *shadow) top() []ShadowRef {
	l := s.levels() - 1
	t := make([]ShadowRef, s.counts[l])
	for i := range t {
		t[i] = s.at(l, i)
	}
	return t
}

// load fills the references from the root's, reading the reference pages from top to bottom.
func (s *shadow) load(top []ShadowRef, read func(block uint64, crc uint32, p []byte) error) error {
	l := s.levels() - 1
	for i, r := range top {
		s.put(l, i, r)
	}
	for ; l > 0; l-- {
		for i := range s.counts[l] {
			r := s.at(l, i)
			if err := read(s.block(l, i, r.Place), r.CRC, s.content(l, i)); err != nil {
				return err
			}
		}
	}
	for _, d := range s.dirty {
		clear(d)
	}
	return nil
}
