package placement

import (
	"bytes"
	"errors"
	"fmt"

	"unblend/log"
)

// diffPairs is how many pairs are compared each time.
const diffPairs = 12

// compareAll compares pairs of what there is, and holds the outcome against the oracle. Only who has
// an ancestor in common can be compared.
func (s *sim) compareAll() error {
	n := 0
	for _, to := range s.slots {
		for _, from := range s.slots {
			if n == diffPairs {
				return nil
			}
			if from == to || from.o == nil || to.o == nil || from.vol == nil || to.vol == nil {
				continue
			}
			err := s.compare(from, to)
			switch {
			case errors.Is(err, ErrUnrelated):
				continue
			case errors.Is(err, ErrDamaged) && s.readFault:
				return nil
			case err != nil:
				return fmt.Errorf("diff %s %s: %w", from.name, to.name, err)
			}
			s.cover.diffs++
			n++
		}
	}
	return nil
}

// compare gets all pages of one comparison.
func (s *sim) compare(from, to *simSlot) error {
	d := &Diff{From: from.name, To: to.name, Extents: make([]DiffExtent, 0, 1+s.at%50)}
	at := int64(0) // up to where the oracle has been asked
	for {
		s.p.Diff(d)
		for !s.diffTurn() {
		}
		if d.Err != nil {
			return d.Err
		}
		for _, e := range d.Extents {
			if err := s.unchanged(from, to, at, e.Off); err != nil {
				return err
			}
			if at = e.Off + e.Len; e.Zero {
				if err := s.zeroes(to, e); err != nil {
					return err
				}
			}
		}
		if d.Next == d.Size {
			return s.unchanged(from, to, at, d.Size)
		}
		d.Off = d.Next
	}
}

// diffTurn runs the pool once, and reports whether that ended the page that is under way.
func (s *sim) diffTurn() bool {
	s.p.Tick(s.w.Now() + 1)
	more := s.p.Run()
	pumped := s.drv.Pump()
	if s.p.NextDiff() != nil {
		return true
	}
	if !more && pumped == 0 && !s.w.Step() {
		s.w.Advance(s.p.Deadline())
	}
	return false
}

// unchanged checks that what a comparison left out is the same in both, as far as the oracle knows.
func (s *sim) unchanged(from, to *simSlot, at, end int64) error {
	var was, is [SectorSize]byte
	for ; at < end; at += SectorSize {
		sector := uint32(at / SectorSize)
		if !from.o.touched(sector) && !to.o.touched(sector) {
			at = min(int64(sector/simChunk+1)*simChunk*SectorSize, end) - SectorSize
			continue
		}
		if from.o.known(sector, was[:]) && to.o.known(sector, is[:]) && was != is {
			return fmt.Errorf("sector %d has changed from %s to %s", sector, simDescribe(was[:]),
				simDescribe(is[:]))
		}
	}
	return nil
}

// zeroes checks that a range has nothing but zeros.
func (s *sim) zeroes(slot *simSlot, e DiffExtent) error {
	var b [SectorSize]byte
	for at := e.Off; at < e.Off+e.Len; at += SectorSize {
		sector := uint32(at / SectorSize)
		if !slot.o.touched(sector) {
			at = int64(sector/simChunk+1)*simChunk*SectorSize - SectorSize
			continue
		}
		if slot.o.known(sector, b[:]) && !bytes.Equal(b[:], zeroBlock[:SectorSize]) {
			return fmt.Errorf("sector %d is said to be zeros, and has %s", sector, simDescribe(b[:]))
		}
	}
	return nil
}

// touched reports whether anybody has ever written near a sector.
func (v *simVolume) touched(sector uint32) bool {
	return sector < v.sectors && v.seen.touched(int(sector/simChunk))
}

// known fills b with the content of a sector, and reports whether there is no doubt about it.
func (v *simVolume) known(sector uint32, b []byte) bool {
	clear(b)
	if sector >= v.sectors {
		return true
	}
	if _, bad := v.lost[sector/(log.BlockSize/SectorSize)]; bad {
		return false
	}
	c := v.seen.append(nil, sector)
	if len(c) == 1 && c[0] != nil {
		c[0].render(b, sector)
	}
	return len(c) == 1
}
