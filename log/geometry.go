package log

import "fmt"

// Limits of the format and defaults of the settings.
const (
	DefaultSegmentBlocks = 4096 // 16 MiB
	DefaultRecordBlocks  = 256  // 1 MiB
	MinSegmentBlocks     = 8
	MaxLanes             = 64
	MaxBlocks            = 1 << 30 // of the whole area, so that a Loc has 30 bits
	MaxMark              = 1024    // bytes of a mark's body

	// maxHeaderBlocks bounds the blocks that a record's header and entries take. It is part of
	// the format: a reader takes no longer record for a record.
	maxHeaderBlocks = 8

	// maxRecordBlocks keeps a record's vectored write within the 1024 pieces that Linux takes.
	maxRecordBlocks = 1000
)

// NoSegment is the index of no segment.
const NoSegment = ^uint32(0)

// Geometry says where the log lies on the fast device and how it is divided. Everything but Lanes
// is fixed for a pool's life. A log block's location (loc) is its number within the area.
type Geometry struct {
	AreaOff         int64  // bytes from the start of the fast device, a multiple of BlockSize
	SegmentBlocks   uint32 // blocks per segment
	Segments        uint32
	MaxRecordBlocks uint32 // payload blocks per record at most, and so blocks of an item
	Lanes           int    // how many lanes write; may differ from one start to the next
}

// Validate checks g against the size of the device in bytes. The error is an ErrGeometry.
func (g Geometry) Validate(size int64) error {
	switch {
	case g.AreaOff < 0 || g.AreaOff%BlockSize != 0:
		return fmt.Errorf("%w: offset %d", ErrGeometry, g.AreaOff)
	case g.SegmentBlocks < MinSegmentBlocks || g.Segments == 0:
		return fmt.Errorf("%w: %d segments of %d blocks", ErrGeometry, g.Segments, g.SegmentBlocks)
	case uint64(g.SegmentBlocks)*uint64(g.Segments) > MaxBlocks:
		return fmt.Errorf("%w: %d segments of %d blocks are too many",
			ErrGeometry, g.Segments, g.SegmentBlocks)
	case g.AreaOff > size-g.Bytes():
		return fmt.Errorf("%w: area ends at %d, the device at %d",
			ErrGeometry, g.AreaOff+g.Bytes(), size)
	case g.MaxRecordBlocks == 0 || g.MaxRecordBlocks > min(maxRecordBlocks, g.SegmentBlocks) ||
		g.HeaderBlocks() > maxHeaderBlocks ||
		1+g.HeaderBlocks()+g.MaxRecordBlocks+g.SummaryBlocks() > g.SegmentBlocks:
		return fmt.Errorf("%w: records of %d blocks in segments of %d",
			ErrGeometry, g.MaxRecordBlocks, g.SegmentBlocks)
	case g.Lanes < 1 || g.Lanes > MaxLanes || uint64(g.Segments) < 2*uint64(g.Lanes)+1:
		return fmt.Errorf("%w: %d lanes in %d segments", ErrGeometry, g.Lanes, g.Segments)
	}
	return nil
}

// Bytes returns the size of the area.
func (g Geometry) Bytes() int64 { return int64(g.Segments) * int64(g.SegmentBlocks) * BlockSize }

// HeaderBlocks returns how many blocks the header and entries of a record take at most: room for
// any item, and for as many single-block writes as a record has payload blocks.
func (g Geometry) HeaderBlocks() uint32 {
	return uint32(blocksOf(recordHeaderSize + zeroEntrySize*int(g.MaxRecordBlocks)))
}

// SummaryBlocks returns how many blocks a segment's summary takes at most.
func (g Geometry) SummaryBlocks() uint32 {
	return max(g.HeaderBlocks(), g.SegmentBlocks/16)
}

// Offset returns where block loc of the area lies, in bytes from the start of the device.
func (g Geometry) Offset(loc uint32) int64 { return g.AreaOff + int64(loc)*BlockSize }

// SegmentOf returns the segment that block loc of the area belongs to.
func (g Geometry) SegmentOf(loc uint32) int { return int(loc / g.SegmentBlocks) }

// blocksOf returns how many blocks n bytes take.
func blocksOf(n int) int { return (n + BlockSize - 1) / BlockSize }
