package log

// FreeBelow frees every sealed segment all of whose records are below seq, in sequence order. seq
// is the replay start of a durable root, and nobody reads these segments any more. A segment whose
// summary is still being written becomes free when that has ended.
//
// No segment is freed before an older one that replay would still read: replay ignores what is
// below seq, in whatever segment it is found, so a version of a block that a freed segment
// overwrote cannot come back.
func (r *Ring) FreeBelow(seq uint64) {
	r.below = max(r.below, seq)
	if planted("free-out-of-order") {
		r.freeSecond()
	}
	for i := r.oldest; i != NoSegment; {
		next := r.segs[i].newer
		if r.reclaimable(i, r.below) && !r.segs[i].busy {
			r.unlink(i)
			r.release(i)
		}
		i = next
	}
}

// freeSecond is a planted bug: it frees the second oldest sealed segment before the oldest.
func (r *Ring) freeSecond() {
	if r.oldest == NoSegment {
		return
	}
	i := r.segs[r.oldest].newer
	if i != NoSegment && r.segs[i].state == SegmentSealed && !r.segs[i].busy {
		r.unlink(i)
		r.release(i)
	}
}

// Reclaimable reports whether FreeBelow(seq) would free a segment, now or soon.
func (r *Ring) Reclaimable(seq uint64) bool {
	for i := r.oldest; i != NoSegment; i = r.segs[i].newer {
		if r.reclaimable(i, seq) {
			return true
		}
	}
	return false
}

func (r *Ring) reclaimable(i uint32, seq uint64) bool {
	return r.segs[i].state == SegmentSealed && r.segs[i].last < seq
}

// release makes segment i free.
func (r *Ring) release(i uint32) {
	r.segs[i] = segment{state: SegmentFree, older: NoSegment, newer: NoSegment}
	r.free++
}

// takeFree plans for the lane the next free segment behind segment after, as the area is laid out,
// so that the device sees one stream; or returns NoSegment.
func (r *Ring) takeFree(after uint32, lane int) uint32 {
	if r.free == 0 {
		return NoSegment
	}
	i := after
	for {
		if i++; i >= uint32(len(r.segs)) {
			i = 0
		}
		if r.claim(i, lane) {
			return i
		}
	}
}

// claim plans segment i for the lane if it is free.
func (r *Ring) claim(i uint32, lane int) bool {
	if i >= uint32(len(r.segs)) || r.segs[i].state != SegmentFree {
		return false
	}
	r.segs[i].state, r.segs[i].lane = SegmentPlanned, lane
	r.free--
	return true
}

// link puts segment i, which has got its first record, into the list of those with records.
func (r *Ring) link(i uint32) {
	s := &r.segs[i]
	s.older, s.newer = r.newest, NoSegment
	for s.older != NoSegment && r.segs[s.older].first > s.first {
		s.older, s.newer = r.segs[s.older].older, s.older
	}
	if s.older != NoSegment {
		r.segs[s.older].newer = i
	} else {
		r.oldest = i
	}
	if s.newer != NoSegment {
		r.segs[s.newer].older = i
	} else {
		r.newest = i
	}
}

func (r *Ring) unlink(i uint32) {
	s := &r.segs[i]
	if s.older != NoSegment {
		r.segs[s.older].newer = s.newer
	} else {
		r.oldest = s.newer
	}
	if s.newer != NoSegment {
		r.segs[s.newer].older = s.older
	} else {
		r.newest = s.older
	}
}
