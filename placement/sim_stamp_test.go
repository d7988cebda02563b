package placement

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// What the simulated guests write. Every sector says whose it is, so that a wrong one can be
// named, and differs in every word from every other sector ever written.

// simMagic begins each stamped sector.
const simMagic = 0x71c9a3e65b0f24d7

// simFill says what a guest's write holds.
type simFill uint8

const (
	fillStamp simFill = iota // every sector stamped
	fillZero                 // nothing but zeros
	fillMixed                // some blocks zero, some sectors zero, the rest stamped
	fillRaw                  // bytes that the guest copied from elsewhere
)

// simMix scatters the bits of x.
func simMix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// simStamp fills a sector with the stamp of a volume's incarnation, address and write.
func simStamp(b []byte, uid, sector, id uint32) {
	le := binary.LittleEndian
	le.PutUint64(b, simMagic)
	le.PutUint32(b[8:], uid)
	le.PutUint32(b[12:], sector)
	le.PutUint64(b[16:], uint64(id))
	x := simMix(uint64(uid)<<48 ^ uint64(sector)<<24 ^ uint64(id))
	for i := 24; i < SectorSize; i += 8 {
		le.PutUint64(b[i:], x)
		x = x*0x9e3779b97f4a7c15 + 1
	}
}

// simDescribe says what a sector holds, for messages.
func simDescribe(b []byte) string {
	le := binary.LittleEndian
	if bytes.Equal(b, zeroBlock[:len(b)]) {
		return "zeros"
	}
	if le.Uint64(b) != simMagic {
		return fmt.Sprintf("bytes that no guest wrote (%x...)", b[:16])
	}
	uid, sector, id := le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])
	var whole [SectorSize]byte
	simStamp(whole[:], uid, sector, id)
	torn := ""
	if !bytes.Equal(whole[:], b) {
		torn = ", garbled"
	}
	return fmt.Sprintf("write %d to sector %d of incarnation %d%s", id, sector, uid, torn)
}

// render writes what op puts into one of its sectors to b.
func (op *simOp) render(b []byte, sector uint32) {
	switch {
	case op.kind != Write || op.fill == fillZero:
		clear(b)
	case op.fill == fillRaw:
		copy(b, op.raw[(sector-op.first)*SectorSize:])
	case op.fill == fillMixed && op.zeroAt(sector):
		clear(b)
	default:
		simStamp(b, op.vol.uid, sector, op.stamp)
	}
}

// zeroAt reports whether a mixed write has zeros in a sector: in all of a block, or here and there.
func (op *simOp) zeroAt(sector uint32) bool {
	return simMix(uint64(op.stamp)<<32|uint64(sector/8))%3 == 0 ||
		simMix(uint64(op.stamp)<<32|1<<31|uint64(sector))%5 == 0
}

// holds reports whether b is what op, or for nil an unwritten sector, has at a sector.
func (op *simOp) holds(b []byte, sector uint32) bool {
	if op == nil || op.kind != Write || op.fill == fillZero ||
		op.fill == fillMixed && op.zeroAt(sector) {
		return bytes.Equal(b, zeroBlock[:SectorSize])
	}
	if op.fill == fillStamp && binary.LittleEndian.Uint32(b[16:]) != op.stamp {
		return false
	}
	var want [SectorSize]byte
	op.render(want[:], sector)
	return bytes.Equal(b, want[:])
}
