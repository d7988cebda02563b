package log

import "fmt"

// close takes the open segment towards being sealed: all its records have ended, with DurableFlush
// they have been flushed, and then the summary is on its way. Only then may a successor be opened,
// whose header says where this segment validly ends.
func (l *Lane) close() bool {
	r := l.ring
	if planted("summary-before-durable") && l.n > 0 && l.sums[l.sum].size > summaryHeaderSize {
		l.writeSummary(l.used, r.nextSeq-1)
		l.sums[l.sum].reset()
	}
	if l.n > 0 {
		return false
	}
	s := &r.segs[l.cur]
	switch {
	case s.first == 0:
		l.dropHusk()
		s.state, l.husk = SegmentPlanned, l.cur
	case l.durable < l.published:
		l.flush.wanted = true
		return false
	case !l.writeSummary(s.end, l.published):
		return false
	default:
		s.state = SegmentSealed
		l.pred = predecessor{nonce: l.nonce, index: l.cur, end: s.end, lastSeq: l.published}
	}
	l.cur, l.closing = NoSegment, false
	return true
}

// dropHusk frees the segment whose first write failed. What failed may be on the device all the
// same, and until something is published behind it a recovery would take it for the lane's head:
// were the segment free meanwhile, others could have counted on it.
func (l *Lane) dropHusk() {
	if l.husk != NoSegment {
		l.ring.release(l.husk)
		l.husk = NoSegment
	}
}

// writeSummary submits the open segment's summary, unless the other one is still under way: its
// memory is what the successor needs. A segment that was written to before this start has none.
func (l *Lane) writeSummary(end uint32, last uint64) bool {
	r, sum := l.ring, &l.sums[l.sum]
	if l.sums[1-l.sum].busy {
		return false
	}
	if sum.records == 0 {
		return true
	}
	loc := l.cur*r.geo.SegmentBlocks + end
	op := r.ops.NewOp(l, Fast, Write, r.geo.Offset(loc))
	if op == nil {
		return false
	}
	h := summaryHeader{lane: l.id, pool: r.pool, nonce: l.nonce, loc: loc, last: last}
	op.Bufs = append(op.Bufs, sum.seal(&h))
	op.Arg = opArg(opSummary, l.sum, l.cur)
	sum.busy, r.segs[l.cur].busy = true, true
	r.ops.Submit(op)
	r.count.Summaries++
	return true
}

// summaryDone lets the segment go if it became free meanwhile. A failed summary costs a scan.
func (l *Lane) summaryDone(i int, segment uint32, err error) {
	r := l.ring
	l.sums[i].busy, r.segs[segment].busy = false, false
	if err != nil {
		r.count.FailedSummaries++
	}
	r.FreeBelow(r.below)
}

// mend deals with a failed write once all writes under way have ended, and reports whether the lane
// goes on. The failed record and all behind it go back to the queue and are appended again to the
// planned successor, under new numbers: what is behind the last good record is cut off by the
// successor's header.
func (l *Lane) mend() bool {
	for i := range l.n {
		if !l.slots[(l.at+i)%len(l.slots)].done {
			return false
		}
	}
	l.recall()
	if l.broken && l.err == nil {
		l.broken = false
		if l.failures++; l.failures > l.ring.set.Retries {
			l.die(l.cause)
		}
	}
	if l.err != nil {
		l.failAll()
		return false
	}
	l.closing = true
	return true
}

// recall puts the items of all records under way back to the front of the queue.
func (l *Lane) recall() {
	if l.n == 0 {
		return
	}
	var front itemQueue
	first := &l.slots[l.at]
	number := first.hdr.number - 1
	l.sums[l.sum].truncate(first.sum, first.records)
	for ; l.n > 0; l.n-- {
		s := &l.slots[l.at]
		for s.items.n > 0 {
			front.push(s.items.pop())
		}
		l.at = (l.at + 1) % len(l.slots)
	}
	l.queue.prepend(&front)
	l.number = number
	l.used = l.ring.segs[l.cur].end
}

// die ends the lane: what was not published never will be.
func (l *Lane) die(cause error) {
	l.err = fmt.Errorf("%w: %w", ErrLaneDead, cause)
	if l.ring.failed == nil {
		l.ring.failed = l.err
	}
}

// failAll returns every item that the lane holds with its error.
func (l *Lane) failAll() {
	for n := l.queue.n; n > 0; n-- {
		l.ring.sink.ItemDone(l.queue.pop(), l.err)
	}
	for n := l.flushes.n; n > 0; n-- {
		l.ring.sink.ItemDone(l.flushes.pop(), l.err)
	}
}
