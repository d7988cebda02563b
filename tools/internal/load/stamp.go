package load

import (
	"encoding/binary"
	"fmt"
)

// SectorSize is the unit that is stamped, in bytes.
const SectorSize = 512

const (
	stampMagic = 0x706d617473636573 // "secstamp"
	golden     = 0x9e3779b97f4a7c15
)

// Stamp says what a sector holds: the write with this number, of this disk, at this sector.
type Stamp struct {
	Disk   uint32
	Write  uint32 // from 1; 0: the sector was never written and holds zeros
	Sector uint64
}

func (s Stamp) String() string {
	if s == (Stamp{}) {
		return "zeros"
	}
	return fmt.Sprintf("write %d to sector %d of disk %d", s.Write, s.Sector, s.Disk)
}

// Fill writes the sector to p.
//
//	0        8      12      16       24
//	+--------+------+-------+--------+--------------+
//	| magic  | disk | write | sector | 488 bytes    |
//	+--------+------+-------+--------+--------------+
func (s Stamp) Fill(p []byte) {
	if s.Write == 0 {
		clear(p[:SectorSize])
		return
	}
	le := binary.LittleEndian
	le.PutUint64(p, stampMagic)
	le.PutUint32(p[8:], s.Disk)
	le.PutUint32(p[12:], s.Write)
	le.PutUint64(p[16:], s.Sector)
	x := s.seed()
	for i := 24; i < SectorSize; i += 8 {
		x = next(x)
		le.PutUint64(p[i:], x)
	}
}

// Holds reports whether p is the sector, all of it.
func (s Stamp) Holds(p []byte) bool {
	le := binary.LittleEndian
	if s.Write == 0 {
		for i := 0; i < SectorSize; i += 8 {
			if le.Uint64(p[i:]) != 0 {
				return false
			}
		}
		return true
	}
	if got, ok := ReadStamp(p); !ok || got != s {
		return false
	}
	x := s.seed()
	for i := 24; i < SectorSize; i += 8 {
		x = next(x)
		if le.Uint64(p[i:]) != x {
			return false
		}
	}
	return true
}

// ReadStamp returns the stamp of a sector and whether it has one. What follows the stamp is not
// looked at.
func ReadStamp(p []byte) (Stamp, bool) {
	le := binary.LittleEndian
	if le.Uint64(p) != stampMagic {
		return Stamp{}, false
	}
	return Stamp{le.Uint32(p[8:]), le.Uint32(p[12:]), le.Uint64(p[16:])}, true
}

// Describe tells what a sector holds that is not what was wanted.
func Describe(p []byte) string {
	if (Stamp{}).Holds(p) {
		return "zeros"
	}
	s, ok := ReadStamp(p)
	switch {
	case !ok:
		return fmt.Sprintf("foreign bytes, % x first", p[:8])
	case s.Holds(p):
		return s.String()
	}
	return "a damaged " + s.String()
}

func (s Stamp) seed() uint64 {
	return (s.Sector*golden ^ uint64(s.Disk)<<32 ^ uint64(s.Write)) | 1
}

// next is Marsaglia's xorshift: fast, and never 0 after a seed that is not.
func next(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}
