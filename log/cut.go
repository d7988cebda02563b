package log

// Cut makes what recovery found final: for every lane it writes the header of a segment without
// records under a new nonce, which cuts off everything behind the lane's valid end, and flushes.
// It must succeed before anything is accepted; after an error, or a crash, recover again. random
// fills its argument with random bytes.
//
// A lane whose head holds a live record goes on in the segment that the head planned. Otherwise the
// head's own header is overwritten: nothing in it is needed, and if the write does not take place,
// what is found instead is what this recovery found.
func (r *Ring) Cut(d Disk, random func(p []byte)) error {
	if err := r.place(); err != nil {
		return err
	}
	block := NewBlocks(1)
	written := false
	for lane := range r.ends {
		e := &r.ends[lane]
		if !e.found || e.cut {
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
// plan: first what the lanes had planned, then any.
func (r *Ring) place() error {
	for lane := range r.ends {
		if e := &r.ends[lane]; e.found && planted("continue-recovered-segment") && e.headLive {
			r.continueHead(e)
		} else if e.found && !e.headLive {
			e.open = e.head.index
		}
	}
	for lane := range r.ends {
		e := &r.ends[lane]
		if e.found && e.open == NoSegment && r.claim(e.head.planned, lane) {
			e.open = e.head.planned
		}
	}
	for lane := range r.ends {
		e := &r.ends[lane]
		if e.found && e.open == NoSegment {
			if e.open = r.takeFree(e.head.index, lane); e.open == NoSegment {
				return ErrNoSegment
			}
		}
	}
	for lane := range min(r.geo.Lanes, len(r.ends)) {
		e := &r.ends[lane]
		if e.found && e.planned == NoSegment {
			if e.open == e.head.index && r.claim(e.head.planned, lane) {
				e.planned = e.head.planned
				continue
			}
			e.planned = r.takeFree(e.open, lane)
		}
	}
	return nil
}

// continueHead is a planted bug: the lane appends to the segment that recovery found.
func (r *Ring) continueHead(e *laneEnd) {
	s := &r.segs[e.head.index]
	e.cut, e.open, e.used = true, e.head.index, s.end
	e.nonce, e.opening, e.pred = e.head.nonce, e.head.opening, e.head.pred
}
