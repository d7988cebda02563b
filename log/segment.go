package log

import "fmt"

// Segment header: the first block of a segment. What is not shown is 0. The checksum covers the
// first 256 bytes, so that no device can tear what it covers.
//
//	       0       2       4       6       8      10      12      14
//	    +-------+-------+-------+-------+-------+-------+-------+-------+
//	  0 | magic "UNBLSEGM"              |version| lane  | CRC-32C       |
//	 16 | pool UUID                                                     |
//	 32 | nonce: random, new at each opening                            |
//	 48 | own index     | planned succ. | opening of the lane           |
//	 64 | first record number           | base: next sequence number    |
//	 80 | root generation               | predecessor's index | end     |
//	 96 | predecessor's nonce; 0: none                                  |
//	112 | lane's last sequence number before this segment               |
//	    +-------+-------+-------+-------+-------+-------+-------+-------+
//
// The opening counts how often the lane opened a segment: of its valid headers the one with the
// highest is its head. The record number before the first is the predecessor's last. Every record
// of the segment has a sequence number of at least base, every one of the lane's earlier segments
// at most the last sequence number. The root generation is one that was durable at the opening.
const (
	segmentMagic      = 0x4d4745534c424e55 // "UNBLSEGM"
	segmentVersion    = 1
	segmentHeaderSize = 256
)

type (
	uuid  = [16]byte
	nonce = [16]byte
)

// predecessor is the lane's segment with records before another one, and where it validly ends.
type predecessor struct {
	nonce   nonce
	index   uint32
	end     uint32 // blocks from the segment's start
	lastSeq uint64 // of the lane; also known where there is no predecessor
}

type segmentHeader struct {
	lane       int
	pool       uuid
	nonce      nonce
	index      uint32
	planned    uint32 // NoSegment: none was free
	opening    uint64
	first      uint64 // record number
	base       uint64 // sequence number
	generation uint64
	pred       predecessor
}

// encode writes the header to the block p.
func (h *segmentHeader) encode(p []byte) {
	clear(p[:BlockSize])
	le.PutUint64(p, segmentMagic)
	le.PutUint16(p[8:], segmentVersion)
	le.PutUint16(p[10:], uint16(h.lane))
	copy(p[16:], h.pool[:])
	copy(p[32:], h.nonce[:])
	le.PutUint32(p[48:], h.index)
	le.PutUint32(p[52:], h.planned)
	le.PutUint64(p[56:], h.opening)
	le.PutUint64(p[64:], h.first)
	le.PutUint64(p[72:], h.base)
	le.PutUint64(p[80:], h.generation)
	le.PutUint32(p[88:], h.pred.index)
	le.PutUint32(p[92:], h.pred.end)
	copy(p[96:], h.pred.nonce[:])
	le.PutUint64(p[112:], h.pred.lastSeq)
	le.PutUint32(p[crcAt:], checksumWithout(p[:segmentHeaderSize]))
}

// decode reads the header that segment index of the pool should have. It returns the reason if p
// is not one, which is normal: it may never have been written. The error is an ErrVersion.
func (h *segmentHeader) decode(p []byte, pool uuid, index uint32) (reason string, err error) {
	if le.Uint64(p) != segmentMagic {
		return "no magic", nil
	}
	copy(h.pool[:], p[16:])
	if h.pool != pool {
		return "another pool's UUID", nil
	}
	version := le.Uint16(p[8:])
	if version > segmentVersion && onlyVersionDiffers(p) {
		return fmt.Sprintf("version %d, by its checksum %d", version, segmentVersion), nil
	}
	if version > segmentVersion {
		return "", fmt.Errorf("%w: segment %d has version %d", ErrVersion, index, version)
	}
	if got := checksumWithout(p[:segmentHeaderSize]); got != le.Uint32(p[crcAt:]) {
		return "a wrong checksum", nil
	}
	h.lane = int(le.Uint16(p[10:]))
	copy(h.nonce[:], p[32:])
	h.index = le.Uint32(p[48:])
	h.planned = le.Uint32(p[52:])
	h.opening = le.Uint64(p[56:])
	h.first = le.Uint64(p[64:])
	h.base = le.Uint64(p[72:])
	h.generation = le.Uint64(p[80:])
	h.pred.index = le.Uint32(p[88:])
	h.pred.end = le.Uint32(p[92:])
	copy(h.pred.nonce[:], p[96:])
	h.pred.lastSeq = le.Uint64(p[112:])
	return h.validate(index, version), nil
}

// onlyVersionDiffers reports whether p would be a header if its version were this program's: then no
// newer program wrote it, but the version is damaged.
func onlyVersionDiffers(p []byte) bool {
	var h [segmentHeaderSize]byte
	copy(h[:], p)
	le.PutUint16(h[8:], segmentVersion)
	return checksumWithout(h[:]) == le.Uint32(h[crcAt:])
}

// validate checks what the checksum cannot: that the header belongs here and makes sense.
func (h *segmentHeader) validate(index uint32, version uint16) string {
	switch {
	case version != segmentVersion:
		return fmt.Sprintf("version %d", version)
	case h.index != index:
		return fmt.Sprintf("the header of segment %d", h.index)
	case h.lane >= MaxLanes:
		return fmt.Sprintf("lane %d", h.lane)
	case h.nonce == nonce{} || h.opening == 0 || h.first == 0 || h.pred.lastSeq >= h.base:
		return "numbers that cannot be"
	}
	return ""
}

func (p *predecessor) none() bool { return p.nonce == nonce{} }
