package placement

import (
	"encoding/binary"
	"hash/crc32"

	"unblend/log"
)

// The label and the root each fill one block, and share its frame:
//
//	0        8        12       16              32
//	+--------+--------+--------+---------------+-----------------+-----+------------+------+
//	| magic  | version| dev    | pool UUID     | block number of | ... | zeros      | crc  |
//	| 8 bytes| u32    | u8, 0s | 16 bytes      | this copy  u64  |     |            | u32  |
//	+--------+--------+--------+---------------+-----------------+-----+------------+------+
//	                                                             40               4092
//
// The version decides how everything behind it is read, the checksum included, so it is checked
// first. A higher one is a newer program's. A lower one (there is none yet) is damage, and so is
// one with which all the rest is a sealed block of the version that this program writes. dev and
// the block number say where this copy belongs: a block that a device wrote to or read from the
// wrong place is not taken for another copy. crc is the CRC-32C of bytes 0 to 4091.
const blockCRC = log.BlockSize - 4

// UUID identifies a pool or a device.
type UUID [16]byte

// place is where a structure is, or is to be, on the devices.
type place struct {
	dev log.Dev
	off int64 // bytes
}

func (p place) corrupt(what string, want, got uint64) error {
	return &CorruptError{Dev: p.dev, Off: p.off, What: what, Want: want, Got: got}
}

// sealBlock fills in the frame of b, whose other bytes are final.
func sealBlock(b []byte, magic string, version uint32, pool UUID, at place) {
	copy(b[0:8], magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], uint32(at.dev))
	copy(b[16:32], pool[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(at.off/log.BlockSize))
	binary.LittleEndian.PutUint32(b[blockCRC:], checksum(b[:blockCRC]))
}

// openBlock checks the frame of b, which was read at the given place, and returns the pool's UUID.
// ErrNotPool: the magic is missing; ErrVersion; else a CorruptError.
func openBlock(b []byte, magic string, version uint32, what string, at place) (UUID, error) {
	le := binary.LittleEndian
	if string(b[0:8]) != magic {
		return UUID{}, ErrNotPool
	}
	if v := le.Uint32(b[8:]); v != version {
		if v < version || onlyVersionDiffers(b, version) {
			return UUID{}, at.corrupt(what+": version", uint64(version), uint64(v))
		}
		return UUID{}, ErrVersion
	}
	if want, got := le.Uint32(b[blockCRC:]), checksum(b[:blockCRC]); want != got {
		return UUID{}, at.corrupt(what+": checksum", uint64(want), uint64(got))
	}
	if got := le.Uint32(b[12:]); got != uint32(at.dev) {
		return UUID{}, at.corrupt(what+": device", uint64(at.dev), uint64(got))
	}
	if want, got := uint64(at.off/log.BlockSize), le.Uint64(b[32:]); want != got {
		return UUID{}, at.corrupt(what+": block number", want, got)
	}
	return UUID(b[16:32]), nil
}

// onlyVersionDiffers reports whether b would be a sealed block if its version were the given one.
func onlyVersionDiffers(b []byte, version uint32) bool {
	var head [12]byte
	copy(head[:], b)
	binary.LittleEndian.PutUint32(head[8:], version)
	crc := crc32.Update(checksum(head[:]), castagnoli, b[len(head):blockCRC])
	return crc == binary.LittleEndian.Uint32(b[blockCRC:])
}
