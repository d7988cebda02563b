package placement

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"unblend/log"
)

const (
	pageBits   = log.BlockSize * 8 // units that one bitmap page describes
	chunkUnits = 256               // units of a chunk: 1 MiB of blocks
	pageChunks = pageBits / chunkUnits
	chunkBytes = chunkUnits / 8
)

// run is a range of units.
type run struct{ start, n uint64 }

// space is the allocator of one kind of unit: blocks of the capacity device, or metadata pages. A
// set bit is a unit in use. What is freed stays in use until the checkpoint that forgets it is
// durable and every read that might still look at it has ended: until then it stands in freed.
type space struct {
	p     *Pool
	kind  pageKey // of its bitmap pages
	total uint64  // units
	refs  *shadow
	free  uint64 // units with a clear bit

	freed    []run  // set bits that the next checkpoint clears
	freedSum uint64 // units in freed

	at     uint64 // where the search for the next unit goes on
	chunk  uint64 // end of the chunk being filled; units of it are handed out one after another
	search uint64 // first bitmap page that may have a free chunk
}

func newSpace(p *Pool, kind pageKey, total uint64, freedMax int) *space {
	return &space{p: p, kind: kind, total: total, freed: make([]run, 0, freedMax)}
}

// bitmap returns the frame with the bitmap page of unit.
func (s *space) bitmap(unit uint64, w *waiter) (int32, error) {
	page := unit / pageBits
	return s.p.cache.need(key(s.kind, page), s.refs.at(0, int(page)).CRC, w)
}

// writable returns the frame with the bitmap page of unit, which is to be changed. errTight: no
// more pages may be changed before the next checkpoint.
func (s *space) writable(unit uint64, w *waiter) (int32, error) {
	f, err := s.bitmap(unit, w)
	if c := s.p.cache; err == nil && !c.frames[f].dirty && c.dirty >= s.p.dirtyLimit {
		return noFrame, errTight
	}
	return f, err
}

func (s *space) isSet(f int32, unit uint64) bool {
	return s.p.cache.page(f)[unit%pageBits/8]>>(unit%8)&1 == 1
}

// set changes one bit in frame f and counts it.
func (s *space) set(f int32, unit uint64, used bool) {
	b := s.p.cache.page(f)
	if s.isSet(f, unit) == used {
		panic(fmt.Sprintf("placement: %s: bit %d already is %v", key(s.kind, 0).describe(), unit, used))
	}
	b[unit%pageBits/8] ^= 1 << (unit % 8)
	page := int(unit / pageBits)
	ref := s.refs.at(0, page)
	chunk := unit % pageBits / chunkUnits * chunkBytes
	empty := isZero(b[chunk : chunk+chunkBytes])
	if used {
		s.free--
		ref.Free--
		if s.onlyBit(b[chunk:chunk+chunkBytes], unit) {
			ref.FreeChunks--
		}
	} else {
		s.free++
		ref.Free++
		if empty {
			ref.FreeChunks++
			s.search = min(s.search, unit/pageBits)
		}
	}
	s.refs.put(0, page, ref)
	s.p.cache.setDirty(f)
}

// onlyBit reports whether unit's is the only bit set in its chunk.
func (s *space) onlyBit(chunk []byte, unit uint64) bool {
	n := 0
	for i := 0; i < chunkBytes; i += 8 {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(chunk[i:]))
	}
	return n == 1
}

// alloc takes the next free unit: the rest of the chunk being filled, then the next free chunk,
// and when there is none any free unit.
func (s *space) alloc(w *waiter) (uint64, error) {
	for {
		if s.at < s.chunk {
			f, err := s.writable(s.at, w)
			if err != nil {
				return 0, err
			}
			unit, ok := s.nextFree(f, s.at, s.chunk)
			if ok {
				s.set(f, unit, true)
				s.at = unit + 1
				return unit, nil
			}
			s.at = s.chunk
			continue
		}
		chunk, err := s.freeChunk(w)
		if err == nil {
			s.at, s.chunk = chunk, min(chunk+chunkUnits, s.total)
			continue
		}
		if err != errFull {
			return 0, err
		}
		if err = s.findPartial(); err != nil {
			return 0, err
		}
	}
}

// nextFree returns the first free unit in [from, to), which lies within the page of frame f.
func (s *space) nextFree(f int32, from, to uint64) (uint64, bool) {
	b := s.p.cache.page(f)
	for u := from; u < to; {
		if u%64 == 0 {
			if word := binary.LittleEndian.Uint64(b[u%pageBits/8:]); word == ^uint64(0) {
				u += 64
				continue
			}
		}
		if !s.isSet(f, u) {
			return u, u < s.total
		}
		u++
	}
	return 0, false
}

// findPartial points the cursor at a bitmap page that has a free unit although no chunk is free.
func (s *space) findPartial() error {
	n := s.refs.count(0)
	for i := range n {
		page := (int(s.at/pageBits) + i) % n
		if s.refs.at(0, page).Free > 0 {
			s.at = uint64(page) * pageBits
			s.chunk = min(s.at+pageBits, s.total)
			return nil
		}
	}
	return errFull
}

// freeChunk returns the start of a chunk of which nothing is in use. It is not taken: the caller
// takes units of it before it asks for another.
func (s *space) freeChunk(w *waiter) (uint64, error) {
	for ; s.search < uint64(s.refs.count(0)); s.search++ {
		if s.refs.at(0, int(s.search)).FreeChunks == 0 {
			continue
		}
		f, err := s.bitmap(s.search*pageBits, w)
		if err != nil {
			return 0, err
		}
		b := s.p.cache.page(f)
		for c := range uint64(pageChunks) {
			if isZero(b[c*chunkBytes : (c+1)*chunkBytes]) {
				return s.search*pageBits + c*chunkUnits, nil
			}
		}
		return 0, s.damaged("the count of free chunks")
	}
	return 0, errFull
}

// allocAt takes a certain unit, if it is free.
func (s *space) allocAt(unit uint64, w *waiter) (bool, error) {
	if unit >= s.total {
		return false, nil
	}
	f, err := s.writable(unit, w)
	if err != nil {
		return false, err
	}
	if s.isSet(f, unit) {
		return false, nil
	}
	s.set(f, unit, true)
	return true, nil
}

// damaged returns an error that says what of the bitmap, or of what should agree with it, is wrong.
func (s *space) damaged(what string) error {
	return fmt.Errorf("%s, or what leads to it: %s: %w", key(s.kind, 0).describe(), what, ErrDamaged)
}

// prepareFree makes sure that release of unit cannot fail: its bitmap page is in memory and stays
// there, and there is room to remember it. errTight: a checkpoint must come first.
func (s *space) prepareFree(unit uint64, w *waiter) error {
	if unit >= s.total {
		return s.damaged(fmt.Sprintf("unit %d of %d is freed", unit, s.total))
	}
	f, err := s.writable(unit, w)
	if err != nil {
		return err
	}
	if len(s.freed) == cap(s.freed) {
		return errTight
	}
	if !s.isSet(f, unit) {
		return s.damaged(fmt.Sprintf("unit %d is freed, but was free", unit))
	}
	s.p.cache.setDirty(f)
	return nil
}

// release frees unit with the next checkpoint; prepareFree has succeeded for it.
func (s *space) release(unit uint64) {
	if planted("reuse-before-checkpoint") {
		s.unalloc(unit)
		s.at, s.chunk = unit, unit+1 // by the next who asks
		return
	}
	s.freedSum++
	if n := len(s.freed); n > 0 {
		switch last := &s.freed[n-1]; {
		case last.start+last.n == unit && unit%pageBits != 0:
			last.n++
			return
		case last.start == unit+1 && last.start%pageBits != 0:
			last.start--
			last.n++
			return
		}
	}
	s.freed = append(s.freed, run{unit, 1})
}

// unalloc gives back at once a unit that was allocated since the last checkpoint, so that no
// durable pointer leads to it. Its bitmap page is dirty and so in memory.
func (s *space) unalloc(unit uint64) {
	f := s.p.cache.lookup(key(s.kind, unit/pageBits))
	s.set(f, unit, false)
}

// clearFreed clears the bits of all that was freed: part of the cut of a checkpoint. The units may
// be handed out again when the checkpoint has ended; it allocates nothing itself.
func (s *space) clearFreed() {
	for _, r := range s.freed {
		f := s.p.cache.lookup(key(s.kind, r.start/pageBits))
		for u := r.start; u < r.start+r.n; u++ {
			s.set(f, u, false)
		}
	}
	s.freed, s.freedSum = s.freed[:0], 0
}

// available returns how many units are free now or will be after the next checkpoint.
func (s *space) available() uint64 { return s.free + s.freedSum }
