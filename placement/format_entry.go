package placement

import (
	"encoding/binary"
	"fmt"

	"unblend/log"
)

// Entry is a map entry: where one block of a node is, or one child page of a map page. The same 16
// bytes serve as pointer to the root page of a map and of the catalogue.
//
//	0                  6       8          12         16
//	+------------------+-------+----------+----------+
//	| address          | flags | epoch    | CRC-32C  |
//	| 48 bits          | u16   | u32      | u32      |
//	+------------------+-------+----------+----------+
//
// The address of a block is its number on the capacity device, that of a page its number in the
// page area. The epoch is the one at which the owning node was created. An entry without flags is
// zero in all its bytes: there is nothing.
type Entry struct {
	Addr  uint64 // below 2^48
	Flags uint16
	Epoch uint32
	CRC   uint32 // of the block or page
}

// The flags of an Entry.
const (
	FlagMapped uint16 = 1 << iota // the address is held
	FlagLost                      // the content is lost: reads fail until it is written again

	entryFlags = FlagMapped | FlagLost
)

const (
	entrySize = log.BlockSize / fanout
	addrBits  = 48
	addrMax   = 1<<addrBits - 1
)

const _ = uint(entrySize-16) + uint(16-entrySize) // an Entry takes 16 bytes

// entryAt returns entry i of page.
func entryAt(page []byte, i int) Entry {
	b := page[i*entrySize : (i+1)*entrySize]
	w := binary.LittleEndian.Uint64(b)
	return Entry{
		Addr: w & addrMax, Flags: uint16(w >> addrBits),
		Epoch: binary.LittleEndian.Uint32(b[8:]), CRC: binary.LittleEndian.Uint32(b[12:]),
	}
}

// putEntry sets entry i of page.
func putEntry(page []byte, i int, e Entry) {
	if e.Addr > addrMax {
		panic(fmt.Sprintf("placement: address %#x does not fit in an entry", e.Addr))
	}
	b := page[i*entrySize : (i+1)*entrySize]
	binary.LittleEndian.PutUint64(b, e.Addr|uint64(e.Flags)<<addrBits)
	binary.LittleEndian.PutUint32(b[8:], e.Epoch)
	binary.LittleEndian.PutUint32(b[12:], e.CRC)
}

// validate returns an ErrDamaged that says what no entry may hold, or nil. limit is the number of
// blocks or pages that addresses may name.
func (e Entry) validate(limit uint64) error {
	switch {
	case e.Flags&^entryFlags != 0:
		return fmt.Errorf("entry: unknown flags %#x: %w", e.Flags, ErrDamaged)
	case e.Flags == 0 && e != Entry{}:
		return fmt.Errorf("entry: no flags, but %+v: %w", e, ErrDamaged)
	case e.Flags&FlagMapped == 0 && e.Addr != 0:
		return fmt.Errorf("entry: unmapped, but address %d: %w", e.Addr, ErrDamaged)
	case e.Flags&FlagMapped != 0 && e.Addr >= limit:
		return fmt.Errorf("entry: address %d of %d: %w", e.Addr, limit, ErrDamaged)
	}
	return nil
}
