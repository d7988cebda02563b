package log

// recordDone takes the end of a record's write. Whatever is complete in the lane's order is
// published; nothing behind a failed write is.
func (l *Lane) recordDone(s *slot, err error) {
	s.done = true
	if err != nil {
		s.failed, l.broken, l.cause = true, true, err
		l.ring.count.FailedWrites++
	}
	for l.n > 0 && l.err == nil {
		s := &l.slots[l.at]
		if !s.done || s.failed {
			return
		}
		l.at = (l.at + 1) % len(l.slots)
		l.n--
		l.publish(s)
	}
}

// publish tells the sink of a record. The lane's own state is up to date before it calls.
func (l *Lane) publish(s *slot) {
	r, h := l.ring, &s.hdr
	g := &r.segs[l.cur]
	g.last, g.end = h.seq, h.loc%r.geo.SegmentBlocks+h.blocks()
	if g.first == 0 {
		g.first = h.seq
		r.link(l.cur)
	}
	if l.durable == l.published {
		l.undurable = h.seq
	}
	if l.flush.busy && l.flush.upTo == l.published {
		l.flush.next = h.seq
	}
	l.published, l.failures = h.seq, 0
	if r.set.Durability == DurableWrite {
		l.durable = h.seq
	}
	l.dropHusk()
	r.published = max(r.published, h.seq)
	r.count.Records++
	r.count.PayloadBlocks += uint64(h.payload)
	r.count.HeaderBlocks += uint64(h.headBlocks())
	payload := h.loc + h.headBlocks()
	for it := s.items.head; it != nil; it = it.next {
		payload = l.deliver(it, h, payload)
	}
	for s.items.n > 0 {
		r.count.Items++
		r.sink.ItemDone(s.items.pop(), nil)
	}
}

// deliver tells the sink of an item's entries. payload is where the item's first block with content
// lies; that of the next item is returned.
func (l *Lane) deliver(it *Item, h *recordHeader, payload uint32) uint32 {
	it.Seq = h.seq
	sink := l.ring.sink
	switch it.Kind {
	case ItemZero:
		sink.Zeroed(h.seq, l.id, it.Node, it.Block, it.Count, h.loc)
	case ItemMark:
		sink.Marked(h.seq, l.id, it.MarkKind, it.Body, h.loc)
	default:
		for i := uint64(0); i < it.Count; {
			end, zero := it.run(i)
			if zero {
				sink.Zeroed(h.seq, l.id, it.Node, it.Block+i, end-i, h.loc)
			} else {
				sink.Wrote(h.seq, l.id, it.Node, it.Block+i, payload, it.CRCs[i:end])
				payload += uint32(end - i)
			}
			i = end
		}
	}
	return payload
}

// minUndurable returns the smallest sequence number of the lane that is not durable, or the next.
func (l *Lane) minUndurable() uint64 {
	switch {
	case l.durable < l.published:
		return l.undurable
	case l.n > 0:
		return l.slots[l.at].hdr.seq
	}
	return l.ring.nextSeq
}
