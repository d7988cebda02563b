package placement

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"syscall"

	"unblend/log"
	"unblend/log/simdisk"
)

// simReq is a guest request and what the oracle says about it.
type simReq struct {
	Request
	slot   *simSlot
	op     *simOp   // of a change
	read   *simRead // of a read
	submit uint64   // of a flush
	since  int64    // ns
	mem    []byte
	busy   bool
}

// simSlot is a place for a volume: its name stays, its incarnations come and go.
type simSlot struct {
	name  string
	o     *simVolume // nil: there is none
	vol   *Volume
	size  int64
	depth int
	open  int // requests under way

	attached, maybe bool // maybe: the operation under way decides whether the attribute holds

	id      uint32      // of the node
	snap    bool        // a snapshot: reads only
	of      *simSlot    // the volume it is of
	pend    *simVolume  // while it is being taken
	pending *simControl // what took it, until it was verified
}

// simControl is a control operation under way.
type simControl struct {
	Control
	slot  *simSlot
	slots []*simSlot // of a snapshot or a removal
	from  *simSlot   // snapshot that a clone or a rollback begins with
	step  *simStep   // of a shutdown
}

// sim runs one plan.
type sim struct {
	plan  *simPlan
	w     *simdisk.World
	disks [log.Devs]*simdisk.Disk
	d     Disks
	p     *Pool
	drv   *simdisk.Driver
	o     *simOracle
	rng   *rand.Rand // order of events and the content of raw writes
	nonce *rand.Rand
	slots []*simSlot

	reqs     []*simReq
	spare    []int
	flying   int
	ctl      *simControl
	at       int   // next step
	until    int64 // ns; a pause
	crash    *simStep
	moves    int // turns of re-placement until a power cut; 0: none comes
	reader   *simVerify
	rescued  int
	snapNo   int
	grew     int64  // bytes that the capacity device has more than at first
	power    bool   // the last process ended with the power
	replayed uint64 // sequence number of the last record that the last start found
	sequence uint64 // of the label when a growth was last answered
	lanes    uint   // numbers of lanes so far, as bits

	ended     int64 // ns; when something was submitted or ended last
	endedTurn int   // the turn
	spun      int   // turns since then that did nothing and wanted another

	away      bool           // a device has vanished
	noted     [log.Devs]int  // injected faults whose places are in damaged
	excused   bool           // an injected fault may have made the pool read-only
	mismatch  bool           // or have made reads be done again
	readFault bool           // a read has failed, or will, in this process
	nth       *nthRun        // of a run in which one operation, or all from one on, fails
	damaged   map[place]bool // pages of which a copy was damaged
	badLog    []string       // places of log blocks that were made unreadable
	scrubs    scrubWatch
	hash      uint64
	turns     int
	cover     simCover
	err       error
	trace     func(format string, args ...any)
}

// simCover counts what happened in a seed.
type simCover struct {
	ops         int // guest requests; not those of the verifier
	crashes     int // power cuts while the pool served
	deep        int // power cuts in recovery
	kills       int // process deaths
	checkpoints int
	wraps       int // times the whole log was written
	lanes       int // different numbers of lanes
	replaced    int // volumes removed and made anew
	snapshots   int
	groups      int // snapshots of several volumes
	diffs       int // comparisons
	clones      int
	rollbacks   int
	shared      int // blocks that volumes share, read from memory
	grown       int // times the pool was made larger
	moved       int // blocks that re-placement moved
	movesCut    int // ends of a process in the middle of that
	scrubs      int // that came to their end
	scrubbed    int // blocks that they read
	mended      int // bad copies of pages that they wrote anew
	stalls      int // times a full pool was made room in
	enospc      int // requests that a full pool refused
	faults      int // injected
	again       int // requests that a second process got too
	failed      int // reads that failed, as they had to
	injected    simInjected
	verifies    int // readings of everything
	checks      int
}

func (c *simCover) full() bool {
	return c.ops >= 500 && c.wraps > 0 && c.checkpoints > 0 && c.crashes+c.kills >= 2
}

func newSim(plan *simPlan) *sim {
	s := &sim{
		plan: plan, w: simdisk.NewWorld(plan.seed), o: newOracle(
			plan.format.Durability == DurabilityFlush),
		rng:     rand.New(rand.NewPCG(plan.seed, 0xa0761d6478bd642f)),
		nonce:   rand.New(rand.NewPCG(plan.seed, 0xe7037ed1a0b428db)),
		trace:   func(string, ...any) {},
		damaged: map[place]bool{},
	}
	s.disks[log.Fast] = s.w.NewDisk(plan.disks[log.Fast])
	s.disks[log.Capacity] = s.disks[log.Fast]
	if !plan.oneDisk {
		s.disks[log.Capacity] = s.w.NewDisk(plan.disks[log.Capacity])
	}
	s.d[log.Fast] = s.disks[log.Fast].Sync()
	s.d[log.Capacity] = s.d[log.Fast]
	if !plan.oneDisk {
		s.d[log.Capacity] = s.disks[log.Capacity].Sync()
	}
	for i := range plan.volumes {
		s.slots = append(s.slots, &simSlot{name: fmt.Sprintf("vol%d", i)})
	}
	return s
}

func (s *sim) random(b []byte) {
	for i := range b {
		b[i] = byte(s.nonce.Uint32())
	}
}

// caught makes a panic of the engine a failure like any other.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

// start formats the pool and opens it.
func (s *sim) start() error {
	cfg := s.plan.format
	cfg.Rand = s.random
	if err := Format(s.d, cfg); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	if err := s.reopen(nil); err != nil {
		return err
	}
	s.watch()
	return nil
}

// run performs the plan.
func (s *sim) run() (err error) {
	defer caught(&err)
	if err := s.start(); err != nil {
		return err
	}
	for s.err == nil && (!s.over() || s.plan.extend(&s.cover)) {
		if s.w.Off() {
			s.err = s.restart()
			continue
		}
		s.step()
	}
	if s.err == nil {
		s.err = s.finalCheck()
	}
	s.mix(s.w.Hash())
	for _, d := range s.distinct() {
		st := d.Stats()
		s.cover.injected.add(&st)
	}
	return s.err
}

func (s *sim) mix(x uint64) { s.hash = simMix(s.hash ^ x) }

func (s *sim) fail(err error) {
	if s.err == nil && err != nil {
		s.err = fmt.Errorf("step %d, %d ns: %w", s.at, s.w.Now(), err)
	}
}

// step is one turn of the loop that production's shard loop stands for, and what happens until the next.
func (s *sim) step() {
	if s.turn() {
		s.advance()
	}
}

// turn is the turn alone. It reports whether time is to pass before the next one.
func (s *sim) turn() bool {
	s.turns++
	s.p.Tick(s.w.Now() + 1)
	issued := s.issue()
	if s.w.Off() || s.err != nil {
		return false
	}
	more := s.p.Run()
	if s.cutMoves() {
		return false
	}
	pumped := s.drv.Pump()
	ended := s.reap()
	s.fail(s.p.promises())
	s.fail(s.watchScrub())
	if issued || ended {
		s.ended, s.endedTurn = s.w.Now(), s.turns
	}
	if issued || ended || pumped > 0 || !more {
		s.spun = 0
	} else if s.spun++; s.spun > simPatientTurns {
		s.stuck()
		return false
	}
	if s.w.Off() || s.err != nil || issued || more || pumped > 0 || ended {
		return false
	}
	if busy := s.flying > 0 || s.ctl != nil; busy &&
		(s.w.Now()-s.ended > simPatience || s.turns-s.endedTurn > simPatientTurns) {
		s.ended, s.endedTurn = s.w.Now(), s.turns
		s.stuck()
		return false
	}
	return true
}

// simPatience is how long nothing may end although something is under way, in ns, and
// simPatientTurns for how many turns.
const (
	simPatience     = 600_000_000_000
	simPatientTurns = 100_000
)

// advance lets time pass until the next thing happens.
func (s *sim) advance() {
	at, has := s.w.Next()
	for _, t := range [...]int64{s.p.Deadline(), s.until} {
		if t > s.w.Now() && (!has || t < at) {
			s.w.Advance(t)
			return
		}
	}
	if !has {
		s.stuck()
		return
	}
	for range 1 + s.rng.IntN(s.plan.batch) {
		if !s.w.Step() || s.w.Off() {
			return
		}
	}
	if s.turns > 3_000_000 {
		s.fail(errors.New("the simulation does not come to an end: " + s.backState()))
	}
}

// watch counts what the devices are asked for: openings of segments and roots.
func (s *sim) watch() {
	l := s.p.label
	area, seg := int64(l.LogOffset), int64(l.SegmentBlocks)*log.BlockSize
	opened := 0
	s.w.Observe(func(e simdisk.Event) {
		if e.Kind != log.Write || !e.Done || e.Disk != s.disks[log.Fast] {
			return
		}
		switch at := e.Off - area; {
		case at >= 0 && at < seg*int64(l.Segments) && at%seg == 0:
			opened++
			s.cover.wraps = opened / int(l.Segments)
		case e.Off == rootOffset(&l, log.Fast, 0), e.Off == rootOffset(&l, log.Fast, 1):
			s.cover.checkpoints++
		}
	})
}

// backState describes the back end, for messages.
func (s *sim) backState() string {
	b := &s.p.back
	return fmt.Sprintf("back end: phase %d, pending %d, waiting %v, tight %v, drain %v, wanted %v, "+
		"changed %v, %d entries and %d extents left", b.phase, b.pending, b.waiting, b.tight, b.drain,
		b.wanted, b.changed, s.p.index.len(), s.p.zeros.len())
}

// reap takes what the pool has finished.
func (s *sim) reap() bool {
	some := false
	for r := s.p.NextDone(); r != nil; r = s.p.NextDone() {
		some = true
		s.mix(r.Tag<<32 | uint64(r.Err))
		s.done(s.reqs[r.Tag])
	}
	for c := s.p.NextControl(); c != nil; c = s.p.NextControl() {
		some = true
		if s.ctl == nil || c != &s.ctl.Control {
			s.fail(errors.New("an unknown control operation ended"))
			return true
		}
		s.mix(uint64(c.Op))
		ctl := s.ctl
		s.ctl = nil
		s.fail(s.controlDone(ctl))
	}
	return some
}

// take returns a free request.
func (s *sim) take() *simReq {
	if len(s.spare) == 0 {
		s.spare = append(s.spare, len(s.reqs))
		s.reqs = append(s.reqs, new(simReq))
	}
	i := s.spare[len(s.spare)-1]
	s.spare = s.spare[:len(s.spare)-1]
	q := s.reqs[i]
	q.Tag, q.busy, q.since = uint64(i), true, s.w.Now()
	q.op, q.read = nil, nil
	s.flying++
	return q
}

func (s *sim) release(q *simReq) {
	q.busy = false
	s.spare = append(s.spare, int(q.Tag))
	s.flying--
	q.slot.open--
}

// simJunk is what a buffer holds that nobody has filled.
var simJunk = bytes.Repeat([]byte{0xA5}, log.BlockSize)

// buffer lends q a buffer of n bytes full of garbage.
func (q *simReq) buffer(n int64) []byte {
	if int64(len(q.mem)) < n {
		q.mem = simdisk.Buffer(int(n))
	}
	b := q.mem[:n]
	for i := 0; i < len(b); i += len(simJunk) {
		copy(b[i:], simJunk)
	}
	return b
}

// submit hands a guest's request to the pool.
func (s *sim) submit(slot *simSlot, st *simStep) { s.submitLike(slot, st, s.rawBytes(st), 0) }

// submitLike does so with what a write is to hold: raw bytes, or the stamps of an earlier one; 0: its own.
func (s *sim) submitLike(slot *simSlot, st *simStep, raw []byte, stamp uint32) {
	q := s.take()
	q.slot = slot
	slot.open++
	q.Kind, q.FUA, q.Vol, q.Off, q.Len, q.Buf = st.kind, st.fua, slot.vol, st.off, st.n, nil
	v := slot.o
	switch st.kind {
	case Read:
		q.Buf = q.buffer(Span(q.Off, q.Len))
		q.read = v.beginRead(q.Off, q.Len)
	case Flush:
		q.Off, q.Len = 0, 0
		q.submit = s.o.tick()
	case Write:
		q.Buf = q.buffer(Span(q.Off, q.Len))
		q.op = v.submit(Write, q.Off, q.Len, st.fill, raw, q.FUA)
		if stamp != 0 {
			q.op.stamp = stamp
		}
		b := q.Buf[q.Off%log.BlockSize:]
		for i := range q.op.n {
			q.op.render(b[i*SectorSize:(i+1)*SectorSize], q.op.first+i)
		}
	default:
		if st.kind == WriteZeroes {
			q.Buf = q.buffer(2 * log.BlockSize)
		}
		q.op = v.submit(st.kind, q.Off, q.Len, fillZero, nil, q.FUA)
	}
	if s.reader == nil {
		s.cover.ops++
	}
	if q.Tag%2 == 0 {
		q.Sum()
	}
	s.trace("%d: submit %s %d+%d tag %d op %v", s.w.Now(), q.Kind, q.Off, q.Len, q.Tag, q.opID())
	s.p.Submit(&q.Request)
}

func (q *simReq) opID() uint32 {
	if q.op == nil {
		return 0
	}
	return q.op.id
}

// rawBytes returns what a guest copies that has seen the log: a piece of it, as it stands there.
func (s *sim) rawBytes(st *simStep) []byte {
	if st.fill != fillRaw {
		return nil
	}
	raw := make([]byte, st.n)
	block := simdisk.Buffer(log.BlockSize)
	blocks := int64(s.p.label.LogBlocks())
	at := s.rng.Int64N(blocks)
	for i := int64(0); i < st.n; i += log.BlockSize {
		off := int64(s.p.label.LogOffset) + (at+i/log.BlockSize)%blocks*log.BlockSize
		s.disks[log.Fast].Peek(block, off)
		copy(raw[i:], block)
	}
	return raw
}

// done checks the answer to a request with the oracle.
func (s *sim) done(q *simReq) {
	s.trace("%d: done %s tag %d op %d: %v", s.w.Now(), q.Kind, q.Tag, q.opID(), q.Err)
	v := q.slot.o
	var err error
	switch {
	case q.Kind == Read && q.Err != 0:
		s.cover.failed++
		if v.endRead(q.read); !s.nth.excuses(q) && !s.wideError(q) {
			err = v.failedRead(q.read, q.Err)
		}
	case q.Kind == Read:
		err = v.check(q.read, q.Buf[q.Off%log.BlockSize:])
	case q.Err != 0:
		err = s.failedChange(q)
	case q.Kind == Flush:
		v.flushed(q.submit)
	default:
		v.ack(q.op)
	}
	clear(q.Buf) // nobody may look at it any more
	s.release(q)
	s.fail(err)
}

// failedChange decides whether a request that changes something may have failed.
func (s *sim) failedChange(q *simReq) error {
	v := q.slot.o
	switch {
	case s.nth.excuses(q):
		if q.op != nil && q.Err == syscall.EROFS {
			v.refused(q.op)
		}
		return nil
	case q.op != nil && q.Err == syscall.ENOSPC && s.opt().OnFull == FullFails:
		s.cover.enospc++
		v.refused(q.op)
		return nil
	case q.Err == syscall.EIO && q.op != nil && v.hasLost(q.op.first, q.op.n, q.op.submit):
		v.refused(q.op)
		return nil
	case q.Err == syscall.EROFS && s.excused && s.p.Status().ReadOnly != nil:
		if q.op != nil {
			v.refused(q.op)
		}
		return nil
	case q.Err == syscall.EIO && s.excused:
		return nil // it may be found after a restart, or not
	case q.op != nil && s.wideError(q):
		v.refused(q.op) // it could not be merged with what is there
		return nil
	}
	return fmt.Errorf("%s: %s of %d bytes at %d: %w (%v)",
		v.name, q.Kind, q.Len, q.Off, q.Err, s.p.stats.LastError)
}
