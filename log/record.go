package log

// Record: header and entries, padded with zeros to whole blocks, then the payload blocks in the
// order of the WRITE entries. The checksum covers header and entries; each payload block has its
// own in its entry.
//
//	      0       2       4       6       8      10      12      14
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 | magic "UNBLRECD"              |version| lane  | CRC-32C       |
//	16 | pool UUID                                                     |
//	32 | the segment's nonce                                           |
//	48 | record number                 | known durable sequence number |
//	64 | sequence number               | own location  | entries       |
//	80 | bytes of entries              | payload blocks| 0             |
//	96 | entries ...                                                   |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//
// Numbers count a lane's records and continue from segment to segment. Sequence numbers are the
// pool's. All of the lane's records up to the known durable one were durable when this one was
// formed; 0: none. A location is a block number within the log area.
const (
	recordMagic      = 0x444345524c424e55 // "UNBLRECD"
	recordVersion    = 1
	recordHeaderSize = 96
)

type recordHeader struct {
	lane    int
	pool    uuid
	nonce   nonce
	number  uint64
	durable uint64 // sequence number
	seq     uint64
	loc     uint32
	entries uint32
	bytes   uint32 // of the entries
	payload uint32 // blocks
}

// headBlocks returns how many blocks header and entries take.
func (h *recordHeader) headBlocks() uint32 {
	return uint32(blocksOf(recordHeaderSize + int(h.bytes)))
}

// blocks returns how many blocks the record takes.
func (h *recordHeader) blocks() uint32 { return h.headBlocks() + h.payload }

// seal writes the header to p, behind which the entries already are, zeroes the padding, and
// computes the checksum.
func (h *recordHeader) seal(p []byte) {
	clear(p[:recordHeaderSize])
	clear(p[recordHeaderSize+h.bytes : h.headBlocks()*BlockSize])
	le.PutUint64(p, recordMagic)
	le.PutUint16(p[8:], recordVersion)
	le.PutUint16(p[10:], uint16(h.lane))
	copy(p[16:], h.pool[:])
	copy(p[32:], h.nonce[:])
	le.PutUint64(p[48:], h.number)
	le.PutUint64(p[56:], h.durable)
	le.PutUint64(p[64:], h.seq)
	le.PutUint32(p[72:], h.loc)
	le.PutUint32(p[76:], h.entries)
	le.PutUint32(p[80:], h.bytes)
	le.PutUint32(p[84:], h.payload)
	le.PutUint32(p[crcAt:], checksumWithout(p[:recordHeaderSize+h.bytes]))
}

// isRecord reports whether block p could begin a record.
func isRecord(p []byte) bool { return le.Uint64(p) == recordMagic }

// decode reads the header at the beginning of p, which holds at most maxHeaderBlocks from location
// loc of the pool's log on, and returns why it is none, or "".
func (h *recordHeader) decode(p []byte, pool uuid, loc uint32) string {
	if !isRecord(p) {
		return "no record"
	}
	if le.Uint16(p[8:]) != recordVersion {
		return "another version"
	}
	h.lane = int(le.Uint16(p[10:]))
	copy(h.pool[:], p[16:])
	copy(h.nonce[:], p[32:])
	h.number = le.Uint64(p[48:])
	h.durable = le.Uint64(p[56:])
	h.seq = le.Uint64(p[64:])
	h.loc = le.Uint32(p[72:])
	h.entries = le.Uint32(p[76:])
	h.bytes = le.Uint32(p[80:])
	h.payload = le.Uint32(p[84:])
	switch {
	case uint64(h.bytes) > uint64(len(p)-recordHeaderSize) || h.payload >= MaxBlocks:
		return "a length that cannot be"
	case checksumWithout(p[:recordHeaderSize+h.bytes]) != le.Uint32(p[crcAt:]):
		return "a wrong checksum"
	case h.pool != pool:
		return "another pool's UUID"
	case h.loc != loc || h.lane >= MaxLanes || h.durable >= h.seq:
		return "a record of another place"
	}
	return ""
}
