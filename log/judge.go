package log

import "fmt"

// judge says what it means that the record at the present place is not valid: reason says what is
// wrong with its header; if it is "", payload blocks are bad. It is the lane's tail, or it was
// durable and is damaged. Damaged payload is replayed as lost; a damaged header hides which blocks
// are lost, so that recovery ends with an error.
func (c *cursor) judge(reason string) (tail bool, err error) {
	if c.isHead() {
		p := c.prove()
		durable, last, from := p.durable, p.seq, c.from(reason)
		if reason == "" && durable < from {
			durable = c.survey.behind(&c.link().hdr, c.seq)
			last = max(last, durable)
		}
		if durable < from || last < c.rec.par.ReplayStart {
			return true, nil // what is below the replay start hides nothing if nothing else follows
		}
	}
	if reason == "" {
		return false, nil
	}
	return false, c.rec.corrupt(c.loc(c.at), "record header",
		fmt.Sprintf("record %d of lane %d, which was durable", c.number, c.link().hdr.lane), reason)
}

// from returns the sequence number of the record at hand, or if its header is not valid the lowest that
// it can have. What says that the lane was durable up to less is older than the record, and may be left
// over in segments that are free by now.
func (c *cursor) from(reason string) uint64 {
	if reason == "" {
		return c.hdr.seq
	}
	return max(c.seq+1, c.link().hdr.base)
}

// prove reads the rest of the head for records and a summary of the segment: they tell how far the
// lane was durable. What is not of this segment does not have its nonce, whatever a guest wrote.
func (c *cursor) prove() *proof {
	if c.proof != nil {
		return c.proof
	}
	c.proof = &proof{}
	h := &c.link().hdr
	c.rec.hear(h.index, c.at, c.proof, func(w witness) bool { return w.nonce == h.nonce })
	return c.proof
}

// witness is a record or summary that says how far its lane is durable.
type witness struct {
	lane    int
	nonce   nonce
	durable uint64 // sequence number
	seq     uint64 // of the record, or of the last one in the summary
}

// hear adds to p what the segment says from a block on.
func (r *recovery) hear(segment, from uint32, p *proof, accept func(witness) bool) {
	w := newWindow(r.d, &r.geo, &r.rep)
	for b := from; b < r.geo.SegmentBlocks; b++ {
		r.testify(w, segment*r.geo.SegmentBlocks+b, p, accept)
	}
}

// testify adds to p what the block at loc says, if a record or a summary begins there that is
// accepted.
func (r *recovery) testify(w *window, loc uint32, p *proof, accept func(witness) bool) {
	block := w.blocks(loc, 1)
	var t witness
	switch {
	case isRecord(block):
		var h recordHeader
		if h.decode(w.blocks(loc, maxHeaderBlocks), r.par.UUID, loc) != "" {
			return
		}
		t = witness{h.lane, h.nonce, h.durable, h.seq}
	case isSummary(block):
		var h summaryHeader
		if h.length(block) > uint64(len(w.mem)) {
			return
		}
		all := w.blocks(loc, uint32(blocksOf(int(h.length(block)))))
		if h.decode(all, r.par.UUID, loc) != "" {
			return
		}
		t = witness{h.lane, h.nonce, h.last, h.last}
	default:
		return
	}
	if accept(t) {
		p.durable, p.seq = max(p.durable, t.durable), max(p.seq, t.seq)
	}
}

// finish ends the head, and with it the lane, before the record that is not valid.
func (c *cursor) finish() {
	l := c.link()
	l.end, l.last, l.seq = c.at, c.number-1, c.seq
	c.done = true
	p := c.prove()
	c.rec.top = max(c.rec.top, p.seq)
	if p.seq > 0 {
		c.rec.rep.CutTails++
	}
}
