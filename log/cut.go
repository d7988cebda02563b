package log

// Cut makes what recovery found final: for every lane it writes the header of a segment without
// records under a new nonce, which cuts off everything behind the lane's valid end, and flushes.
// It must succeed before anything is accepted; after an error, or a crash, recover again. random
// fills its argument with random bytes.
//
// A lane whose head holds a record to replay goes on in the segment that the head planned, or in
// another free one. The header of a head without such a record is overwritten: nothing in that
// segment is needed, and a write that does not take place leaves what this recovery found. A lane
// that holds nothing to replay at all may find its last segment planned by another lane that
// needs it now; what is behind that lane's end was sealed, and so there is nothing to cut off.
func (r *Ring) Cut(d Disk, random func(p []byte)) error {
	if err := r.place(); err != nil {
		return err
	}
	block := NewBlocks(1)
	written := false
	for lane := range r.ends {
		e := &r.ends[lane]
		if !e.found || e.open == NoSegment || e.cut {
			continue
		}
		random(e.nonce[:])
		h := segmentHeader{
			lane: lane, pool: r.pool, nonce: e.nonce, index: e.open, planned: e.planned,
			opening: e.opening, first: e.number + 1, base: r.nextSeq, generation: r.generation,
			pred: e.pred,
		}
		h.encode(block)
		if err := d.WriteAt(block, r.geo.Offset(e.open*r.geo.SegmentBlocks)); err != nil {
			return err
		}
		e.cut, e.used, r.segs[e.open].end, written = true, 1, 1, true
	}
	if written {
		if err := d.Flush(); err != nil {
			return err
		}
	}
	r.ready = true
	return nil
}

// place gives every lane the segment that it goes on with and, while there are free ones, one to
// plan: first what the lanes need and had, then what they need, then the rest.
func (r *Ring) place() error {
	r.eachFound(func(lane int, e *laneEnd) {
		if e.headLive && planted("continue-recovered-segment") {
			r.continueHead(e)
		} else if e.live > 0 && !e.headLive && r.claim(e.head.index, lane) {
			e.open = e.head.index
		}
	})
	r.eachFound(func(lane int, e *laneEnd) {
		if e.headLive && e.open == NoSegment && r.claim(e.head.planned, lane) {
			e.open = e.head.planned
		}
	})
	missing := false
	r.eachFound(func(lane int, e *laneEnd) {
		if e.live > 0 && e.open == NoSegment {
			e.open = r.takeFree(e.head.index, lane)
			missing = missing || e.open == NoSegment
		}
	})
	if missing {
		return ErrNoSegment
	}
	r.eachFound(func(lane int, e *laneEnd) {
		if e.open == NoSegment && r.claim(e.head.index, lane) {
			e.open = e.head.index
		}
	})
	r.eachFound(func(lane int, e *laneEnd) {
		if lane >= r.geo.Lanes {
			return
		}
		if r.claim(e.head.planned, lane) {
			e.planned = e.head.planned
		} else {
			e.planned = r.takeFree(e.open, lane)
		}
	})
	return nil
}

// eachFound calls f for every lane that has left segments.
func (r *Ring) eachFound(f func(lane int, e *laneEnd)) {
	for lane := range r.ends {
		if e := &r.ends[lane]; e.found {
			f(lane, e)
		}
	}
}

// continueHead is a planted bug: the lane appends to the segment that recovery found.
func (r *Ring) continueHead(e *laneEnd) {
	s := &r.segs[e.head.index]
	e.cut, e.open, e.used = true, e.head.index, s.end
	e.nonce, e.opening, e.pred = e.head.nonce, e.head.opening, e.head.pred
}
