package log

import "fmt"

// link is a segment of a lane's chain, which recovery reads.
type link struct {
	hdr  segmentHeader
	end  uint32 // valid end in blocks; of the head not known before it was read: 0
	last uint64 // record number of the last record; of the head: 0
	seq  uint64 // its sequence number; of the head: 0

	firstSeq uint64 // of the first record read; 0: none
}

// survey is what the segment headers say.
type survey struct {
	rec     *recovery
	headers []segmentHeader
	valid   []bool
	strays  []stray
	chains  [MaxLanes][]link // oldest first; the last one is the lane's head
	chained []bool
}

// stray is a record in the first place of a segment whose header does not know it.
type stray struct {
	segment uint32
	hdr     recordHeader
}

// look reads the header of every segment, in the order of the area, and the record after it.
func (s *survey) look() error {
	geo := &s.rec.geo
	s.headers = make([]segmentHeader, geo.Segments)
	s.valid = make([]bool, geo.Segments)
	s.chained = make([]bool, geo.Segments)
	w := newWindow(s.rec.d, geo, &s.rec.rep)
	w.ahead = 1
	for i := range geo.Segments {
		loc := i * geo.SegmentBlocks
		p := w.blocks(loc, 1+geo.HeaderBlocks())
		h := &s.headers[i]
		reason, err := h.decode(p, s.rec.par.UUID, i)
		if err != nil {
			return err
		}
		s.valid[i] = reason == ""
		if s.valid[i] && h.generation > s.rec.par.Generation {
			return fmt.Errorf("%w: segment %d was opened under root %d, this is root %d",
				ErrOldRoot, i, h.generation, s.rec.par.Generation)
		}
		var r recordHeader
		if r.decode(p[BlockSize:], s.rec.par.UUID, loc+1) == "" &&
			(!s.valid[i] || r.nonce != h.nonce) {
			s.strays = append(s.strays, stray{i, r})
		}
	}
	return nil
}

// chain finds each lane's head, and from there its live segments.
func (s *survey) chain() error {
	heads := [MaxLanes]uint32{}
	for i := range heads {
		heads[i] = NoSegment
	}
	for i := range s.headers {
		h := &s.headers[i]
		if !s.valid[i] {
			continue
		}
		if o := heads[h.lane]; o != NoSegment && s.headers[o].opening == h.opening {
			return s.rec.corrupt(uint32(i)*s.rec.geo.SegmentBlocks, "segment header",
				"another opening than segment "+fmt.Sprint(o), fmt.Sprint(h.opening))
		}
		if o := heads[h.lane]; o == NoSegment || s.headers[o].opening < h.opening {
			heads[h.lane] = uint32(i)
		}
	}
	for lane, head := range heads {
		if head != NoSegment {
			if err := s.follow(lane, head); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow walks from a lane's head to the oldest segment that holds a record to replay.
func (s *survey) follow(lane int, head uint32) error {
	links := []link{{hdr: s.headers[head]}}
	s.chained[head] = true
	for {
		h := &links[len(links)-1].hdr
		if h.pred.none() || h.pred.lastSeq < s.rec.par.ReplayStart {
			break
		}
		if err := s.checkPredecessor(h); err != nil {
			return err
		}
		i := h.pred.index
		s.chained[i] = true
		links = append(links, link{
			hdr: s.headers[i], end: h.pred.end, last: h.first - 1, seq: h.pred.lastSeq,
		})
	}
	for i, j := 0, len(links)-1; i < j; i, j = i+1, j-1 {
		links[i], links[j] = links[j], links[i]
	}
	s.chains[lane] = links
	return nil
}

// checkPredecessor checks that the segment that h names is there: it holds records that are not in
// the map, and they were durable.
func (s *survey) checkPredecessor(h *segmentHeader) error {
	geo := &s.rec.geo
	i := h.pred.index
	if i >= geo.Segments || h.pred.end > geo.SegmentBlocks || h.pred.end <= 1 {
		return s.rec.corrupt(h.index*geo.SegmentBlocks, "segment header",
			"a predecessor in the log", fmt.Sprintf("segment %d to %d", i, h.pred.end))
	}
	p := &s.headers[i]
	got := "no valid header"
	if s.valid[i] {
		got = fmt.Sprintf("opening %d of lane %d, nonce %x", p.opening, p.lane, p.nonce)
	}
	if !s.valid[i] || p.nonce != h.pred.nonce || p.lane != h.lane || p.opening >= h.opening ||
		p.first >= h.first || s.chained[i] {
		return s.rec.corrupt(i*geo.SegmentBlocks, "segment header",
			fmt.Sprintf("a segment of lane %d, nonce %x", h.lane, h.pred.nonce), got)
	}
	return nil
}
