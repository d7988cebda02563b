package log

import (
	"bytes"
	"fmt"
)

// maxFindings bounds what Verify returns.
const maxFindings = 1000

// Finding is one thing that Verify found wrong.
type Finding struct {
	Off    int64 // bytes from the start of the fast device
	Err    error // a CorruptError
	Trace  bool  // a crash leaves it behind, too
	Mended bool  // it was written anew
}

// Verify compares the two descriptions that the log has of the records in closed segments: their own
// headers, and the summary. Recovery takes the summary, and the headers where that is missing, so it
// does not notice when one of the two is damaged. With mend the good one is written over the bad one.
// Payload is for those to verify who know which of it still counts. At most 1000 findings are
// returned. An error is one that recovery of this log ends with, too.
func Verify(d Disk, geo Geometry, p RecoverParams, mend bool) ([]Finding, error) {
	if err := geo.Validate(d.Size()); err != nil {
		return nil, err
	}
	v := &verifier{rec: &recovery{d: d, geo: geo, par: p}, mend: mend}
	s := &survey{rec: v.rec}
	v.survey = s
	if err := s.look(); err != nil {
		return nil, err
	}
	if err := s.chain(); err != nil {
		return nil, err
	}
	v.w = newWindow(d, &v.rec.geo, &v.rec.rep)
	v.w.ahead = 1
	for _, chain := range s.chains {
		for i := 0; i+1 < len(chain); i++ {
			if err := v.segment(chain[i : i+2 : i+2]); err != nil {
				return v.findings, err
			}
		}
	}
	if v.mended {
		return v.findings, d.Flush()
	}
	return v.findings, nil
}

// verifier compares the records of segments with their summaries.
type verifier struct {
	rec      *recovery
	survey   *survey
	w        *window // for the headers of records
	mend     bool
	mended   bool
	findings []Finding
}

// segment verifies the first of two segments that follow each other in a chain.
func (v *verifier) segment(pair []link) error {
	c := newCursor(v.survey, pair)
	summarized := c.summary != nil
	sum := summary{mem: NewBlocks(int(v.rec.geo.SummaryBlocks()))}
	sum.reset()
	for c.pos == 0 {
		ok, err := c.read()
		if err != nil {
			return err
		}
		switch {
		case !ok:
		case summarized:
			v.record(c, &pair[0])
		case sum.size+summaryRecordSize+len(c.entries) <= len(sum.mem):
			sum.add(&c.hdr, c.hdr.loc%v.rec.geo.SegmentBlocks, c.entries)
		}
	}
	if !summarized {
		v.summary(&pair[0], &sum)
	}
	return nil
}

// record compares the header of a record with what the summary says, which is the cursor's.
func (v *verifier) record(c *cursor, l *link) {
	want := c.hdr
	want.pool, want.nonce = v.rec.par.UUID, l.hdr.nonce
	var got recordHeader
	p := v.w.blocks(want.loc, maxHeaderBlocks)
	reason := got.decode(p, v.rec.par.UUID, want.loc)
	want.durable = got.durable // the summary does not say
	switch {
	case reason != "":
	case got != want:
		reason = fmt.Sprintf("record %d of lane %d with sequence number %d", got.number, got.lane, got.seq)
	case !bytes.Equal(p[recordHeaderSize:recordHeaderSize+got.bytes], c.entries):
		reason = "other entries"
	default:
		return
	}
	err := v.rec.corrupt(want.loc, "record header",
		fmt.Sprintf("record %d of lane %d with sequence number %d, as in the summary", want.number,
			want.lane, want.seq), reason)
	mem := NewBlocks(int(want.headBlocks()))
	copy(mem[recordHeaderSize:], c.entries)
	want.durable = 0 // nobody asks in a closed segment
	want.seal(mem)
	v.found(want.loc, err, false, mem)
}

// summary reports that a closed segment has no summary that is good. sum has been made anew.
func (v *verifier) summary(l *link, sum *summary) {
	geo := &v.rec.geo
	blocks := uint32(blocksOf(sum.size))
	if l.end+blocks > geo.SegmentBlocks || uint64(sum.records) != l.last+1-l.hdr.first {
		return // it has no room
	}
	loc := l.hdr.index*geo.SegmentBlocks + l.end
	got := "none"
	if isSummary(v.w.blocks(loc, 1)) {
		got = "one that is damaged, or of an earlier use"
	}
	err := v.rec.corrupt(loc, "segment summary",
		fmt.Sprintf("one of %d records up to sequence number %d", sum.records, l.seq), got)
	h := summaryHeader{
		lane: l.hdr.lane, pool: v.rec.par.UUID, nonce: l.hdr.nonce, loc: loc, last: l.seq,
	}
	v.found(loc, err, true, sum.seal(&h))
}

// found notes a finding, and mends it with good if that is wanted.
func (v *verifier) found(loc uint32, err error, trace bool, good []byte) {
	if len(v.findings) == maxFindings {
		return
	}
	f := Finding{Off: v.rec.geo.Offset(loc), Err: err, Trace: trace}
	f.Mended = v.mend && v.rec.d.WriteAt(good, f.Off) == nil
	v.mended = v.mended || f.Mended
	v.findings = append(v.findings, f)
}
