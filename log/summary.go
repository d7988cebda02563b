package log

import "fmt"

// Summary: the entries of all records of a closed segment in one piece, at the segment's valid end,
// so that recovery need not look for them. It is written when all these records are durable and is
// not needed for correctness. The checksum covers header and records.
//
//	      0       2       4       6       8      10      12      14
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 | magic "UNBLSUMM"              |version| lane  | CRC-32C       |
//	16 | pool UUID                                                     |
//	32 | the segment's nonce                                           |
//	48 | own location  | records       | bytes         | 0             |
//	64 | last sequence number          |
//	   +-------+-------+-------+-------+
//	72 | records ...
//
// Each record:
//
//	 0 | sequence number               | block         | entries       |
//	16 | bytes         | payload blocks| entries as in the record ...
//
// Block is the record's first one, counted from the segment's start.
const (
	summaryMagic      = 0x4d4d55534c424e55 // "UNBLSUMM"
	summaryVersion    = 1
	summaryHeaderSize = 72
	summaryRecordSize = 24
)

// A record that fits its header blocks fits a summary of as many blocks.
const _ = uint(recordHeaderSize - summaryHeaderSize - summaryRecordSize)

type summaryHeader struct {
	lane    int
	pool    uuid
	nonce   nonce
	loc     uint32
	records uint32
	bytes   uint32
	last    uint64 // sequence number
}

// summary collects the records of one segment while they are formed.
type summary struct {
	mem     []byte
	size    int // bytes used, the header's included
	records uint32
	busy    bool // being written
}

func (s *summary) reset() { s.size, s.records = summaryHeaderSize, 0 }

// truncate drops the records that were added when it had size bytes, and those after.
func (s *summary) truncate(size int, records uint32) { s.size, s.records = size, records }

// add appends a record that begins at block of its segment. There is room for it.
func (s *summary) add(h *recordHeader, block uint32, entries []byte) {
	p := s.mem[s.size:]
	le.PutUint64(p, h.seq)
	le.PutUint32(p[8:], block)
	le.PutUint32(p[12:], h.entries)
	le.PutUint32(p[16:], h.bytes)
	le.PutUint32(p[20:], h.payload)
	copy(p[summaryRecordSize:], entries)
	s.size += summaryRecordSize + len(entries)
	s.records++
}

// seal completes h, writes it before the records, and returns the summary's blocks.
func (s *summary) seal(h *summaryHeader) []byte {
	h.records, h.bytes = s.records, uint32(s.size-summaryHeaderSize)
	p := s.mem[:blocksOf(s.size)*BlockSize]
	clear(p[:summaryHeaderSize])
	clear(p[s.size:])
	le.PutUint64(p, summaryMagic)
	le.PutUint16(p[8:], summaryVersion)
	le.PutUint16(p[10:], uint16(h.lane))
	copy(p[16:], h.pool[:])
	copy(p[32:], h.nonce[:])
	le.PutUint32(p[48:], h.loc)
	le.PutUint32(p[52:], h.records)
	le.PutUint32(p[56:], h.bytes)
	le.PutUint64(p[64:], h.last)
	le.PutUint32(p[crcAt:], checksumWithout(p[:s.size]))
	return p
}

// isSummary reports whether block p could begin a summary.
func isSummary(p []byte) bool { return le.Uint64(p) == summaryMagic }

// length reads from the first block of a summary how many bytes it takes.
func (h *summaryHeader) length(p []byte) uint64 {
	return summaryHeaderSize + uint64(le.Uint32(p[56:]))
}

// decode reads the header at the beginning of p, which holds at least the summary's length from
// location loc of the pool's log on, and returns why it is none, or "".
func (h *summaryHeader) decode(p []byte, pool uuid, loc uint32) string {
	if !isSummary(p) {
		return "no summary"
	}
	if le.Uint16(p[8:]) != summaryVersion {
		return "another version"
	}
	size := h.length(p)
	if size > uint64(len(p)) {
		return "a length that cannot be"
	}
	if checksumWithout(p[:size]) != le.Uint32(p[crcAt:]) {
		return "a wrong checksum"
	}
	h.lane = int(le.Uint16(p[10:]))
	copy(h.pool[:], p[16:])
	copy(h.nonce[:], p[32:])
	h.loc = le.Uint32(p[48:])
	h.records = le.Uint32(p[52:])
	h.bytes = le.Uint32(p[56:])
	h.last = le.Uint64(p[64:])
	if h.pool != pool || h.loc != loc || h.lane >= MaxLanes {
		return "a summary of another place"
	}
	return ""
}

// nextRecord reads one record of a summary: what its header says, its first block within the
// segment and its entries. rest is what follows.
func nextRecord(p []byte) (h recordHeader, block uint32, entries, rest []byte, err error) {
	if len(p) < summaryRecordSize {
		return h, 0, nil, nil, fmt.Errorf("record of %d bytes", len(p))
	}
	h.seq = le.Uint64(p)
	block = le.Uint32(p[8:])
	h.entries = le.Uint32(p[12:])
	h.bytes = le.Uint32(p[16:])
	h.payload = le.Uint32(p[20:])
	p = p[summaryRecordSize:]
	if uint64(h.bytes) > uint64(len(p)) {
		return h, 0, nil, nil, fmt.Errorf("entries of %d bytes in %d", h.bytes, len(p))
	}
	return h, block, p[:h.bytes], p[h.bytes:], nil
}
