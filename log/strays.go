package log

import "fmt"

// checkStrays looks outside of the chains for records that were durable: the header of their
// segment was there then, so it is damaged, and with it the lane's end is lost. It looks into the
// segment that each head planned, and wherever a record that may be live has lost its header.
//
// Records that no header knows are normal otherwise. Old ones are below the replay start. Those of
// a torn opening, and those that a failed write left, do not say that a record is durable which the
// lane lacks.
func (s *survey) checkStrays(ends []laneEnd) error {
	seen := make([]bool, len(s.headers))
	for _, t := range s.strays {
		s.rec.top = max(s.rec.top, t.hdr.seq)
		if t.hdr.seq >= s.rec.par.ReplayStart && t.hdr.seq > ends[t.hdr.lane].lastSeq {
			if err := s.search(t.segment, ends, seen); err != nil {
				return err
			}
		}
	}
	for i := range ends {
		if ends[i].found {
			if err := s.search(ends[i].head.planned, ends, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// search reads all of a segment that is in no chain.
func (s *survey) search(segment uint32, ends []laneEnd, seen []bool) error {
	r := s.rec
	if segment >= uint32(len(seen)) || seen[segment] || s.chained[segment] {
		return nil
	}
	seen[segment] = true
	w := newWindow(r.d, &r.geo, &r.rep)
	first := segment * r.geo.SegmentBlocks
	for loc := first + 1; loc < first+r.geo.SegmentBlocks; loc++ {
		var p proof
		var lane int
		r.testify(w, loc, &p, func(t witness) bool {
			lane = t.lane
			return t.seq > ends[t.lane].lastSeq
		})
		r.top = max(r.top, p.seq)
		if p.durable > ends[lane].lastSeq && p.durable >= r.par.ReplayStart {
			return r.corrupt(first, "segment header",
				fmt.Sprintf("one with record %d of lane %d, which was durable",
					ends[lane].number+1, lane), "none")
		}
	}
	return nil
}

// behind returns how far the records of a head's lane above seq that no header knows say that the
// lane was durable. A power cut leaves them that tears the opening of the next segment: its first
// record lands and its header does not. Where checkStrays would refuse, the lane's own records up
// to there may be there all the same, with payload that is damaged.
func (s *survey) behind(head *segmentHeader, seq uint64) uint64 {
	var p proof
	for i := range s.strays {
		t := &s.strays[i]
		if !s.chained[t.segment] && t.hdr.lane == head.lane && t.hdr.seq > seq {
			p.durable = max(p.durable, t.hdr.durable)
		}
	}
	if i := head.planned; i < uint32(len(s.chained)) && !s.chained[i] {
		s.rec.hear(i, 1, &p, func(t witness) bool { return t.lane == head.lane && t.seq > seq })
	}
	return p.durable
}
