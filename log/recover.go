package log

import (
	"errors"
	"fmt"
)

// RecoverParams is what the pool's root and label say.
type RecoverParams struct {
	UUID        [16]byte
	ReplayStart uint64 // what is below it is in the map; at least 1, and never falls
	Generation  uint64 // of the root
}

// Report says what recovery found.
type Report struct {
	Lanes      int    // that have left segments
	Segments   int    // that hold records to replay
	Summaries  int    // of these, read from their summary
	Records    uint64 // replayed
	Blocks     uint64 // read from the device
	LostBlocks uint64 // delivered as lost
	Unreadable uint64 // blocks that the device could not read
	CutTails   int    // lanes that end with records that were not durable
}

// recovery is one run of Recover, or what Verify shares with it.
type recovery struct {
	d      Disk
	geo    Geometry
	par    RecoverParams
	replay Replay
	rep    Report
	top    uint64 // highest sequence number seen, of what is dropped too
	last   uint64 // highest sequence number replayed
	crcs   []uint32
}

// laneEnd is where a lane ends: what recovery found, and then what Cut made of it.
type laneEnd struct {
	found    bool
	head     segmentHeader
	headLive bool // the head holds a record to replay
	live     int  // segments of the lane that do
	number   uint64
	lastSeq  uint64

	cut     bool
	open    uint32 // the segment that the lane goes on with, or NoSegment
	used    uint32 // blocks of it
	planned uint32
	nonce   nonce
	opening uint64
	pred    predecessor
}

// Recover reads the log and tells replay what it holds from p.ReplayStart on, in sequence order.
// The caller has claimed the device and flushed it. Nothing is written. Errors: ErrGeometry,
// ErrVersion, ErrOldRoot, a CorruptError, or the device's.
func Recover(d Disk, geo Geometry, p RecoverParams, replay Replay) (*Ring, Report, error) {
	r := &recovery{d: d, geo: geo, par: p, replay: replay}
	ring, err := r.run()
	return ring, r.rep, err
}

func (r *recovery) run() (*Ring, error) {
	if err := r.geo.Validate(r.d.Size()); err != nil {
		return nil, err
	}
	s := &survey{rec: r}
	if err := s.look(); err != nil {
		return nil, err
	}
	if err := s.chain(); err != nil {
		return nil, err
	}
	var cursors [MaxLanes]*cursor
	for lane, chain := range s.chains {
		if len(chain) > 0 {
			cursors[lane] = newCursor(s, chain)
		}
	}
	if err := r.merge(cursors[:]); err != nil {
		return nil, err
	}
	ends := make([]laneEnd, MaxLanes)
	for lane, c := range cursors {
		if c != nil {
			ends[lane] = r.endOf(c)
		}
	}
	if err := s.checkStrays(ends); err != nil {
		return nil, err
	}
	if err := r.checkReadable(); err != nil {
		return nil, err
	}
	return r.buildRing(s, ends), nil
}

// checkReadable tells blocks that cannot be read from a device that cannot. A power cut may leave
// some of the former, in place of what was being written, so they are taken for what was never
// acknowledged where nothing says otherwise; but it never hits the headers of all segments.
func (r *recovery) checkReadable() error {
	if r.rep.Unreadable == 0 {
		return nil
	}
	var err error
	block := NewBlocks(1)
	for i := range r.geo.Segments {
		if err = r.d.ReadAt(block, r.geo.Offset(i*r.geo.SegmentBlocks)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no segment header can be read: %w", err)
}

// merge replays the records of all lanes in sequence order.
func (r *recovery) merge(cursors []*cursor) error {
	for _, c := range cursors {
		if c != nil {
			if err := c.next(); err != nil {
				return err
			}
		}
	}
	for {
		var first *cursor
		for _, c := range cursors {
			if c != nil && !c.done && (first == nil || c.hdr.seq < first.hdr.seq) {
				first = c
			}
		}
		if first == nil {
			return nil
		}
		if first.hdr.seq == r.last {
			return r.corrupt(first.hdr.loc, "record header", "a sequence number of its own",
				fmt.Sprint(r.last))
		}
		r.last = first.hdr.seq
		r.rep.Records++
		if err := r.deliver(first); err != nil {
			return err
		}
		if err := first.next(); err != nil {
			return err
		}
	}
}

// deliver replays the cursor's present record.
func (r *recovery) deliver(c *cursor) error {
	h := &c.hdr
	var e entry
	var n, used uint32
	for rest := c.entries; len(rest) > 0; n++ {
		var err error
		if rest, err = e.decode(rest); err != nil {
			return r.malformed(h, err)
		}
		switch e.kind {
		case entryMark:
			r.replay.Marked(h.seq, h.lane, e.markKind, e.body, h.loc)
		case entryZero:
			r.replay.Zeroed(h.seq, h.lane, e.node, e.block, e.count, h.loc)
		default:
			if e.count > uint64(h.payload-used) {
				return r.malformed(h, errors.New("entries for more payload than there is"))
			}
			r.wrote(c, &e, used)
			used += uint32(e.count)
		}
	}
	if n != h.entries || used != h.payload {
		return r.malformed(h, fmt.Errorf("%d entries for %d payload blocks", n, used))
	}
	return nil
}

// wrote replays a WRITE whose content begins with payload block at. Damaged blocks are lost.
func (r *recovery) wrote(c *cursor, e *entry, at uint32) {
	r.crcs = r.crcs[:0]
	for p := e.crcs; len(p) > 0; p = p[4:] {
		r.crcs = append(r.crcs, le.Uint32(p))
	}
	isBad := func(i uint64) bool { return c.bad != nil && c.bad[uint64(at)+i] }
	for i := uint64(0); i < e.count; {
		end := i + 1
		for end < e.count && isBad(end) == isBad(i) {
			end++
		}
		loc := c.payload + at + uint32(i)
		if isBad(i) {
			r.replay.Lost(c.hdr.seq, c.hdr.lane, e.node, e.block+i, loc, r.crcs[i:end])
			r.rep.LostBlocks += end - i
		} else {
			r.replay.Wrote(c.hdr.seq, c.hdr.lane, e.node, e.block+i, loc, r.crcs[i:end])
		}
		i = end
	}
}

// malformed is the error for a record that is as it was written, and makes no sense.
func (r *recovery) malformed(h *recordHeader, err error) error {
	if errors.Is(err, ErrVersion) {
		return fmt.Errorf("record %d of lane %d: %w", h.number, h.lane, err)
	}
	return r.corrupt(h.loc, "record", fmt.Sprintf("%d entries of %d payload blocks",
		h.entries, h.payload), err.Error())
}

func (r *recovery) corrupt(loc uint32, what, want, got string) error {
	return &CorruptError{Dev: Fast, Off: r.geo.Offset(loc), What: what, Want: want, Got: got}
}

// endOf describes the lane that the cursor has read to its end.
func (r *recovery) endOf(c *cursor) laneEnd {
	head := &c.chain[len(c.chain)-1]
	e := laneEnd{
		found: true, head: head.hdr, number: head.last, lastSeq: head.seq,
		open: NoSegment, planned: NoSegment, opening: head.hdr.opening + 1,
	}
	e.headLive = head.firstSeq != 0 && head.seq >= r.par.ReplayStart
	switch {
	case e.headLive:
		h := &head.hdr
		e.pred = predecessor{nonce: h.nonce, index: h.index, end: head.end, lastSeq: head.seq}
	case head.firstSeq == 0:
		e.pred = head.hdr.pred
	default:
		e.pred = predecessor{lastSeq: head.seq}
	}
	return e
}

// buildRing makes the ring of what was found. What is in no chain is free.
func (r *recovery) buildRing(s *survey, ends []laneEnd) *Ring {
	ring := newRing(r.geo, r.par.UUID)
	ring.ends, ring.generation = ends, r.par.Generation
	top := max(r.top, r.last, r.par.ReplayStart-1)
	for i := range s.headers {
		if s.valid[i] {
			top = max(top, s.headers[i].base-1)
		}
	}
	ring.nextSeq, ring.published = top+1, r.last
	for lane := range ends {
		e := &ends[lane]
		if !e.found {
			continue
		}
		r.rep.Lanes++
		for i := range s.chains[lane] {
			l := &s.chains[lane][i]
			if l.firstSeq == 0 || l.seq < r.par.ReplayStart {
				continue // the head
			}
			e.live++
			ring.claim(l.hdr.index, lane)
			g := &ring.segs[l.hdr.index]
			g.state, g.first, g.last, g.end = SegmentSealed, l.firstSeq, l.seq, l.end
			ring.link(l.hdr.index)
		}
		r.rep.Segments += e.live
	}
	return ring
}
