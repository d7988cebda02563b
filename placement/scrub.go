package placement

import (
	"cmp"
	"fmt"
	"slices"

	"unblend/log"
)

// A scrub reads all that the durable root reaches, while guests are served, and compares it with its
// checksums: the labels and the root, the bitmaps, the catalogue and the maps in both homes, and
// every block of data that a map has (scrub_walk.go says in which order). It is a job of the back end
// in steps of 1 MiB at most:
//
//  1. look up from the root what lies at the cursor, and read it, in the order of addresses;
//  2. what could not be read, or is not what it should be, is looked up once more in a later step
//     and read alone. Only if the answer is the same it is damage;
//  3. a bad copy of a page is written anew from the good one; a bad block of data is named.
//
// Jobs never overlap, so nothing is moved, freed or written in place while a step reads. Between two
// steps anything may happen: the cursor is a place in the order of nodes and blocks, not in a page.
// What is written behind it was checked by whoever wrote it, and belongs to the next scrub. What the
// log has is no part of it: destage verifies that when it moves it, soon.
//
// It takes turns with the other jobs, keeps to a rate, and rests: as long as a step took while guests
// ask for something, much longer while the log is nearly full.

const (
	scrubRate    = 64 << 20 // bytes a second, if nothing else is asked for
	scrubAlone   = 8        // pieces of a step that reads each of them alone
	scrubPressed = 15       // times as long as a step took it rests while the log is nearly full
	scrubFound   = 16       // findings that are named
)

// ScrubStatus says what the scrub under way, or the last one, has seen.
type ScrubStatus struct {
	Pass    uint32 // its number since the pool was opened
	Running bool
	Began   int64 // Unix time in seconds; 0: there was none since the pool was opened
	Ended   int64 // likewise; 0: it has not
	Err     error // why it ended before it was through
	Rate    int64 // bytes a second, at most

	Done      uint64 // bytes read and compared
	Total     uint64 // that there are to be read, about; it changes with the pool
	Blocks    uint64 // blocks of data read
	Pages     uint64 // copies of metadata pages read
	BadBlocks uint64 // blocks of data that are not what was written, or cannot be read
	BadPages  uint64 // metadata pages of which no copy is good
	BadCopies uint64 // copies of metadata pages that were bad
	Repaired  uint64 // of these, written anew

	Found []BlockError // the first of the blocks and pages without a good copy
}

// Damage returns how many bad things it has found that are still bad. A page without a good copy is
// among them with its copies.
func (s *ScrubStatus) Damage() uint64 { return s.BadBlocks + s.BadCopies - s.Repaired }

// scrubber is the state of the job.
type scrubber struct {
	ScrubStatus
	last   uint32 // nodes from this id on were made after it began
	passed bool   // another job had its turn since the last step
	began  int64  // ns; when the present step began
	next   int64  // ns; when the next one may

	scrubCursor
	group  scrubGroup // what the present step reads of
	pieces []scrubPiece

	again    bool           // what was bad is read once more, each alone
	againEnd int            // slot up to which
	suspects [fanout]uint64 // of each slot: what was bad there, 0: nothing
	probed   bool           // whether the device can be read at all
	gone     error          // why it cannot
}

// scrubPiece is a block of a device that a step reads.
type scrubPiece struct {
	at   place
	id   uint64  // of the unit that it belongs to
	key  pageKey // of the page, if it goes through the cache
	crc  uint32
	slot uint16
	bad  bool
	mend bool  // its buffer has what should be there
	err  error // why it is bad
}

// dataPiece is the key of a block of data.
const dataPiece = pageKey(sharedBlock << keyShift)

func newScrubber(blocks int) scrubber {
	return scrubber{pieces: make([]scrubPiece, 0, min(blocks, fanout))}
}

// startScrub begins a scrub.
func (p *Pool) startScrub(c *Control) error {
	s := &p.back.scrub
	switch {
	case s.Running:
		return fmt.Errorf("a scrub is under way: %w", ErrBusy)
	case c.Rate < 0:
		return fmt.Errorf("a rate of %d bytes a second: %w", c.Rate, ErrConfig)
	}
	rate := c.Rate
	setDefault(&rate, scrubRate)
	*s = scrubber{
		ScrubStatus: ScrubStatus{
			Pass: s.Pass + 1, Running: true, Began: p.opt.Wall(), Rate: rate, Found: s.Found[:0],
		},
		last: p.nextNode, next: p.now, pieces: s.pieces[:0],
	}
	if cap(s.Found) == 0 {
		s.Found = make([]BlockError, 0, scrubFound)
	}
	return nil
}

// stopScrub ends the scrub under way.
func (p *Pool) stopScrub() error {
	if !p.back.scrub.Running {
		return ErrNoScrub
	}
	p.endScrub(ErrStopped)
	return nil
}

// endScrub ends the scrub, if there is one: why is nil when it is through.
func (p *Pool) endScrub(why error) {
	if s := &p.back.scrub; s.Running {
		s.Running, s.Ended, s.Err = false, p.opt.Wall(), why
	}
}

// scrubStatus returns the state of the scrub for operators. data is how many blocks of data there are.
func (p *Pool) scrubStatus(data uint64) ScrubStatus {
	s := p.back.scrub.ScrubStatus
	s.Found = slices.Clone(s.Found)
	if s.Pass > 0 {
		pages := p.pages.total - p.pages.available()
		s.Total = max(s.Done, (data-p.blocks.available()+uint64(p.homes)*pages)*log.BlockSize)
	}
	if s.Pass > 0 && !s.Running && s.Err == nil {
		s.Total = s.Done
	}
	return s
}

// scrubDue reports whether a step of the scrub may begin.
func (b *backend) scrubDue() bool { return b.scrub.Running && b.p.now >= b.scrub.next }

// beginScrub begins a step. It reports whether there may be more to do at once.
func (b *backend) beginScrub() bool {
	s := &b.scrub
	s.passed = false
	if b.leaves == 0 {
		b.paused = true
		return false
	}
	b.leaves--
	s.began = b.p.now
	switch err := b.collect(); {
	case err == errWait:
		return false
	case err == errTight:
		b.tight = true
		return true
	case err != nil:
		b.passDamaged()
		return true
	}
	if len(s.pieces) == 0 {
		b.scrubOn()
		return true
	}
	slices.SortFunc(s.pieces, func(x, y scrubPiece) int {
		return cmp.Or(cmp.Compare(x.at.dev, y.at.dev), cmp.Compare(x.at.off, y.at.off))
	})
	b.phase, b.next, s.probed = scrubRead, 0, false
	return true
}

// collect fills pieces with what is to be read from the cursor on, as far as there are buffers.
func (b *backend) collect() error {
	s := &b.scrub
	s.pieces = s.pieces[:0]
	g := &s.group
	var err error
	if *g, err = b.findGroup(); err != nil {
		return err
	}
	stop, most := g.slots, cap(s.pieces)
	if s.again {
		stop, most = min(stop, s.againEnd), min(most, scrubAlone)
	}
	for s.end = s.slot; s.end < stop; s.end++ {
		u := b.unit(g, s.end)
		if u.n == 0 || s.again && s.suspects[s.end] != u.id() {
			continue // nothing, or what was bad is not there any more
		}
		if len(s.pieces)+u.n > most {
			break
		}
		for i := range u.n {
			s.pieces = append(s.pieces, scrubPiece{
				at: u.at[i], id: u.id(), key: u.key, crc: u.crc, slot: uint16(s.end),
			})
		}
	}
	return nil
}

// readScrub reads what a step has collected, and decides what becomes of it.
func (b *backend) readScrub() bool {
	s := &b.scrub
	for b.next < len(s.pieces) && b.room(s.pieces[b.next].at.dev) > 0 && s.Running {
		b.scrubRun()
	}
	switch {
	case b.pending > 0:
		return false
	case !s.Running: // it was stopped
		b.phase = backIdle
		return true
	case b.next < len(s.pieces):
		return false
	case s.again && b.probeScrubbed():
		return s.gone != nil // the scrub has ended
	}
	b.restScrub()
	b.phase = backIdle
	switch {
	case s.again:
		b.judge()
	case b.suspect():
		return true
	}
	if !slices.ContainsFunc(s.pieces, func(m scrubPiece) bool { return m.mend }) {
		b.scrubOn()
		return true
	}
	b.phase, b.next = scrubMend, 0
	return true
}

// scrubRun reads the next pieces that follow each other on a device.
func (b *backend) scrubRun() {
	s, from := &b.scrub, b.next
	at := s.pieces[from].at
	op := b.p.ops.NewOp(b, at.dev, log.Read, at.off)
	for ; b.next < len(s.pieces) && len(op.Bufs) < maxVector; b.next++ {
		if s.pieces[b.next].at != (place{at.dev, at.off + int64(b.next-from)*log.BlockSize}) ||
			s.again && b.next > from {
			break
		}
		op.Bufs = append(op.Bufs, b.slot(uint32(b.next)))
	}
	op.Arg, op.Sums = uint64(from)|uint64(b.next-from)<<32, true
	b.submit(op)
}

// scrubDone takes the end of a device operation of the scrub.
func (b *backend) scrubDone(op *log.Op, err error) {
	if op.Arg == readProbe {
		if err != nil {
			b.scrub.gone = &DeviceError{Op: op.Kind.String(), Dev: op.Dev, Off: op.Off, Err: err}
		}
		return
	}
	from, n := int(uint32(op.Arg)), int(op.Arg>>32)
	for i := range n {
		m := &b.scrub.pieces[from+i]
		if m.err = err; err == nil && op.Kind == log.Read {
			if got := op.BlockSum(i, b.slot(uint32(from+i))); got != m.crc {
				m.err = &ChecksumError{Want: m.crc, Got: got}
			}
		}
		m.bad = m.err != nil
	}
}

// restScrub decides when the next step may begin.
func (b *backend) restScrub() {
	p, s := b.p, &b.scrub
	bytes := int64(len(s.pieces)) * log.BlockSize
	s.next = max(s.next, s.began) + bytes*1e9/s.Rate
	rest := int64(0)
	switch {
	case p.pressure() >= p.opt.High || len(p.stalled) > 0 || p.anyStalledLane():
		rest = scrubPressed
	case p.now-p.lastGuest < p.opt.Idle:
		rest = 1
	}
	s.next = max(s.next, p.now+rest*(p.now-s.began))
}
