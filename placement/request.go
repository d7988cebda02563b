package placement

import "syscall"

// Kind is what a guest asks for.
type Kind uint8

// The kinds of guest request.
const (
	Read Kind = iota
	Write
	Flush
	Discard     // a hint: blocks only partly covered are left alone
	WriteZeroes // a promise: any range of sectors
)

func (k Kind) String() string {
	return [...]string{"read", "write", "flush", "discard", "write-zeroes"}[k]
}

// SectorSize is the unit in which guests address a volume, in bytes.
const SectorSize = 512

// Request is one guest request. The caller owns the memory and lends it to the pool between Submit
// and the Done that returns it; the zero value with the exported fields set is ready for use.
type Request struct {
	Kind Kind
	FUA  bool // durable when done; only meaningful in a pool with --durability flush
	Vol  *Volume
	Off  int64 // bytes, a multiple of SectorSize
	Len  int64 // bytes, a multiple of SectorSize; at most MaxIO for reads and writes

	// Buf covers every block the request touches (Span(Off, Len) bytes, aligned to BlockSize);
	// the guest's bytes start at Buf[Off%BlockSize]. A write's other bytes are scratch for the
	// pool, which completes partial blocks in place. Reads, writes, and write-zeroes whose ends
	// are not block-aligned need it (one block per partial end is enough there: head first).
	Buf []byte

	Err syscall.Errno // the outcome: 0, EIO, ENOSPC, EROFS
	Tag uint64        // the caller's

	reqState
}

// Span returns the bytes of the whole blocks that [off, off+n) touches.
func Span(off, n int64) int64 {
	const b = 4096
	return (off+n+b-1)/b*b - off/b*b
}
