package placement

import (
	"slices"
	"strings"

	"unblend/log"
)

// Status is the state of a pool, for operators.
type Status struct {
	Pool       UUID
	Durability Durability
	Created    int64 // Unix time in seconds
	Generation uint64
	Checkpoint int64 // Unix time in seconds at which the durable root was written
	ReadOnly   error // why the pool accepts no writes; nil: it does
	OneDevice  bool
	NoLog      bool // opened without the fast device
	Nodes      int
	Sizes      [log.Devs]uint64 // of the devices, as far as the pool uses them, in bytes

	BlocksTotal, BlocksFree  uint64 // of the capacity device's data zones
	PagesTotal, PagesFree    uint64 // of the metadata area
	Promised                 uint64 // blocks promised to what is in the log
	Segments, SegmentsFree   int
	SegmentBytes             int64
	IndexEntries, IndexUsed  int
	ExtentsUsed              int
	Pressure                 int // fullness of the log in thousandths
	Frames                   int // of the page cache, 4 KiB each
	DirtyPages, SharedBlocks int // that it holds
	Stalled                  int // volumes with writes that wait for room
	Checkpointing, Destaging bool
	Replacing, Scrubbing     bool
	Scrub                    ScrubStatus
	Stats                    Stats
	Flow                     Flow
	Regions                  []Region
}

// Region is a range of a device that serves one purpose, for tracing.
type Region struct {
	Dev   log.Dev
	Class string // "log", "data", "metadata"
	Start int64  // bytes
	End   int64
}

// VolumeInfo describes one volume or snapshot, or what is left of one that was removed while others
// need it.
type VolumeInfo struct {
	ID         uint32
	Name       string // "" if hidden
	Snapshot   bool
	Hidden     bool   // removed; stays while more than one child needs it, or until it is freed
	Parent     uint32 // ID of the snapshot that it continues; 0: none
	Origin     string // name of that; "" if there is none, or it is hidden
	Children   int    // snapshots and volumes that continue it
	Size       int64  // bytes
	Mapped     int64  // bytes with a place on the capacity device, shared ones included
	Unique     int64  // of these, bytes that nothing older shares
	Freed      int64  // bytes that removing it would free; 0 with more than one child
	Counting   bool   // Freed is not known: it is being counted
	Dirty      int64  // bytes whose newest content is in the log
	Created    int64  // Unix time in seconds
	Attached   bool
	ReadOnly   bool
	Device     int32 // number of the ublk device; -1: none
	QueueDepth int
	Open       int // requests under way
	Stats      VolumeStats
}

// VolumesAfter fills page, up to its capacity, with volumes and snapshots with ids above after, in
// the order of these; with all set also with what is hidden. It looks at no more nodes than fit. It
// returns from which id to go on; 0: there are no more.
func (p *Pool) VolumesAfter(after uint32, all bool, page []VolumeInfo) ([]VolumeInfo, uint32) {
	rest := p.nodesAfter(after)
	for k, n := range rest {
		if k == cap(page) {
			return page, rest[k-1].rec.ID
		}
		if n.rec.Name != "" || all && !n.removed {
			page = append(page, p.infoOf(n))
		}
	}
	return page, 0
}

// nodesAfter returns the nodes with ids above after.
func (p *Pool) nodesAfter(after uint32) []*node {
	i, _ := slices.BinarySearchFunc(p.order, after+1, byID)
	return p.order[i:]
}

// Volumes returns all volumes and snapshots, by name; with all set also what is hidden. That takes
// its time where there are many: while guests are served it is for VolumesAfter.
func (p *Pool) Volumes(all bool) []VolumeInfo {
	list, _ := p.VolumesAfter(0, all, make([]VolumeInfo, 0, len(p.order)))
	slices.SortFunc(list, func(a, b VolumeInfo) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Info returns what Volumes says of one volume, and whether there is such a volume.
func (p *Pool) Info(name string) (VolumeInfo, bool) {
	n := p.names[name]
	if n == nil {
		return VolumeInfo{}, false
	}
	return p.infoOf(n), true
}

// InfoByID returns what VolumesAfter says of one node, and whether there is such a node.
func (p *Pool) InfoByID(id uint32) (VolumeInfo, bool) {
	n := p.nodes[id]
	if n == nil || n.removed {
		return VolumeInfo{}, false
	}
	return p.infoOf(n), true
}

func (p *Pool) infoOf(n *node) VolumeInfo {
	v := VolumeInfo{
		ID: n.rec.ID, Name: n.rec.Name, Snapshot: n.frozen(), Hidden: n.hidden(),
		Parent: n.rec.Parent, Children: n.kids, Size: int64(n.rec.Size),
		Mapped: int64(p.mapOf(n).rec.Mapped) * log.BlockSize,
		Unique: max(n.rec.Owned, 0) * log.BlockSize, Freed: n.freed() * log.BlockSize,
		Dirty:   int64(n.dirty) * log.BlockSize,
		Created: n.rec.Created, Attached: n.rec.Flags&NodeAttached != 0,
		ReadOnly: n.rec.Flags&NodeReadOnly != 0, Device: n.rec.Device,
		QueueDepth: int(n.rec.QueueDepth),
	}
	v.Counting = n.uncounted() && n.shares()
	if n.parent != nil {
		v.Origin = n.parent.rec.Name
	}
	if n.vol != nil {
		v.Open, v.Stats = n.vol.open, n.vol.stats
	}
	return v
}

// freed returns how many blocks removing n would free: its own, or those of its own that its only
// child does not share. With more children it frees nothing.
func (n *node) freed() int64 {
	switch {
	case n.kid == nil:
		return max(n.rec.Owned, 0)
	case !n.shares(), n.uncounted():
		return 0
	}
	return max(n.kid.rec.Over, 0)
}

// shares reports whether n has a map and one child, which has a map too.
func (n *node) shares() bool {
	return n.only() != nil && (n.rec.Flags|n.kid.rec.Flags)&NodeAsParent == 0
}

// Status returns the present state.
func (p *Pool) Status() Status {
	s := Status{
		Pool: p.label.Pool, Durability: p.label.Durability, Created: p.label.Created,
		Generation: p.root.Generation, Checkpoint: p.root.Time,
		ReadOnly: p.readOnly, OneDevice: p.oneDevice, NoLog: p.homes == 1, Nodes: len(p.order),
		Sizes:      p.label.Sizes,
		BlocksFree: p.blocks.available(), PagesTotal: p.pages.total,
		PagesFree: p.pages.available(), Promised: p.dirtyData + p.reserved.data,
		Segments:     int(p.label.Segments),
		SegmentBytes: int64(p.label.SegmentBlocks) * log.BlockSize,
		IndexEntries: p.opt.IndexEntries, IndexUsed: p.index.len(), ExtentsUsed: p.zeros.len(),
		Frames: len(p.cache.frames), DirtyPages: p.cache.dirty, SharedBlocks: p.cache.shared,
		Stalled:       len(p.stalled),
		Checkpointing: p.back.phase >= cutCatalogue,
		Destaging:     p.back.phase > backIdle && p.back.phase < walkNode,
		Replacing:     p.back.phase == replaceRead || p.back.phase == replaceWrite,
		Scrubbing:     p.back.inScrub(),
		Stats:         p.stats, Flow: p.flow, Regions: p.label.regions(),
	}
	s.Flow.Live = p.dirtyData
	for _, z := range p.label.Zones {
		if z.Kind == ZoneData {
			s.BlocksTotal += z.Blocks
		}
	}
	s.Scrub = p.scrubStatus(s.BlocksTotal)
	if p.ring != nil {
		s.SegmentsFree, s.Pressure = p.ring.FreeSegments(), p.pressure()
	}
	return s
}

// regions lists what the devices' ranges are for.
func (l *Label) regions() []Region {
	rs := []Region{{
		Dev: log.Fast, Class: "log", Start: int64(l.LogOffset),
		End: int64(l.LogOffset) + int64(l.LogBlocks())*log.BlockSize,
	}}
	for _, dev := range []log.Dev{log.Fast, log.Capacity} {
		start := int64(l.HomeStart(dev)) * log.BlockSize
		rs = append(rs, Region{
			Dev: dev, Class: "metadata", Start: start,
			End: start + int64(l.Home.Blocks)*log.BlockSize,
		})
	}
	for _, z := range l.Zones {
		class := "metadata"
		switch z.Kind {
		case ZoneReserved:
			continue
		case ZoneData:
			class = "data"
		}
		start := int64(z.Start) * log.BlockSize
		rs = append(rs, Region{
			Dev: z.Dev, Class: class, Start: start, End: start + int64(z.Blocks)*log.BlockSize,
		})
	}
	return rs
}

// IsData reports whether a byte of a device is for volumes' data.
func (p *Pool) IsData(dev log.Dev, off int64) bool {
	block := uint64(off / log.BlockSize)
	for i := range p.label.Zones {
		z := &p.label.Zones[i]
		if z.Kind == ZoneData && z.Dev == dev && z.Start <= block && block < z.Start+z.Blocks {
			return true
		}
	}
	return false
}

// Deadline returns when Tick and Run are needed next even if nothing completes, in the clock of
// Tick; 0: not before something does.
func (p *Pool) Deadline() int64 {
	at := int64(0)
	earlier := func(t int64) {
		if at == 0 || t < at {
			at = t
		}
	}
	for _, v := range p.stalled {
		if v.nextAdmit > p.now {
			earlier(v.nextAdmit)
		}
	}
	b := &p.back
	live := p.readOnly == nil && !b.over && !b.waiting && b.phase == backIdle
	if live && (b.backlog() || b.changed || b.walking() || len(p.counts) > 0) {
		earlier(max(p.lastGuest, b.since, b.looked) + p.opt.Idle)
	}
	if live && b.mayReplace() {
		earlier(b.replaceAt())
	}
	if live && b.scrub.Running {
		earlier(max(b.scrub.next, 1))
	}
	if b.heldUntil > 0 {
		earlier(b.heldUntil)
	}
	if at != 0 {
		at = max(at, p.now+1)
	}
	return at
}
