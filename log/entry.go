package log

import "fmt"

// Entries follow a record's header without gaps. Little-endian, not aligned.
//
//	WRITE   0 type u16 = 1 | count u16 | node u32 | block u64 | CRC-32C u32 of each block
//	ZERO    0 type u16 = 2 | 0 u16     | node u32 | block u64 | count u64
//	LOST    type 3 is reserved; it is not written
//	MARK    0 type u16 = 4 | kind u16  | bytes u32 | body
//
// A WRITE's blocks have their content in the record's payload, in the order of the entries.
const (
	writeEntrySize = 16 // and 4 for each block
	zeroEntrySize  = 24
	markEntrySize  = 8 // and the body
)

type entryType uint16

const (
	entryWrite entryType = 1
	entryZero  entryType = 2
	entryLost  entryType = 3
	entryMark  entryType = 4
)

// entry is one decoded entry; its slices point into the record.
type entry struct {
	kind     entryType
	markKind uint16
	node     uint32
	block    uint64
	count    uint64
	crcs     []byte // of a WRITE, 4 bytes each
	body     []byte // of a MARK
}

// appendItem writes an item's entries to p, which has room for them, and returns the rest.
func appendItem(p []byte, it *Item) []byte {
	switch it.Kind {
	case ItemZero:
		return appendZero(p, it.Node, it.Block, it.Count)
	case ItemMark:
		le.PutUint16(p, uint16(entryMark))
		le.PutUint16(p[2:], it.MarkKind)
		le.PutUint32(p[4:], uint32(len(it.Body)))
		copy(p[markEntrySize:], it.Body)
		return p[markEntrySize+len(it.Body):]
	default:
		for i := uint64(0); i < it.Count; {
			end, zero := it.run(i)
			if zero {
				p = appendZero(p, it.Node, it.Block+i, end-i)
			} else {
				p = appendWrite(p, it.Node, it.Block+i, it.CRCs[i:end])
			}
			i = end
		}
		return p
	}
}

func appendWrite(p []byte, node uint32, block uint64, crcs []uint32) []byte {
	le.PutUint16(p, uint16(entryWrite))
	le.PutUint16(p[2:], uint16(len(crcs)))
	le.PutUint32(p[4:], node)
	le.PutUint64(p[8:], block)
	p = p[writeEntrySize:]
	for _, c := range crcs {
		le.PutUint32(p, c)
		p = p[4:]
	}
	return p
}

func appendZero(p []byte, node uint32, block, count uint64) []byte {
	le.PutUint16(p, uint16(entryZero))
	le.PutUint16(p[2:], 0)
	le.PutUint32(p[4:], node)
	le.PutUint64(p[8:], block)
	le.PutUint64(p[16:], count)
	return p[zeroEntrySize:]
}

// decode reads the entry at the beginning of p and returns what follows it. An error after the
// record's checksum was right means that another program wrote it.
func (e *entry) decode(p []byte) (rest []byte, err error) {
	if len(p) < markEntrySize {
		return nil, fmt.Errorf("entry of %d bytes", len(p))
	}
	e.kind = entryType(le.Uint16(p))
	size := zeroEntrySize
	switch e.kind {
	case entryWrite:
		size = writeEntrySize + 4*int(le.Uint16(p[2:]))
	case entryMark:
		e.markKind = le.Uint16(p[2:])
		if n := le.Uint32(p[4:]); n > MaxMark {
			return nil, fmt.Errorf("mark of %d bytes", n)
		}
		size = markEntrySize + int(le.Uint32(p[4:]))
	case entryZero:
	default:
		return nil, fmt.Errorf("%w: entry type %d", ErrVersion, e.kind)
	}
	if len(p) < size {
		return nil, fmt.Errorf("entry of %d bytes in %d", size, len(p))
	}
	if e.kind == entryMark {
		e.body = p[markEntrySize:size]
		return p[size:], nil
	}
	e.node = le.Uint32(p[4:])
	e.block = le.Uint64(p[8:])
	if e.kind == entryZero {
		e.count = le.Uint64(p[16:])
	} else {
		e.count = uint64(le.Uint16(p[2:]))
		e.crcs = p[writeEntrySize:size]
	}
	if e.count == 0 || e.block+e.count < e.block {
		return nil, fmt.Errorf("%d blocks from %d on", e.count, e.block)
	}
	return p[size:], nil
}
