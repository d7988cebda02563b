package placement

import (
	"fmt"

	"unblend/log"
)

// A pool grows when a device has: what was added to the capacity device gets zones of its own, for
// data and for more metadata pages of both homes, and the label is written anew, in this order, each
// step after the one before it is durable:
//
//  1. the copies of the label, one after the other, with a higher sequence number, the new sizes and
//     the new zones;
//  2. in memory: the bitmaps describe the new blocks and pages, and those may be used;
//  3. the root of the next checkpoint, which says how much its bitmaps describe.
//
// A crash leaves either size, and the pool opens with both. Before the first copy is durable there is
// only the old label, on devices that are larger than it says, which is no fault. While copies differ,
// the newest counts; no root says more than the oldest does, so whichever copies are lost next, what is
// left agrees with the root. The copies that are old or torn are written anew when the pool is opened,
// before anything else. Between 1 and 3 the root describes less than the label: the pool is opened with
// the root's bitmaps, and step 2 is done again, before anything of the log is destaged, which may have
// been promised the new space. Both bitmaps are functions of the label there: nothing of what is new has
// been used by anything that the root knows.
//
// On one device the last block of the device holds a copy, and it is found there by the device's size:
// that of the larger device is written first, while the one in the first block is good, and that one
// last. The block that was the last before stays unused; it is not looked at again.
//
// A growth is a job of the back end, like a checkpoint, so that no bitmap changes while one is written.

// minGrowth is how many blocks a growth has to add: a growth takes up to three zones of the label.
const minGrowth = chunkUnits

// widenMax bounds how many bitmap pages one piece of the job makes.
const widenMax = 256

// growth is what the back end knows of a growth under way.
type growth struct {
	larger *Label // to be written; nil: none
	copies []place
	next   int    // copy of it to write
	mem    []byte // of one block
	widen  bool   // the bitmaps describe less than the label
}

// grown returns the label of the pool on devices of the given sizes, in bytes, or nil if they have
// nothing to add to it. Errors: ErrTruncated, ErrTooMany.
func (l *Label) grown(sizes [log.Devs]int64) (*Label, error) {
	for dev := range log.Devs {
		if n := uint64(sizes[dev]); n < l.Sizes[dev] {
			return nil, fmt.Errorf("%s device: %d bytes, the pool has %d of it: %w", dev, n,
				l.Sizes[dev], ErrTruncated)
		}
	}
	from, to := l.CapacityBlocks, uint64(sizes[log.Capacity])/log.BlockSize
	if to < from+minGrowth {
		return nil, nil
	}
	if most := l.Home.BlockMapRoom * pageBits; to > most {
		return nil, fmt.Errorf("capacity device: %d bytes, and the pool was made to grow to %d: %w",
			sizes[log.Capacity], most*log.BlockSize, ErrTooMany)
	}
	g := *l
	g.Sequence++
	g.Sizes = [log.Devs]uint64{uint64(sizes[0]), uint64(sizes[1])}
	g.CapacityBlocks = to
	g.Zones = append(append([]Zone(nil), l.Zones...), l.newZones(&g, from, to)...)
	if len(g.Zones) > MaxZones {
		return nil, fmt.Errorf("the pool has grown as often as its label can tell, in %d zones: %w",
			len(l.Zones), ErrTooMany)
	}
	if most := l.Home.PageMapRoom * pageBits; g.pageCount() > most {
		return nil, fmt.Errorf("capacity device: %d metadata pages, and the pool was made to grow to %d: %w",
			g.pageCount(), most, ErrTooMany)
	}
	return &g, nil
}

// newZones divides the added blocks [from, to) of the capacity device, in the shape of plan.
func (l *Label) newZones(g *Label, from, to uint64) []Zone {
	pages := (to - from) / metaShare
	a := Zone{ZonePagesA, log.Fast, from, pages}
	b := Zone{ZonePagesB, log.Capacity, from, pages}
	data := Zone{Kind: ZoneData, Dev: log.Capacity}
	if l.Role == RoleBoth {
		b.Start = to - 1 - pages
		data.Start = from + pages
		data.Blocks = b.Start - data.Start
		return []Zone{a, data, b}
	}
	if free := l.fastEnd(); g.Sizes[log.Fast]/log.BlockSize >= free+pages {
		a.Start = free
	} else {
		a.Dev = log.Capacity
		b.Start += pages
	}
	data.Start = b.Start + pages
	data.Blocks = to - data.Start
	return []Zone{a, b, data}
}

// fastEnd returns where the room behind the log begins on the fast device, in blocks.
func (l *Label) fastEnd() uint64 {
	end := max(l.Homes[log.Fast]+l.Home.Blocks, l.LogOffset/log.BlockSize+l.LogBlocks())
	for _, z := range l.Zones {
		if z.Dev == log.Fast {
			end = max(end, z.Start+z.Blocks)
		}
	}
	return end
}

// copies returns where the label stands, in the order in which it is written anew.
func (l *Label) copies() []place {
	var all []place
	for _, dev := range [...]log.Dev{log.Fast, log.Capacity} {
		for _, off := range labelOffsets(l, l.Role == RoleBoth, dev) {
			all = append([]place{{dev, off}}, all...)
		}
	}
	return all
}

// CanGrow reports whether devices of the given sizes, in bytes, have something to add to the pool, or
// a crash has interrupted a growth: whether Control with GrowPool has anything to do or to wait for.
// Its errors are those that it would have.
func (p *Pool) CanGrow(sizes [log.Devs]int64) (bool, error) {
	if p.readOnly != nil {
		return false, fmt.Errorf("%w: %w", ErrReadOnly, p.readOnly)
	}
	g, err := p.label.grown(sizes)
	return g != nil || err == nil && p.back.growing(), err
}

// planGrowth begins a growth, unless there is nothing to add. One that a crash has interrupted is waited
// for.
func (p *Pool) planGrowth(c *Control) error {
	g, err := p.label.grown(c.Sizes)
	p.back.larger = g
	c.applied = !p.back.growing()
	return err
}

// growing reports whether the label is to be written, or the bitmaps describe less than it does.
func (b *backend) growing() bool { return b.larger != nil || b.widen }

// beginGrow begins with the label, or goes on with the bitmaps.
func (b *backend) beginGrow() {
	b.changed = true
	if b.larger == nil {
		b.phase = growSpace
		return
	}
	b.phase = growLabels
	b.copies, b.growth.next = b.larger.copies(), 0
	if b.growth.mem == nil {
		b.growth.mem = alignedBytes(log.BlockSize)
	}
	b.putLabel()
}

// putLabel writes the next copy of the label.
func (b *backend) putLabel() {
	at := b.copies[b.growth.next]
	b.larger.encodeCopy(b.growth.mem, at.dev, at.off)
	op := b.p.ops.NewOp(b, at.dev, log.Write, at.off)
	op.FUA = true
	op.Bufs = append(op.Bufs, b.growth.mem)
	b.submit(op)
}

// labelDone takes the end of a copy's write. When one fails the pool's size is not known before it is
// opened again.
func (b *backend) labelDone(op *log.Op, err error) {
	if err != nil {
		b.p.setReadOnly(&DeviceError{Op: "label: " + op.Kind.String(), Dev: op.Dev, Off: op.Off, Err: err})
		return
	}
	if b.growth.next++; b.growth.next < len(b.copies) {
		b.putLabel()
		return
	}
	b.p.label = *b.larger
	b.larger, b.widen = nil, true
	b.phase = growSpace
}

// widenMaps is step 2. It may have to wait for the page with the end of a bitmap.
func (b *backend) widenMaps() bool {
	p := b.p
	blocks, pages := p.label.CapacityBlocks, p.label.pageCount()
	data, all := p.label.dataRuns(), []run{{0, pages}}
	for range widenMax {
		var err error
		switch {
		case p.blocks.total < blocks:
			err = p.blocks.extend(blocks, data, &b.waiter)
		case p.pages.total < pages:
			err = p.pages.extend(pages, all, &b.waiter)
		default:
			p.setReserve()
			b.widen, b.phase = false, backIdle
			return true
		}
		switch err {
		case nil:
		case errWait:
			return false
		case errTight:
			b.tight, b.phase = true, backIdle
			return true
		default:
			p.setReadOnly(err)
			return false
		}
	}
	return true
}

// extend makes the bitmap describe more units, to the end of a page or to the unit to. Of these the
// ones in usable are free. It may be called again after errWait or errTight.
func (s *space) extend(to uint64, usable []run, w *waiter) error {
	page := s.total / pageBits
	end := min((page+1)*pageBits, to)
	n := uint64(0)
	for _, r := range usable {
		from, upto := max(r.start, s.total), min(r.start+r.n, end)
		n += max(upto, from) - from
	}
	if int(page) >= s.refs.count(0) {
		s.refs.grow(int(page) + 1)
	}
	switch n {
	case 0: // as it is, all in use; of a new one the reference is to be written
		if s.total%pageBits == 0 {
			s.refs.put(0, int(page), ShadowRef{})
		}
	case pageBits:
		s.refs.put(0, int(page), ShadowRef{Free: pageBits, FreeChunks: pageChunks})
		s.free += pageBits
		s.search = min(s.search, page)
	default:
		f, err := s.writable(s.total, w)
		if err != nil {
			return err
		}
		for _, r := range usable {
			for u := max(r.start, s.total); u < min(r.start+r.n, end); u++ {
				if !s.isSet(f, u) {
					return s.damaged(fmt.Sprintf("unit %d of %d is free", u, s.total))
				}
				s.set(f, u, false)
			}
		}
	}
	s.total = end
	return nil
}

// mendLabels writes the newest label over the copies that are older or damaged: the pool was growing.
func (o *opener) mendLabels() error {
	if len(o.d.homes()) < int(log.Devs) {
		return nil
	}
	block := alignedBytes(log.BlockSize)
	for _, at := range o.label.copies() {
		l, err := readLabelAt(o.d[at.dev], at)
		if err == nil && l.Sequence == o.label.Sequence {
			continue
		}
		o.mended++
		o.label.encodeCopy(block, at.dev, at.off)
		if err := o.d[at.dev].WriteAt(block, at.off); err != nil {
			return fmt.Errorf("%s device: label: %w", at.dev, err)
		}
		if err := o.d[at.dev].Flush(); err != nil {
			return fmt.Errorf("%s device: %w", at.dev, err)
		}
	}
	return nil
}
