package placement

import (
	"encoding/binary"

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
// first: a higher one is a newer program's, a lower one (there is none yet) is damage. dev and the
// block number say where this copy belongs: a block that a device wrote to or read from the wrong
// place is not taken for another copy. crc is the CRC-32C of bytes 0 to 4091.
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
	if v := le.Uint32(b[8:]); v > version {
		return UUID{}, ErrVersion
	} else if v < version {
		return UUID{}, at.corrupt(what+": version", uint64(version), uint64(v))
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
