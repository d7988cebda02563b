package placement

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"unblend/log"
)

// Label says what a device is to its pool and where everything lies. It fills the first block of
// each metadata home and, of a pool on one device, the last of the device. It is written by init,
// and again when the pool grows.
//
//	  0  frame (format_block.go)
//	 40  role u8 | durability u8 | 0 u16 | block size u32
//	 48  sequence u64 | created i64
//	 64  size of the fast device u64 | size of the capacity device u64, in bytes
//	 80  UUID of the fast device | UUID of the capacity device
//	112  log: offset u64 in bytes | blocks of a segment u32 | segments u32
//	128  start of home A u64 | start of home B u64, in blocks
//	144  home: blocks u64 | roots u64
//	160        block bitmap u64 | its blocks u64 | page bitmap u64 | its blocks u64
//	192        page area u64 | pages u64
//	208        pages that there is room for: of the block bitmap u64, of the page bitmap u64
//	224  blocks of the capacity device u64
//	232  number of zones u32 | 0 u32
//	240  zones: up to 96 times
//	     kind u8 | device u8 | 0 (6 bytes) | start u64 | blocks u64
//
// Home A lies on the fast device, home B on the capacity device; what the label says about the
// home holds for both, counted in blocks from the home's start. Each goes on in the zones that the
// pool got for it as it grew, in their order (home.go). A pool on one device uses both device names
// for it, and no two of all these ranges overlap on it.
type Label struct {
	Pool           UUID
	Role           Role // of the device that this copy is on
	Durability     Durability
	Sequence       uint64         // rises each time the label is written anew; the higher one counts
	Created        int64          // Unix time in seconds
	Devices        [log.Devs]UUID // equal for a pool on one device
	Sizes          [log.Devs]uint64
	LogOffset      uint64           // bytes from the start of the fast device
	SegmentBlocks  uint32           // blocks of a log segment
	Segments       uint32           // segments of the log
	Homes          [log.Devs]uint64 // where home A and home B start, in blocks
	Home           HomeLayout
	CapacityBlocks uint64 // blocks of the capacity device that the space map describes
	Zones          []Zone // at most MaxZones, ascending on each device
}

// HomeLayout says where the parts of a metadata home lie, in blocks from the home's start. The
// label is block 0.
type HomeLayout struct {
	Blocks         uint64 // of the home as a whole
	Roots          uint64 // two slots of one block
	BlockMap       uint64 // both places of every page of the capacity bitmap
	BlockMapBlocks uint64
	PageMap        uint64 // both places of every page of the page bitmap
	PageMapBlocks  uint64
	Pages          uint64 // first page of the page area
	PageCount      uint64 // of the home itself, without zones
	BlockMapRoom   uint64 // pages that the block bitmap can grow to
	PageMapRoom    uint64 // likewise of the page bitmap
}

// Zone is a range of blocks of a device.
type Zone struct {
	Kind   ZoneKind
	Dev    log.Dev
	Start  uint64
	Blocks uint64
}

// ZoneKind says what a zone is for.
type ZoneKind uint8

// The kinds of zone.
const (
	ZoneData     ZoneKind = iota + 1 // blocks of volumes
	ZoneReserved                     // never used by the pool
	ZonePagesA                       // where home A goes on
	ZonePagesB                       // where home B goes on
	zoneKinds
)

// Role says what a device is for; it is a set of bits.
type Role uint8

// The roles of a device.
const (
	RoleFast     Role = 1 << log.Fast
	RoleCapacity Role = 1 << log.Capacity
	RoleBoth          = RoleFast | RoleCapacity
)

func (r Role) String() string {
	if r > RoleBoth {
		return fmt.Sprintf("role %d", uint8(r))
	}
	return [...]string{"none", "fast", "capacity", "only"}[r]
}

// Durability says when a write is acknowledged.
type Durability uint8

// The durabilities.
const (
	DurabilityWrite Durability = iota // when it is on non-volatile media
	DurabilityFlush                   // at once; durable at the next flush
)

func (d Durability) String() string {
	if d > DurabilityFlush {
		return fmt.Sprintf("durability %d", uint8(d))
	}
	return [...]string{"write", "flush"}[d]
}

// Limits of the format.
const (
	MaxZones     = 96
	MaxLogBlocks = 1 << 30                  // the log's locations take 30 bits
	maxBitmap    = (addrMax + 1) / pageBits // pages
	rootSlots    = 2

	labelMagic   = "UNBLEND\x00"
	labelVersion = 1
	labelZones   = 240
	zoneSize     = 24
)

const _ = uint(blockCRC - labelZones - MaxZones*zoneSize) // the zones fit

// HomeStart returns where the metadata home on dev starts, in blocks.
func (l *Label) HomeStart(dev log.Dev) uint64 { return l.Homes[dev] }

// LogBlocks returns the size of the log area in blocks.
func (l *Label) LogBlocks() uint64 { return uint64(l.SegmentBlocks) * uint64(l.Segments) }

// Encode writes the label into block b as the copy that goes to offset off of dev. An invalid
// label panics.
func (l *Label) Encode(b []byte, dev log.Dev, off int64) {
	at := place{dev, off}
	if err := l.validate(at); err != nil {
		panic("placement: " + err.Error())
	}
	le := binary.LittleEndian
	clear(b[:log.BlockSize])
	b[40], b[41] = byte(l.Role), byte(l.Durability)
	le.PutUint32(b[44:], log.BlockSize)
	le.PutUint64(b[48:], l.Sequence)
	le.PutUint64(b[56:], uint64(l.Created))
	for d := range log.Devs {
		le.PutUint64(b[64+8*d:], l.Sizes[d])
		copy(b[80+16*int(d):], l.Devices[d][:])
		le.PutUint64(b[128+8*d:], l.Homes[d])
	}
	le.PutUint64(b[112:], l.LogOffset)
	le.PutUint32(b[120:], l.SegmentBlocks)
	le.PutUint32(b[124:], l.Segments)
	for i, v := range l.Home.fields() {
		le.PutUint64(b[144+8*i:], *v)
	}
	le.PutUint64(b[224:], l.CapacityBlocks)
	le.PutUint32(b[232:], uint32(len(l.Zones)))
	for i, z := range l.Zones {
		e := b[labelZones+i*zoneSize:]
		e[0], e[1] = byte(z.Kind), byte(z.Dev)
		le.PutUint64(e[8:], z.Start)
		le.PutUint64(e[16:], z.Blocks)
	}
	sealBlock(b, labelMagic, labelVersion, l.Pool, at)
}

// fields lists the fields of the layout in their order on the device.
func (h *HomeLayout) fields() [10]*uint64 {
	return [...]*uint64{
		&h.Blocks, &h.Roots, &h.BlockMap, &h.BlockMapBlocks, &h.PageMap, &h.PageMapBlocks,
		&h.Pages, &h.PageCount, &h.BlockMapRoom, &h.PageMapRoom,
	}
}

// DecodeLabel returns the label in block b, which was read from offset off of dev. ErrNotPool:
// there is none; ErrVersion: of a newer program; else a CorruptError.
func DecodeLabel(b []byte, dev log.Dev, off int64) (*Label, error) {
	at := place{dev, off}
	pool, err := openBlock(b, labelMagic, labelVersion, "label", at)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	l := &Label{Pool: pool, Role: Role(b[40]), Durability: Durability(b[41])}
	if n := le.Uint32(b[44:]); n != log.BlockSize {
		return nil, at.corrupt("label: block size", log.BlockSize, uint64(n))
	}
	l.Sequence = le.Uint64(b[48:])
	l.Created = int64(le.Uint64(b[56:]))
	for d := range log.Devs {
		l.Sizes[d] = le.Uint64(b[64+8*d:])
		l.Devices[d] = UUID(b[80+16*int(d):])
		l.Homes[d] = le.Uint64(b[128+8*d:])
	}
	l.LogOffset = le.Uint64(b[112:])
	l.SegmentBlocks = le.Uint32(b[120:])
	l.Segments = le.Uint32(b[124:])
	for i, v := range l.Home.fields() {
		*v = le.Uint64(b[144+8*i:])
	}
	l.CapacityBlocks = le.Uint64(b[224:])
	n := le.Uint32(b[232:])
	if n > MaxZones {
		return nil, at.corrupt("label: zones", MaxZones, uint64(n))
	}
	for i := range n {
		e := b[labelZones+i*zoneSize:]
		l.Zones = append(l.Zones, Zone{
			Kind: ZoneKind(e[0]), Dev: log.Dev(e[1]),
			Start: le.Uint64(e[8:]), Blocks: le.Uint64(e[16:]),
		})
	}
	if err := l.validate(at); err != nil {
		return nil, err
	}
	return l, nil
}

// validate checks every field but the sizes of the actual devices, which the caller compares.
func (l *Label) validate(at place) error {
	switch {
	case l.Role == 0 || l.Role > RoleBoth || l.Role&(1<<at.dev) == 0:
		return at.corrupt("label: role", 1<<at.dev, uint64(l.Role))
	case l.Durability > DurabilityFlush:
		return at.corrupt("label: durability", uint64(DurabilityFlush), uint64(l.Durability))
	case !l.belongsAt(at):
		return at.corrupt("label: home", uint64(at.off/log.BlockSize), l.Homes[at.dev])
	case l.LogOffset%log.BlockSize != 0:
		return at.corrupt("label: log offset", 0, l.LogOffset)
	case l.SegmentBlocks == 0 || l.Segments == 0 || l.LogBlocks() > MaxLogBlocks:
		return at.corrupt("label: log blocks", MaxLogBlocks, l.LogBlocks())
	case l.CapacityBlocks > l.Sizes[log.Capacity]/log.BlockSize:
		return at.corrupt("label: capacity blocks",
			l.Sizes[log.Capacity]/log.BlockSize, l.CapacityBlocks)
	case l.CapacityBlocks > addrMax:
		return at.corrupt("label: capacity blocks", addrMax, l.CapacityBlocks)
	case len(l.Zones) > MaxZones:
		return at.corrupt("label: zones", MaxZones, uint64(len(l.Zones)))
	}
	if err := l.validateDevices(at); err != nil {
		return err
	}
	if err := l.Home.validate(at); err != nil {
		return err
	}
	if err := l.validateRanges(at); err != nil {
		return err
	}
	if l.geometry(1).Validate(math.MaxInt64) != nil {
		return at.corrupt("label: blocks of a log segment", log.MinSegmentBlocks, uint64(l.SegmentBlocks))
	}
	return l.validateRoom(at)
}

// belongsAt reports whether a copy of the label belongs at the given place.
func (l *Label) belongsAt(at place) bool {
	block := uint64(at.off / log.BlockSize)
	return block == l.Homes[at.dev] || l.Role == RoleBoth && block == l.lastBlock()
}

func (l *Label) lastBlock() uint64 { return l.Sizes[log.Capacity]/log.BlockSize - 1 }

// validateDevices checks that the two devices are one exactly when the role says so.
func (l *Label) validateDevices(at place) error {
	one := l.Role == RoleBoth
	if same := l.Devices[log.Fast] == l.Devices[log.Capacity]; same != one {
		return at.corrupt("label: role and UUIDs", uint64(RoleBoth), uint64(l.Role))
	}
	if one && l.Sizes[log.Fast] != l.Sizes[log.Capacity] {
		return at.corrupt("label: sizes of one device",
			l.Sizes[log.Fast], l.Sizes[log.Capacity])
	}
	return nil
}

// validate checks that the parts of a home lie in it, apart from each other, and that each bitmap
// area is as large as what it has room for.
func (h *HomeLayout) validate(at place) error {
	parts := []Zone{
		{Start: 0, Blocks: 1},
		{Start: h.Roots, Blocks: rootSlots},
		{Start: h.BlockMap, Blocks: h.BlockMapBlocks},
		{Start: h.PageMap, Blocks: h.PageMapBlocks},
		{Start: h.Pages, Blocks: h.PageCount},
	}
	for _, m := range [...]struct{ room, blocks uint64 }{
		{h.BlockMapRoom, h.BlockMapBlocks}, {h.PageMapRoom, h.PageMapBlocks},
	} {
		if m.room > maxBitmap {
			return at.corrupt("label: room of a bitmap", maxBitmap, m.room)
		}
		if want := newShadow(0, 0, int(m.room)).blocks(); m.blocks != want {
			return at.corrupt("label: bitmap blocks", want, m.blocks)
		}
	}
	for i, z := range parts {
		if z.Blocks == 0 || !z.within(h.Blocks) {
			return at.corrupt("label: part of the home", h.Blocks, z.Start)
		}
		for _, y := range parts[:i] {
			if z.overlaps(y) {
				return at.corrupt("label: parts of the home overlap", y.Start, z.Start)
			}
		}
	}
	return nil
}

// validateRanges checks that homes, log and zones lie on their devices, apart from each other.
func (l *Label) validateRanges(at place) error {
	all := append([]Zone{
		{ZoneReserved, log.Fast, l.Homes[log.Fast], l.Home.Blocks},
		{ZoneReserved, log.Capacity, l.Homes[log.Capacity], l.Home.Blocks},
		{ZoneReserved, log.Fast, l.LogOffset / log.BlockSize, l.LogBlocks()},
	}, l.Zones...)
	if l.Role == RoleBoth {
		all = append(all, Zone{ZoneReserved, log.Capacity, l.lastBlock(), 1})
	}
	for i, z := range all {
		if z.Kind == 0 || z.Kind >= zoneKinds {
			return at.corrupt("label: kind of zone", uint64(zoneKinds-1), uint64(z.Kind))
		}
		if z.Dev >= log.Devs {
			return at.corrupt("label: device of zone", uint64(log.Devs-1), uint64(z.Dev))
		}
		size := l.Sizes[z.Dev] / log.BlockSize
		if z.Kind == ZoneData {
			size = l.CapacityBlocks
			if z.Dev != log.Capacity {
				return at.corrupt("label: device of data", uint64(log.Capacity), uint64(z.Dev))
			}
		}
		if z.Blocks == 0 || !z.within(size) {
			return at.corrupt("label: range outside its device", size, endOf(z))
		}
		for _, y := range all[:i] {
			if (y.Dev == z.Dev || l.Role == RoleBoth) && z.overlaps(y) {
				return at.corrupt("label: ranges overlap", y.Start, z.Start)
			}
		}
	}
	var last [log.Devs]uint64
	for _, z := range l.Zones {
		if z.Start < last[z.Dev] {
			return at.corrupt("label: order of zones", last[z.Dev], z.Start)
		}
		last[z.Dev] = z.Start
	}
	return nil
}

// within reports whether z lies in a range of size blocks.
func (z Zone) within(size uint64) bool { return z.Start <= size && z.Blocks <= size-z.Start }

// overlaps reports whether z and y, which do not exceed 2^64, share a block.
func (z Zone) overlaps(y Zone) bool {
	return z.Start < y.Start+y.Blocks && y.Start < z.Start+z.Blocks
}

// endOf returns the end of z, or the highest number when that exceeds it.
func endOf(z Zone) uint64 {
	end, carry := bits.Add64(z.Start, z.Blocks, 0)
	if carry != 0 {
		return ^uint64(0)
	}
	return end
}
