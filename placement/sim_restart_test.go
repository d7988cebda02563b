package placement

import (
	"fmt"
	"math/bits"
	"strings"

	"unblend/log"
	"unblend/log/simdisk"
)

// opt returns the settings of the present start.
func (s *sim) opt() Options { return s.p.opt }

// crashNow ends the process as a step says. A power cut some operations ahead comes on its own.
func (s *sim) crashNow(st *simStep) {
	s.crash = st
	if st.do == stepCrash && st.moves > 0 {
		s.moves = st.moves
		return
	}
	if st.do == stepCrash && st.after > 0 {
		s.w.CrashAfter(st.after, nil)
		return
	}
	if st.do == stepCrash {
		s.w.Crash(nil)
		return // run notices
	}
	s.mix(uint64(st.do))
	s.w.Kill(st.wait)
	if st.do == stepKill {
		s.cover.kills++
	}
	again := s.unanswered(st)
	if s.err = s.begin(st, false); s.err == nil && !s.w.Off() {
		s.giveAgain(again)
	}
}

// simAgain is a request that the kernel gives to the next process too.
type simAgain struct {
	slot *simSlot
	op   *simOp
	st   simStep
}

// unanswered returns the changes that a process which dies has not answered: a ublk device that outlives
// its server gives them to the next one (UBLK_F_USER_RECOVERY_REISSUE). In half of the cases the guest
// has given up meanwhile.
func (s *sim) unanswered(st *simStep) (again []simAgain) {
	if st.do != stepKill || st.at%2 == 1 || s.nth != nil {
		return nil
	}
	for _, q := range s.reqs {
		if q.busy && q.op != nil {
			again = append(again, simAgain{q.slot, q.op, simStep{
				do: stepIO, kind: q.Kind, fua: q.FUA, off: q.Off, n: q.Len, fill: q.op.fill,
			}})
		}
	}
	return again
}

// giveAgain submits them to the process that has recovered the pool.
func (s *sim) giveAgain(again []simAgain) {
	for i := range again {
		if a := &again[i]; a.slot.o == a.op.vol && a.slot.vol != nil && a.slot.attached {
			s.submitLike(a.slot, &a.st, a.op.raw, a.op.stamp)
			s.cover.again++
		}
	}
}

// restart follows a power cut.
func (s *sim) restart() error {
	s.cover.crashes++
	return s.begin(s.crash, true)
}

// noMismatch checks that no read had to be done again and nothing was found damaged, unless a fault
// was injected.
func (s *sim) noMismatch() error {
	st := &s.p.stats
	s.cover.shared += int(st.SharedHits)
	if n := st.Mismatches; n > 0 && !s.mismatch {
		return fmt.Errorf("step %d: %d reads had to be done again", s.at, n)
	}
	if s.plan.faults == nil && st.ReadErrors+st.LostBlocks+st.BadBlocks+st.PageDamage > 0 {
		return fmt.Errorf("step %d: damage, but no fault was injected: %+v", s.at, *st)
	}
	return nil
}

// countMoves is called at the end of a process.
func (s *sim) countMoves() {
	s.cover.moved += int(s.p.stats.ReplacedBlocks)
	if s.p.Status().Replacing {
		s.cover.movesCut++
	}
}

// cutMoves cuts the power in the middle of re-placement, if a step has asked for that.
func (s *sim) cutMoves() bool {
	if s.moves == 0 || !s.p.Status().Replacing {
		return false
	}
	s.moves--
	if s.moves == 0 {
		s.w.Crash(nil)
	}
	return s.w.Off()
}

// begin starts a new process over what the last left.
func (s *sim) begin(st *simStep, power bool) error {
	if err := s.noMismatch(); err != nil {
		return err
	}
	s.countMoves()
	if st != nil && st.root {
		s.damageRoot(st.at)
	}
	s.forget(power)
	if err := s.reopen(st); err != nil {
		return err
	}
	if st == nil || s.w.Off() {
		return nil
	}
	if st.do == stepShutdown && !s.p.root.Clean {
		return fmt.Errorf("step %d: the last root does not say that the pool was shut down", s.at)
	}
	if st.verify {
		s.verify(nil)
	}
	return nil
}

// forget drops what was under way; the oracle keeps the possible outcomes.
func (s *sim) forget(power bool) {
	power = power || s.away // of the device that went
	s.excused, s.readFault, s.away, s.power = false, false, false, power
	for _, d := range s.distinct() {
		d.Return()
		if s.nth == nil {
			d.Disarm()
		}
	}
	s.reqs, s.spare, s.flying, s.reader, s.until = nil, nil, 0, nil, 0
	s.moves = 0
	for _, slot := range s.slots {
		slot.open = 0
		if slot.vol != nil {
			slot.id, slot.vol = slot.vol.node.rec.ID, nil
		}
		if slot.o != nil {
			slot.o.crash(power)
		}
	}
}

func (s *sim) distinct() []*simdisk.Disk {
	if s.plan.oneDisk {
		return s.disks[:1]
	}
	return s.disks[:]
}

// reopen recovers the pool, while the power fails again as often as st says.
func (s *sim) reopen(st *simStep) error {
	var again []int
	if st != nil {
		again = st.again
	}
	for {
		s.w.Restart()
		if len(again) > 0 {
			s.w.CrashAfter(again[0], nil)
			again = again[1:]
		}
		p, err := s.open()
		if s.w.Off() {
			s.cover.deep++
			s.forget(true)
			continue
		}
		s.w.CrashAfter(0, nil)
		if err != nil {
			s.nth.refused(err)
			return fmt.Errorf("step %d: open: %w", s.at, err)
		}
		s.p, s.replayed = p, p.ring.LastPublished()
		s.trace("%d: opened: generation %d clean %v %+v", s.w.Now(), p.root.Generation, p.root.Clean, p.replayed)
		break
	}
	s.scrubs = scrubWatch{}
	under := map[log.Token]*log.Op{}
	s.drv = s.w.Drive(func() *log.Op {
		op := s.p.NextOp()
		if op != nil {
			under[op.Token] = op
		}
		return op
	}, func(t log.Token, res int32) {
		if op := under[t]; op.Sums && t>>32%2 == 0 && int64(res) == op.Len() {
			op.Sum()
		}
		delete(under, t)
		s.p.Complete(t, res)
	}, s.disks[log.Fast], s.disks[log.Capacity])
	if err := s.keptSize(); err != nil {
		return err
	}
	if err := s.adopt(); err != nil {
		return err
	}
	if st != nil && st.check {
		return s.check(s.cover.checks%4 == 0)
	}
	return nil
}

// open waits for the operations of the process before, as the claim of the devices does, and
// opens the pool.
func (s *sim) open() (*Pool, error) {
	for _, d := range s.distinct() {
		if err := d.Settle(); err != nil {
			return nil, err
		}
	}
	n := min(s.cover.crashes+s.cover.kills+s.cover.deep, len(s.plan.opens)-1)
	opt := s.plan.opens[n]
	s.lanes |= 1 << opt.Lanes
	s.cover.lanes = bits.OnesCount(s.lanes)
	opt.Rand, opt.Wall = s.random, func() int64 { return 1_700_000_000 }
	return Open(s.d, opt)
}

// adopt compares the volumes that the pool has with those that it must or may have, and takes
// them into use.
func (s *sim) adopt() error {
	s.o.born = s.o.tick()
	ctl := s.ctl
	s.ctl, s.crash = nil, nil
	infos := map[string]VolumeInfo{}
	for _, in := range s.p.Volumes(false) {
		infos[in.Name] = in
	}
	if err := s.adoptTree(ctl, infos); err != nil {
		return err
	}
	for _, slot := range s.slots {
		in, has := infos[slot.name]
		delete(infos, slot.name)
		if err := s.adoptSlot(slot, in, has, ctl); err != nil {
			return err
		}
	}
	if len(infos) > 0 {
		return fmt.Errorf("after recovery: unknown volumes: %v", infos)
	}
	return nil
}

func (s *sim) adoptSlot(slot *simSlot, in VolumeInfo, has bool, ctl *simControl) error {
	undecided := slot.maybe
	slot.maybe = false
	if slot.o != nil {
		slot.o.recovered()
	}
	switch {
	case !has && slot.o == nil:
		return nil
	case !has:
		return fmt.Errorf("after recovery: volume %s is missing", slot.name)
	case slot.o == nil && !(undecided && ctl.Op == CreateVolume):
		return fmt.Errorf("after recovery: volume %s should not be there", slot.name)
	case slot.o == nil:
		slot.created(s.o, ctl)
	}
	switch {
	case undecided && (ctl.Op == AttachVolume || ctl.Op == DetachVolume):
		slot.attached = in.Attached
	case in.Attached != slot.attached:
		return fmt.Errorf("after recovery: volume %s: attached %v", slot.name, in.Attached)
	}
	if in.Size != slot.size {
		return fmt.Errorf("after recovery: volume %s: size %d, want %d", slot.name, in.Size, slot.size)
	}
	if !undecided && in.QueueDepth != slot.depth {
		return fmt.Errorf("after recovery: volume %s: depth %d, want %d",
			slot.name, in.QueueDepth, slot.depth)
	}
	slot.vol, slot.depth = s.p.Volume(slot.name), in.QueueDepth
	s.home(slot)
	return nil
}

// check runs the offline check over a pool that is at rest.
func (s *sim) check(data bool) error {
	s.cover.checks++
	opt := s.opt()
	rep, err := Check(s.d, CheckOptions{
		Data: data, entries: min(max(opt.IndexEntries, 16*opt.Extents), 1<<16),
	})
	if s.w.Off() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("step %d: check: %w", s.at, err)
	}
	var bad []string
	for _, pr := range rep.Problems {
		if !s.excusedProblem(pr) {
			bad = append(bad, pr.String())
		}
	}
	for _, pr := range rep.Notes {
		if pr.Structure == "counts" {
			bad = append(bad, pr.String())
		}
	}
	if bad != nil {
		return fmt.Errorf("step %d: check: %s", s.at, strings.Join(bad, "; "))
	}
	return nil
}

// over reports whether the plan has been done.
func (s *sim) over() bool {
	return s.at >= len(s.plan.steps) && s.flying == 0 && s.ctl == nil && s.reader == nil &&
		!s.w.Off() && s.w.Now() >= s.until
}

// finalCheck reads everything, destages everything, and looks at the devices again.
func (s *sim) finalCheck() error {
	if s.excused { // what stopped the pool ends with the process
		s.crashNow(&simStep{do: stepKill})
	}
	for _, end := range [...]ControlOp{Drain, Shutdown} {
		s.w.CrashAfter(0, nil)
		s.moves = 0 // no power cut in the middle of re-placement either
		s.verify(nil)
		s.settle()
		if s.err == nil {
			s.fail(s.compareAll())
		}
		if s.err == nil {
			s.control(&simControl{
				Control: Control{Op: end}, step: &simStep{do: stepShutdown, verify: true, check: true},
			})
			s.settle()
		}
		if s.p.pageNeed != 0 && !s.p.back.backlog() {
			s.fail(fmt.Errorf("%d pages are promised, but nothing is in the log", s.p.pageNeed))
		}
		if s.err != nil {
			return s.err
		}
	}
	for s.err == nil && s.p.back.phase != backIdle { // no root is to be under way
		if s.turn() && s.p.back.phase != backIdle {
			s.advance()
		}
	}
	for _, hold := range []func() error{
		s.noMismatch, func() error { return s.check(true) }, s.scrubAtRest,
	} {
		if s.err == nil {
			s.err = hold()
		}
	}
	return s.err
}

// settle runs until nothing is under way.
func (s *sim) settle() {
	for s.err == nil && (s.flying > 0 || s.ctl != nil || s.reader != nil) {
		s.step()
	}
}
