package placement

import (
	"errors"
	"fmt"

	"unblend/log"
)

// issue does the steps that can be done now, in their order, and reports whether it did any.
func (s *sim) issue() bool {
	some := false
	for s.err == nil && !s.w.Off() {
		if s.reader != nil {
			return s.reader.issue() || some
		}
		if s.w.Now() < s.until || s.at >= len(s.plan.steps) {
			return some
		}
		st := &s.plan.steps[s.at]
		if !s.ready(st) {
			return some
		}
		s.at++
		some = true
		s.perform(st)
	}
	return some
}

// ready reports whether what a step needs is the case: room in the queue of its volume, or that
// nothing is under way.
func (s *sim) ready(st *simStep) bool {
	slot := s.slots[st.slot]
	switch st.do {
	case stepIO:
		if s.ctl != nil && s.ctl.slot == slot {
			return false
		}
		return slot.o == nil || slot.vol == nil || slot.open < slot.depth
	case stepCreate, stepAttach, stepCheckpoint, stepDrain, stepSnapshot, stepClone, stepUnsnap,
		stepResize, stepGrow, stepScrub:
		return s.ctl == nil
	case stepDetach, stepRemove, stepRollback:
		return s.ctl == nil && slot.open == 0
	case stepVerify, stepShutdown:
		return s.ctl == nil && s.flying == 0
	}
	return true
}

func (s *sim) perform(st *simStep) {
	slot := s.slots[st.slot]
	if st.do != stepIO {
		s.trace("%d: step %d: %v", s.w.Now(), s.at-1, *st)
	}
	switch st.do {
	case stepIO:
		s.guest(slot, st)
	case stepCreate, stepRemove, stepAttach, stepDetach, stepCheckpoint, stepDrain:
		s.operate(slot, st)
	case stepSnapshot, stepClone, stepRollback, stepUnsnap, stepResize:
		s.operateTree(slot, st)
	case stepGrow:
		s.grow(st)
	case stepScrub:
		s.scrub(st)
	case stepPause:
		s.until = s.w.Now() + st.wait
	case stepVerify:
		s.verify(nil)
	case stepShutdown:
		s.control(&simControl{Control: Control{Op: Shutdown}, step: st})
	case stepCrash, stepKill:
		s.crashNow(st)
	case stepFault:
		s.injectFault(st)
	}
}

// guest submits a request, cut to the size that the volume has now.
func (s *sim) guest(slot *simSlot, st *simStep) {
	if slot.o == nil || slot.vol == nil || !slot.attached || slot.snap {
		return
	}
	q := *st
	q.off %= slot.size
	q.n = min(q.n, slot.size-q.off)
	s.submit(slot, &q)
}

// operate begins a control operation, if it makes sense now.
func (s *sim) operate(slot *simSlot, st *simStep) {
	c := &simControl{}
	if st.do != stepCheckpoint && st.do != stepDrain {
		c.slot = slot
	}
	c.Name, c.QueueDepth, c.Device, c.Time = slot.name, st.depth, int32(st.slot), 1_700_000_000
	switch st.do {
	case stepCreate:
		if slot.o != nil {
			return
		}
		c.Op, c.Size, c.Attach = CreateVolume, st.n, true
	case stepRemove:
		if slot.o == nil || slot.attached {
			return
		}
		c.Op, c.Name = RemoveVolume, ""
		c.slots = append(s.snaps(slot), slot)
		for _, t := range c.slots {
			c.Names = append(c.Names, t.name)
		}
		c.slot = nil
	case stepAttach:
		if slot.o == nil {
			return
		}
		c.Op = AttachVolume
	case stepDetach:
		if slot.o == nil || !slot.attached {
			return
		}
		c.Op = DetachVolume
	case stepCheckpoint:
		c.Op = Checkpoint
	case stepDrain:
		c.Op = Drain
	}
	if c.slot != nil {
		slot.maybe = true
	}
	s.control(c)
}

func (s *sim) control(c *simControl) {
	s.ctl = c
	s.p.Control(&c.Control)
}

// controlDone notes what a finished control operation changed.
func (s *sim) controlDone(c *simControl) error {
	s.trace("%d: control %d done: %v", s.w.Now(), c.Op, c.Err)
	if errors.Is(c.Err, ErrFull) {
		s.treeFailed(c)
		return nil
	}
	if c.Op == StartScrub || c.Op == StopScrub {
		if c.Err == nil || !s.excused {
			return s.scrubDone(c)
		}
	}
	if c.Err != nil {
		if s.nth.stopped(c) {
			return nil
		}
		if s.away || s.excused && (errors.Is(c.Err, ErrReadOnly) || errors.Is(c.Err, log.ErrLaneDead)) {
			s.ctl = c // it may have happened
			s.crashNow(&simStep{do: stepKill, verify: true, check: true})
			return nil
		}
		return fmt.Errorf("control operation %d (%s): %w", c.Op, c.Name, c.Err)
	}
	if c.Op == Shutdown {
		s.trace("shutdown: generation %d clean %v; %s", s.p.root.Generation, s.p.root.Clean, s.backState())
		s.crashNow(c.step)
		return nil
	}
	if c.Op == GrowPool {
		return s.grown(c)
	}
	slot := c.slot
	if slot == nil && len(c.slots) == 0 {
		return nil
	}
	if slot != nil {
		slot.maybe = false
	}
	switch c.Op {
	case SnapshotVolume, CloneVolume, RollbackVolume, ResizeVolume, RemoveVolume:
		if c.Op == RemoveVolume && c.Name == "" {
			s.cover.replaced++
		}
		s.treeDone(c, false)
	case CreateVolume:
		slot.created(s.o, c)
	case AttachVolume:
		slot.attached, slot.vol = true, c.Vol
		s.home(slot)
		if c.QueueDepth > 0 {
			slot.depth = c.QueueDepth
		}
	case DetachVolume:
		slot.attached = false
	}
	return nil
}

// home puts a volume that nobody uses into some lane, as the thread does that takes its device.
func (s *sim) home(slot *simSlot) {
	if slot.open == 0 {
		s.p.Home(slot.vol, int(simMix(uint64(s.w.Now())+s.plan.seed)%16))
	}
}

func (t *simSlot) created(o *simOracle, c *simControl) {
	t.o = o.create(t.name, c.Size)
	t.size, t.depth = c.Size, c.QueueDepth
	t.vol, t.attached, t.maybe = c.Vol, true, false
}

func (t *simSlot) removed() {
	t.o, t.vol, t.attached, t.maybe = nil, nil, false, false
}

// simVerify reads all volumes through the pool and lets the oracle look.
type simVerify struct {
	s     *sim
	slot  int
	chunk int
	block int64
	then  func()
}

// verify begins to read everything; nothing else goes on meanwhile.
func (s *sim) verify(then func()) {
	s.cover.verifies++
	s.reader = &simVerify{s: s, then: then}
}

// verifyDepth is how many reads the verifier keeps under way.
const verifyDepth = 8

// issue submits the next reads and notices the end.
func (x *simVerify) issue() bool {
	s, some := x.s, false
	for s.flying < verifyDepth && s.err == nil && !s.w.Off() {
		off, n, ok := x.next()
		if !ok {
			break
		}
		s.submit(s.slots[x.slot], &simStep{do: stepIO, kind: Read, off: off, n: n})
		some = true
	}
	if s.flying > 0 || x.slot < len(s.slots) {
		return some
	}
	s.reader = nil
	for _, slot := range s.slots {
		if slot.o != nil && s.err == nil {
			s.fail(slot.o.verified())
		}
	}
	s.fail(s.verifiedTogether())
	if x.then != nil {
		x.then()
	}
	return true
}

// next returns the next range to read. Of what was never touched a sample is enough.
func (x *simVerify) next() (off, n int64, ok bool) {
	s := x.s
	for ; x.slot < len(s.slots); x.slot, x.chunk = x.slot+1, 0 {
		slot := s.slots[x.slot]
		if slot.o == nil || slot.vol == nil {
			continue
		}
		for chunks := len(slot.o.seen.chunks); x.chunk < chunks; x.chunk, x.block = x.chunk+1, 0 {
			start := int64(x.chunk) * simChunk * SectorSize
			end := min(start+simChunk*SectorSize, slot.size)
			if s.plan.reach > 0 {
				end = min(end, s.plan.reach)
			}
			if !slot.o.seen.touched(x.chunk) {
				if x.chunk%64 != 0 {
					continue
				}
				end = start + log.BlockSize
			}
			off = start + x.block
			if off >= end {
				continue
			}
			n = min(end-off, s.plan.maxSpan, MaxIO)
			x.block += n
			return off, n, true
		}
	}
	return 0, 0, false
}
