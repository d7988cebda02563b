package placement

import (
	"fmt"

	"unblend/log"
)

// FormatConfig is what init decides. Zero values mean the defaults.
type FormatConfig struct {
	LogSize       int64  // bytes; default: the smaller of 4 GiB and 1/8 of the fast device
	SegmentBlocks uint32 // default: 16 MiB; of a log with fewer than 16 of these less, down to 1 MiB
	MetaPages     uint64 // metadata pages; default: 1 % of the capacity device's blocks
	GrowTo        int64  // bytes of capacity that the pool can grow to; default: 16 times what it has
	Durability    Durability
	Created       int64          // Unix time in seconds
	Rand          func(p []byte) // fills p with random bytes, for the UUIDs
	Prefill       bool           // write the whole log area once: for pools in files
	Progress      func(done, total int64)
}

const (
	defaultLogMax      = 4 << 30
	defaultLogShare    = 8
	defaultSegment     = 4096 // blocks: 16 MiB
	leastSegment       = 256  // 1 MiB; by default
	minSegments        = 8
	metaShare          = 100 // 1 % of capacity
	minMetaPages       = 512
	growTimes          = 16
	minGrowTo          = maxTopRefs * pageBits // blocks: 8 GiB
	homeAlign          = 16                    // blocks
	labelBlocks        = 1
	rootBlocksInHome   = 2
	homeHeader         = labelBlocks + rootBlocksInHome
	minCapacityForData = 16 << 20 / log.BlockSize
)

// plan computes a new pool's label from the sizes of its devices, in bytes. On one device:
//
//	+--------+-----+------------------------+--------+-------+
//	| home A | log | data                   | home B | label |
//	+--------+-----+------------------------+--------+-------+
//
// The last block repeats the label, so that home B is found when home A is gone. On two devices:
//
//	fast      +--------+-----+           capacity  +--------+------+
//	          | home A | log |                     | home B | data |
//	          +--------+-----+                     +--------+------+
//
// Addresses of data are block numbers of the capacity device; what is not data counts as in use.
//
// The homes have room for bitmaps of a pool that has grown. That room is cheap, 8 KiB for 128 MiB in
// each home, and costs nothing more until it is used; so what the root says of the bitmaps, the
// levels of the references above them, never changes, and no bitmap ever has to move.
func plan(sizes [log.Devs]int64, one bool, cfg FormatConfig) (*Label, error) {
	l := &Label{Sequence: 1, Created: cfg.Created, Durability: cfg.Durability}
	l.Sizes = [log.Devs]uint64{uint64(sizes[0]), uint64(sizes[1])}
	l.CapacityBlocks = uint64(sizes[log.Capacity]) / log.BlockSize
	l.Home = planHome(l.CapacityBlocks, uint64(cfg.GrowTo)/log.BlockSize, cfg.MetaPages)
	size := cfg.LogSize
	if size == 0 {
		size = min(defaultLogMax, sizes[log.Fast]/defaultLogShare)
	}
	if l.SegmentBlocks = cfg.SegmentBlocks; l.SegmentBlocks == 0 {
		l.SegmentBlocks = defaultSegment
		for l.SegmentBlocks > leastSegment && size/log.BlockSize/int64(l.SegmentBlocks) < 2*minSegments {
			l.SegmentBlocks /= 2
		}
	}
	l.Segments = uint32(size / log.BlockSize / int64(l.SegmentBlocks))
	if l.Segments < minSegments {
		return nil, fmt.Errorf("log of %d bytes: at least %d segments of %d bytes are needed: %w",
			size, minSegments, int64(l.SegmentBlocks)*log.BlockSize, ErrSize)
	}
	l.LogOffset = l.Home.Blocks * log.BlockSize
	logEnd := l.Home.Blocks + l.LogBlocks()
	fastBlocks := uint64(sizes[log.Fast]) / log.BlockSize
	data := Zone{Kind: ZoneData, Dev: log.Capacity}
	if one {
		l.Homes[log.Capacity] = max(fastBlocks, l.Home.Blocks+1) - l.Home.Blocks - 1
		data.Start, data.Blocks = logEnd, l.Homes[log.Capacity]-min(logEnd, l.Homes[log.Capacity])
	} else {
		data.Start = l.Home.Blocks
		data.Blocks = max(l.CapacityBlocks, data.Start) - data.Start
	}
	if fastBlocks < logEnd || data.Blocks < minCapacityForData && cfg.MetaPages == 0 ||
		data.Blocks == 0 {
		return nil, fmt.Errorf("devices of %d and %d bytes are too small for a log of %d bytes: %w",
			sizes[0], sizes[1], size, ErrSize)
	}
	l.Zones = []Zone{data}
	return l, nil
}

// planHome lays out a metadata home of a pool that can grow from capacity to growTo blocks.
func planHome(capacity, growTo, pages uint64) HomeLayout {
	if pages == 0 {
		pages = max(capacity/metaShare, minMetaPages)
	}
	if growTo == 0 {
		growTo = max(growTimes*capacity, minGrowTo)
	}
	growTo = min(max(growTo, capacity), addrMax)
	blockPages, pagePages := bitmapPages(growTo), bitmapPages(pages+(growTo-capacity)/metaShare)
	h := HomeLayout{
		Roots: labelBlocks, BlockMap: homeHeader, PageCount: pages,
		BlockMapRoom: uint64(blockPages), PageMapRoom: uint64(pagePages),
	}
	h.BlockMapBlocks = newShadow(0, 0, blockPages).blocks()
	h.PageMap = h.BlockMap + h.BlockMapBlocks
	h.PageMapBlocks = newShadow(0, 0, pagePages).blocks()
	h.Pages = h.PageMap + h.PageMapBlocks
	h.Blocks = (h.Pages + h.PageCount + homeAlign - 1) / homeAlign * homeAlign
	return h
}

func bitmapPages(units uint64) int { return int((units + pageBits - 1) / pageBits) }

// reservedBlocks returns what of the capacity device is not data, ascending.
func (l *Label) reservedBlocks() []run {
	var rs []run
	at := uint64(0)
	for _, z := range l.Zones {
		if z.Kind == ZoneData {
			rs = append(rs, run{at, z.Start - at})
			at = z.Start + z.Blocks
		}
	}
	return append(rs, run{at, l.CapacityBlocks - at})
}

// dataRuns returns what of the capacity device is data, ascending.
func (l *Label) dataRuns() []run {
	var rs []run
	for _, z := range l.Zones {
		if z.Kind == ZoneData {
			rs = append(rs, run{z.Start, z.Blocks})
		}
	}
	return rs
}

// geometry returns where the log lies, for lanes lanes.
func (l *Label) geometry(lanes int) log.Geometry {
	return log.Geometry{
		AreaOff: int64(l.LogOffset), SegmentBlocks: l.SegmentBlocks, Segments: l.Segments,
		MaxRecordBlocks: recordBlocks(l.SegmentBlocks), Lanes: lanes,
	}
}

// recordBlocks returns how many payload blocks a record may have: 1 MiB, or what small segments
// can hold.
func recordBlocks(segment uint32) uint32 {
	return min(log.DefaultRecordBlocks, segment/2)
}
