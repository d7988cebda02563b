package placement

import (
	"fmt"
	"syscall"

	"unblend/log"
	"unblend/log/simdisk"
)

// One fixed workload, in which the n-th operation of a device of one kind fails, once, or with all that
// come after it. Guests and the operator may be told that something failed; what they are told to have
// been done has been done. Then the device is whole again, the pool opens, is clean, and has all that was
// acknowledged.

// nthFault names a fault: where, what, which.
type nthFault struct {
	dev    log.Dev
	kind   log.Kind
	sticky bool
	n      int
}

func (f nthFault) String() string {
	how := "once"
	if f.sticky {
		how = "sticky"
	}
	return fmt.Sprintf("%s/%s/%s/%d", f.dev, f.kind, how, f.n)
}

// nthOutcome is the gravest that anybody was told.
type nthOutcome uint8

const (
	nthNotReached  nthOutcome = iota // the workload has no such operation
	nthUnnoticed                     // all succeeded, with the right data
	nthGuestError                    // a guest got an error
	nthControl                       // an operator did, of a pool that goes on
	nthReadOnly                      // the pool is read-only, with its reason in the status
	nthRefusedOpen                   // a start was refused
	nthOutcomes
)

func (o nthOutcome) String() string {
	return [...]string{
		"not reached", "unnoticed", "error to a guest", "error to the operator", "read-only",
		"refused open",
	}[o]
}

// nthRun is a run with such a fault.
type nthRun struct {
	*sim
	nthFault
	told  func(string, ...any) // of all that happens; may be nil
	whole bool                 // the device is whole again

	errors int         // requests of guests that failed
	ctl    *simControl // the operation that failed, which may have happened
	stop   error       // its error
	no     error       // why a start was refused
}

// struck reports whether the fault has happened to an operation, and may still show.
func (r *nthRun) struck() bool { return r != nil && len(r.disks[r.dev].Injected()) > 0 }

// excuses reports whether a guest's error may come of the fault.
func (r *nthRun) excuses(q *simReq) bool {
	switch {
	case !r.struck() || r.whole:
		return false
	case q.Err == syscall.EIO, q.Err == syscall.EROFS && r.p.Status().ReadOnly != nil:
		r.errors++
		return true
	}
	return false
}

// stopped notes that a control operation failed, if it may: the workload ends there.
func (r *nthRun) stopped(c *simControl) bool {
	if !r.struck() || r.whole {
		return false
	}
	r.ctl, r.stop = c, c.Err
	return true
}

// refused notes that a start was refused, if it may be: the workload ends there.
func (r *nthRun) refused(err error) {
	if r.struck() && !r.whole {
		r.no = err
	}
}

// nthPlan is the workload: writes, merges and discards on a volume, its snapshot and a clone; destage,
// checkpoints, a removal and its walk, re-placement; an orderly end, a process death, and recoveries.
func nthPlan() *simPlan {
	const block = log.BlockSize
	io := func(slot int, kind Kind, off, n int64) simStep {
		return simStep{do: stepIO, slot: slot, kind: kind, off: off, n: n}
	}
	steps := []simStep{createVol(0), createVol(1)}
	scatter := func(slot int) { // two goes of a few blocks each, so that neither gets a home
		for i := range int64(20) {
			if i%10 == 0 {
				steps = append(steps, simStep{do: stepDrain})
			}
			steps = append(steps, io(slot, Write, (i%10*2+i/10)*block, block))
		}
		steps = append(steps, simStep{do: stepDrain})
	}
	scatter(0)
	steps = append(steps,
		io(1, Write, 512, 3*block), simStep{do: stepCheckpoint},
		simStep{do: stepSnapshot, at: 0}, // of both
		simStep{do: stepClone, slot: 2, depth: 8}, simStep{do: stepAttach, slot: 2},
		io(2, Write, 5*block-512, 1024), io(0, Write, 0, 4*block), io(1, Discard, block, 2*block),
		simStep{do: stepVerify}, simStep{do: stepDrain},
		io(0, Write, 2*block, 2*block), io(2, WriteZeroes, 512, 2*block), io(2, Flush, 0, 0),
		simStep{do: stepKill, verify: true},
		io(0, Write, 3*block, block+512), simStep{do: stepUnsnap, at: 0}, simStep{do: stepDrain},
		simStep{do: stepDetach, slot: 2}, simStep{do: stepRemove, slot: 2},
		simStep{do: stepUnsnap, at: 0}, simStep{do: stepDrain},
		simStep{do: stepPause, wait: 10_000_000_000}, // the walks, and re-placement
		simStep{do: stepVerify}, io(1, Write, 7*block, block), simStep{do: stepShutdown, verify: true},
		io(0, Write, 9*block, block), simStep{do: stepCheckpoint}, io(1, Write, 0, block),
		simStep{do: stepVerify})
	p := simCasePlan(steps...)
	p.volumes, p.reach = 3, 64*block
	return p
}

// run does the workload with the fault, and then looks at what is left on devices that are whole.
func (r *nthRun) run() (out nthOutcome, err error) {
	defer caught(&err)
	r.sim = newSim(nthPlan())
	if r.told != nil {
		r.trace = r.told
	}
	r.sim.nth, r.mismatch, r.plan.faults = r, true, []simFault{faultRead}
	if err := r.start(); err != nil {
		return nthNotReached, err
	}
	r.disks[r.dev].Inject(simdisk.Fault{
		Do:    [...]simdisk.FaultKind{simdisk.FailRead, simdisk.FailWrite, simdisk.FailFlush}[r.kind],
		After: r.n, Sticky: r.sticky,
	})
	for r.err == nil && r.stop == nil && !r.over() {
		r.step()
	}
	out = r.outcome()
	if r.no != nil {
		r.err = nil
	}
	if r.err != nil || out == nthNotReached {
		return out, r.err
	}
	if r.no == nil {
		r.verify(nil) // what can be read is right
		r.settle()
	}
	if r.err == nil {
		r.heal()
	}
	return out, r.err
}

// outcome says what the workload has shown.
func (r *nthRun) outcome() nthOutcome {
	switch {
	case !r.struck():
		return nthNotReached
	case r.no != nil:
		return nthRefusedOpen
	case r.p.Status().ReadOnly != nil:
		return nthReadOnly
	case r.stop != nil:
		return nthControl
	case r.errors > 0:
		return nthGuestError
	}
	return nthUnnoticed
}

// heal makes the device whole, ends the process, after a failed flush with the power, and goes on.
func (r *nthRun) heal() {
	r.disks[r.dev].Disarm()
	r.whole, r.ended = true, r.w.Now()
	r.sim.ctl = r.ctl
	st := &simStep{do: stepKill, verify: true, check: true}
	if r.kind == log.Flush || r.n%2 == 1 {
		st.do = stepCrash
		r.w.Crash(simdisk.KeepNone)
	} else {
		r.w.Kill(0)
	}
	if r.fail(r.begin(st, st.do == stepCrash)); r.err != nil {
		return
	}
	if r.settle(); r.err != nil {
		return
	}
	if why := r.p.Status().ReadOnly; why != nil {
		r.fail(fmt.Errorf("the pool is read-only on whole devices: %w", why))
		return
	}
	r.plan.steps = append(r.plan.steps[:0], simStep{do: stepIO, kind: Write, off: 512, n: 8192})
	r.at, r.until = 0, 0
	for r.err == nil && !r.over() {
		r.step()
	}
	if r.err == nil {
		r.fail(r.finalCheck())
	}
}

// judge holds the outcome against what the fault may do. A failed flush never goes unnoticed: it would
// have been tried again, and what it should have made durable may be gone. A read that fails once does.
func (f nthFault) judge(out nthOutcome) error {
	stopped := out == nthReadOnly || out == nthRefusedOpen
	switch {
	case f.kind == log.Flush && stopped, f.kind == log.Write && (stopped || out == nthUnnoticed):
		return nil
	case f.kind == log.Read && (f.sticky || out == nthUnnoticed):
		return nil
	}
	return fmt.Errorf("what came of it is: %v", out)
}
