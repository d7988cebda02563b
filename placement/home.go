package placement

import (
	"fmt"

	"unblend/log"
)

// A metadata home is one range of a device, as Format makes it, and goes on in the zones that the pool
// got for it as it grew. Blocks of a home are counted through all of that:
//
//	0                          Home.Blocks
//	+--------------------------+------------------+------------------+---
//	| label, roots, bitmaps,   | pages            | pages            |
//	| page area of init        | of the 1st zone  | of the 2nd zone  |
//	+--------------------------+------------------+------------------+---
//
// Both homes have zones of the same sizes, each its own. Those of home B lie on the capacity device.
// Those of home A lie on the fast device, behind the log, while that has room, and then on the capacity
// device too: there they are good against a bad block, and no loss when the fast device is gone, since
// home A is read together with the log alone.

// zonePages is the kind of the zones in which a home goes on.
var zonePages = [log.Devs]ZoneKind{log.Fast: ZonePagesA, log.Capacity: ZonePagesB}

// locate returns where a block of a home lies. What is beyond the home's end is nowhere: no device
// reaches as far.
func (l *Label) locate(home log.Dev, block uint64) place {
	if block < l.Home.Blocks {
		return place{home, int64(l.Homes[home]+block) * log.BlockSize}
	}
	block -= l.Home.Blocks
	for _, z := range l.Zones {
		if z.Kind != zonePages[home] {
			continue
		}
		if block < z.Blocks {
			return place{z.Dev, int64(z.Start+block) * log.BlockSize}
		}
		block -= z.Blocks
	}
	return place{home, 1 << 62}
}

// pageBlock returns which block of a home metadata page n is.
func (l *Label) pageBlock(n uint64) uint64 {
	if n < l.Home.PageCount {
		return l.Home.Pages + n
	}
	return l.Home.Blocks + n - l.Home.PageCount
}

// pageCount returns how many metadata pages each home has.
func (l *Label) pageCount() uint64 {
	return l.Home.PageCount + l.zoned(zonePages[log.Capacity])
}

// zoned returns how many blocks the zones of a kind have together.
func (l *Label) zoned(kind ZoneKind) (n uint64) {
	for _, z := range l.Zones {
		if z.Kind == kind {
			n += z.Blocks
		}
	}
	return n
}

// validateRoom checks that both homes have as many pages, and that the bitmaps have room for what
// there is. The zones have been found to lie on their devices, so that no sum exceeds 2^64.
func (l *Label) validateRoom(at place) error {
	h := &l.Home
	if a, b := l.zoned(ZonePagesA), l.zoned(ZonePagesB); a != b {
		return at.corrupt("label: pages of the homes", a, b)
	}
	if l.CapacityBlocks > h.BlockMapRoom*pageBits {
		return at.corrupt("label: room of the block bitmap", h.BlockMapRoom*pageBits, l.CapacityBlocks)
	}
	if n := l.pageCount(); n > h.PageMapRoom*pageBits {
		return at.corrupt("label: room of the page bitmap", h.PageMapRoom*pageBits, n)
	}
	return nil
}

// checkTotals refuses a root that describes more than the label does: the label is an old one.
func (o *opener) checkTotals() error {
	if r, l := &o.root, &o.label; r.Blocks > l.CapacityBlocks || r.Pages > l.pageCount() {
		return fmt.Errorf("root %d: %d blocks and %d pages, the label knows %d and %d: "+
			"the newest label is missing: %w", r.Generation, r.Blocks, r.Pages, l.CapacityBlocks,
			l.pageCount(), ErrDamaged)
	}
	return nil
}

// unfinished reports whether the pool was growing when it was last served: no root describes yet what
// the label does.
func (o *opener) unfinished() bool {
	return o.root.Blocks < o.label.CapacityBlocks || o.root.Pages < o.label.pageCount()
}

// encodeCopy writes the copy of the label that goes to offset off of dev into block b.
func (l *Label) encodeCopy(b []byte, dev log.Dev, off int64) {
	c := *l
	if c.Role != RoleBoth {
		c.Role = Role(1 << dev)
	}
	c.Encode(b, dev, off)
}

// readLabelAt reads one copy of the label. One that cannot be read is damaged: a power cut while it was
// written may leave it so.
func readLabelAt(d log.Disk, at place) (*Label, error) {
	block := alignedBytes(log.BlockSize)
	if err := d.ReadAt(block, at.off); err != nil {
		return nil, fmt.Errorf("label: %w: %w", err, ErrDamaged)
	}
	return DecodeLabel(block, at.dev, at.off)
}
