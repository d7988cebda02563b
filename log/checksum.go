package log

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Checksum returns the CRC-32C of p, as the log keeps it of every block.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// crcAt is where all headers of the log have their checksum, crcEnd where it ends.
const (
	crcAt  = 12
	crcEnd = crcAt + 4
)

// noCRC is what checksumWithout sees in the checksum's place; a local would move to the heap.
var noCRC [crcEnd - crcAt]byte

// checksumWithout returns the CRC-32C of p as if the checksum in it were 0.
func checksumWithout(p []byte) uint32 {
	sum := crc32.Checksum(p[:crcAt], castagnoli)
	sum = crc32.Update(sum, castagnoli, noCRC[:])
	return crc32.Update(sum, castagnoli, p[crcEnd:])
}

// NewBlocks returns n zeroed blocks aligned to BlockSize, as device operations need them.
func NewBlocks(n int) []byte {
	mem := make([]byte, (n+1)*BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) & (BlockSize - 1)
	return mem[skip : skip+n*BlockSize : skip+n*BlockSize]
}
