package log

import "fmt"

// cursor reads the records of one lane's chain in order. Its present record is valid until next.
type cursor struct {
	rec    *recovery
	survey *survey
	w      *window
	chain  []link
	pos    int    // of the present segment in chain
	at     uint32 // block in it where the next record begins
	number uint64 // the next record's
	seq    uint64 // of the last record read, or of the last one before the chain

	summary []byte // what is left of the present segment's summary; nil: its records are read
	left    uint32 // records in it

	hdr     recordHeader // the present record
	entries []byte
	payload uint32 // location of its first payload block
	bad     []bool // which payload blocks are damaged; nil: none
	done    bool

	mem   []byte // holds entries
	proof *proof // of the head
}

// proof is what the rest of the head says about records that are not valid.
type proof struct {
	durable uint64 // highest sequence number known to be durable
	seq     uint64 // highest sequence number
}

func newCursor(s *survey, chain []link) *cursor {
	r := s.rec
	c := &cursor{rec: r, survey: s, chain: chain, w: newWindow(r.d, &r.geo, &r.rep)}
	c.mem = make([]byte, max(maxHeaderBlocks, r.geo.SummaryBlocks())*BlockSize)
	c.number, c.seq = chain[0].hdr.first, chain[0].hdr.pred.lastSeq
	c.enter()
	return c
}

// enter begins with the present segment.
func (c *cursor) enter() {
	c.at, c.summary, c.left = 1, nil, 0
	if c.link().end != 0 {
		c.readSummary()
	}
}

func (c *cursor) link() *link { return &c.chain[c.pos] }

func (c *cursor) isHead() bool { return c.pos == len(c.chain)-1 }

// loc returns the location of a block of the present segment.
func (c *cursor) loc(block uint32) uint32 {
	return c.link().hdr.index*c.rec.geo.SegmentBlocks + block
}

// next reads the next record to replay; done says that there is none.
func (c *cursor) next() error {
	for !c.done {
		ok, err := c.read()
		if err != nil {
			return err
		}
		if ok && c.hdr.seq >= c.rec.par.ReplayStart {
			return nil
		}
	}
	return nil
}

// read reads one record, or moves on to the next segment.
func (c *cursor) read() (ok bool, err error) {
	l := c.link()
	if l.end != 0 && c.at == l.end && c.left == 0 {
		return false, c.leave()
	}
	if c.summary != nil {
		err = c.readFromSummary()
	} else {
		ok, err = c.readRecord()
		if err != nil || !ok {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	if c.hdr.seq <= c.seq || c.hdr.seq < l.hdr.base {
		return false, c.rec.corrupt(c.hdr.loc, "record header",
			fmt.Sprintf("a sequence number above %d", max(c.seq, l.hdr.base-1)),
			fmt.Sprint(c.hdr.seq))
	}
	c.seq = c.hdr.seq
	c.number++
	if l.firstSeq == 0 {
		l.firstSeq = c.seq
	}
	return true, nil
}

// leave ends a closed segment: it must have held what its successor says.
func (c *cursor) leave() error {
	l := c.link()
	if c.number != l.last+1 || c.seq != l.seq {
		return c.rec.corrupt(c.loc(l.end), "segment",
			fmt.Sprintf("record %d with sequence number %d as its last", l.last, l.seq),
			fmt.Sprintf("record %d with %d", c.number-1, c.seq))
	}
	c.pos++
	c.enter()
	return nil
}

// readRecord reads the record at the present place. Not ok: there is none, the head ends here.
func (c *cursor) readRecord() (ok bool, err error) {
	reason := c.parse()
	if reason == "" && c.hdr.seq >= c.rec.par.ReplayStart {
		c.checkPayload()
	}
	if reason != "" || c.bad != nil {
		tail, err := c.judge(reason)
		if err != nil {
			return false, err
		}
		if tail {
			c.finish()
			return false, nil
		}
	}
	c.at += c.hdr.blocks()
	return true, nil
}

// parse decodes header and entries at the present place and returns why they are not the record
// that belongs there, or "".
func (c *cursor) parse() string {
	l := c.link()
	end := l.end
	if end == 0 {
		end = c.rec.geo.SegmentBlocks
	}
	c.bad = nil
	if c.at >= end {
		return "the end of the segment"
	}
	loc := c.loc(c.at)
	p := c.w.blocks(loc, min(maxHeaderBlocks, end-c.at))
	if reason := c.hdr.decode(p, c.rec.par.UUID, loc); reason != "" {
		return reason
	}
	switch {
	case c.hdr.nonce != l.hdr.nonce && !planted("nonce-not-checked"):
		return "a record of an earlier use"
	case c.hdr.lane != l.hdr.lane || c.hdr.number != c.number:
		return fmt.Sprintf("record %d of lane %d", c.hdr.number, c.hdr.lane)
	case c.hdr.blocks() > end-c.at:
		return "a record beyond the end"
	}
	c.entries = append(c.mem[:0], p[recordHeaderSize:recordHeaderSize+c.hdr.bytes]...)
	c.payload = loc + c.hdr.headBlocks()
	return ""
}

// checkPayload compares the payload with the checksums in the entries, and sets bad if any block
// differs. Entries that cannot be decoded are left to deliver.
func (c *cursor) checkPayload() {
	var e entry
	loc := c.payload
	for rest := c.entries; len(rest) > 0; {
		var err error
		if rest, err = e.decode(rest); err != nil {
			return
		}
		for ; len(e.crcs) > 0; e.crcs = e.crcs[4:] {
			if loc-c.payload >= c.hdr.payload {
				return
			}
			if Checksum(c.w.blocks(loc, 1)) != le.Uint32(e.crcs) {
				if c.bad == nil {
					c.bad = make([]bool, c.hdr.payload)
				}
				c.bad[loc-c.payload] = true
			}
			loc++
		}
	}
}

// readSummary looks for the summary of the closed segment that the cursor enters, and uses it if it
// is there and agrees with what the successor says.
func (c *cursor) readSummary() {
	l := c.link()
	geo := &c.rec.geo
	if l.end >= geo.SegmentBlocks {
		return
	}
	loc := c.loc(l.end)
	p := c.w.blocks(loc, 1)
	var h summaryHeader
	if !isSummary(p) || h.length(p) > uint64(len(c.mem)) {
		return
	}
	p = c.w.blocks(loc, uint32(blocksOf(int(h.length(p)))))
	if h.decode(p, c.rec.par.UUID, loc) != "" || h.nonce != l.hdr.nonce || h.lane != l.hdr.lane ||
		h.last != l.seq || uint64(h.records) != l.last+1-l.hdr.first {
		return
	}
	c.summary = append(c.mem[:0], p[summaryHeaderSize:summaryHeaderSize+h.bytes]...)
	c.left = h.records
	c.rec.rep.Summaries++
}

// readFromSummary takes the next record from the summary.
func (c *cursor) readFromSummary() error {
	l := c.link()
	var h recordHeader
	var block uint32
	var err error
	h, block, c.entries, c.summary, err = nextRecord(c.summary)
	if err != nil || c.left == 0 || block < c.at || block >= l.end || h.payload >= MaxBlocks ||
		h.blocks() > l.end-block {
		return c.rec.corrupt(c.loc(l.end), "summary",
			fmt.Sprintf("record %d behind block %d", c.number, c.at), fmt.Sprintf("block %d", block))
	}
	h.lane, h.number, h.loc = l.hdr.lane, c.number, c.loc(block)
	c.hdr, c.payload, c.bad = h, h.loc+h.headBlocks(), nil
	c.left--
	c.at = block + h.blocks()
	return nil
}
