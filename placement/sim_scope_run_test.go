package placement

import (
	"errors"
	"fmt"

	"unblend/log"
)

// scopeRun is one run of a sequence.
type scopeRun struct {
	*sim
	c      *scopeConfig
	moment int
	seen   uint64 // hash of the world at the last moment
	visit  func() // called at every moment of the last letter; nil before that
	idle   bool   // a letter was asked for that makes no sense, or left no trace
}

func newScopeRun(c *scopeConfig) *scopeRun {
	return &scopeRun{sim: newSim(c.plan()), c: c}
}

// live does a sequence, with visit called at every moment of its last letter, and returns whether
// each letter had something to do. It ends early when the power goes.
func (x *scopeRun) live(letters string, visit func()) bool {
	if x.fail(x.start()); x.err != nil {
		return false
	}
	x.append(simStep{do: stepCreate, n: 1 << 20, depth: 8})
	x.rest()
	for _, l := range x.c.before {
		x.letter(byte(l))
		x.rest()
	}
	for i := range letters {
		ops := x.submitted()
		if i == len(letters)-1 {
			x.visit = visit
		}
		if x.letter(letters[i]); i == len(letters)-1 || !x.c.eager {
			x.rest()
		} else {
			x.begun()
		}
		if x.idle = x.idle || x.submitted() == ops; x.idle || x.err != nil || x.w.Off() {
			break
		}
	}
	x.visit = nil
	return !x.idle
}

// submitted returns how many operations the devices were asked for.
func (x *scopeRun) submitted() (n uint64) {
	for _, d := range x.distinct() {
		st := d.Stats()
		n += st.Ops()
	}
	return n
}

func (x *scopeRun) append(steps ...simStep) { x.plan.steps = append(x.plan.steps, steps...) }

// letter begins an operation.
func (x *scopeRun) letter(l byte) {
	if l == scopeNames[scopeDestage] {
		b := &x.p.back
		b.drain, b.drainTo = true, x.p.ring.LastPublished()
		return
	}
	steps := x.scopeSteps(l)
	x.idle = x.idle || steps == nil
	x.append(steps...)
}

// rest runs until nothing is under way and nothing is to come.
func (x *scopeRun) rest() {
	for x.err == nil && !x.w.Off() && x.on() {
	}
}

// begun runs until all of a letter is under way, and then to the end of the next device operation.
func (x *scopeRun) begun() {
	for x.err == nil && !x.w.Off() {
		all := x.at >= len(x.plan.steps) && !x.p.back.drain
		before := x.w.Now()
		if !x.on() || all && x.w.Now() > before {
			return
		}
	}
}

// on does a turn, and lets time pass if that is due. It reports whether there is more to come.
func (x *scopeRun) on() bool {
	pass := x.turn()
	if b := &x.p.back; b.drain && (b.phase != backIdle || !b.backlog()) && x.ctl == nil {
		b.drain = false // one batch
	}
	if x.look(); x.w.Off() || x.err != nil {
		return false
	}
	if !pass {
		return true
	}
	if _, has := x.w.Next(); !has && x.over() {
		return false
	}
	x.advance()
	x.look()
	return true
}

// look calls visit if anything has happened.
func (x *scopeRun) look() {
	now := simMix(x.w.Hash()) ^ x.o.clock
	if x.visit == nil || x.err != nil || x.seen == now {
		return
	}
	x.seen = now
	x.visit()
	x.moment++
}

// cut has the power fail, and looks at what is left: it is what was to be left, the pool opens, is
// clean, holds what it has to, and goes on.
func (x *scopeRun) cut(c *scopeCut, digest uint64) error {
	x.w.Crash(c.keep)
	if got := x.durable(); got != digest {
		return fmt.Errorf("the devices hold %x after the cut, not %x", got, digest)
	}
	x.visit = nil
	x.crash, x.plan.steps, x.at = &simStep{do: stepCrash, verify: true, check: true}, nil, 0
	if x.fail(x.restart()); x.err != nil {
		return x.err
	}
	if x.runOn(); x.err != nil {
		return x.err
	}
	x.writeAgain()
	x.runOn()
	x.append(simStep{do: stepVerify})
	x.runOn()
	return x.err
}

func (x *scopeRun) runOn() {
	for x.err == nil && !x.over() {
		if x.w.Off() {
			x.fail(errors.New("the power went a second time"))
			return
		}
		x.step()
	}
}

// writeAgain writes to a volume that is attached, or to a new one.
func (x *scopeRun) writeAgain() {
	for i, slot := range x.slots[:x.plan.volumes] {
		if slot.o != nil && slot.attached {
			x.append(simStep{do: stepIO, kind: Write, slot: i, off: SectorSize, n: 2 * log.BlockSize})
			return
		}
		if slot.o == nil {
			x.append(simStep{do: stepCreate, slot: i, n: 1 << 20, depth: 8},
				simStep{do: stepIO, kind: Write, slot: i, off: SectorSize, n: 2 * log.BlockSize})
			return
		}
	}
	x.append(simStep{do: stepAttach},
		simStep{do: stepIO, kind: Write, off: SectorSize, n: 2 * log.BlockSize})
}

// scopeResult is what became of a sequence.
type scopeResult struct {
	number  int
	tried   bool // it was not left out
	moments int
	cuts    int // ways in which the power can be cut, over all moments
	states  int // of these, the ones that were tried
	err     error
	at      scopeState // of the failure
}

// scopeTodo is a state that is to be tried.
type scopeTodo struct {
	moment int
	cut    scopeCut
	digest uint64 // of what the cut leaves
}

// scopeTry does one sequence with every share-th of its states that are not known: in one run it finds
// out which there are, and then comes to each of them in a run of its own.
func scopeTry(number, share int, known map[uint64]bool) scopeResult {
	res := scopeResult{number: number}
	c, letters := scopeCase(number)
	list, err := res.find(c, letters, known)
	if err != nil || !res.tried {
		if res.err = err; err == nil {
			return scopeResult{number: number}
		}
		res.at = scopeState{number, res.moments, -1}
		return res
	}
	for i := 0; i < len(list) && res.err == nil; i += share {
		t := &list[i]
		res.states++
		res.at = scopeState{number, t.moment, t.cut.number}
		res.err = scopeReplay(c, letters, t, nil)
	}
	return res
}

// find does a sequence without any cut, and returns the states that are new.
func (res *scopeResult) find(c *scopeConfig, letters string, known map[uint64]bool) (
	list []scopeTodo, err error,
) {
	defer caught(&err)
	x := newScopeRun(c)
	cutter := scopeCutter{run: x}
	res.tried = x.live(letters, func() {
		may := x.permitted()
		cutter.look()
		cutter.each(func(cut scopeCut, digest uint64) {
			res.cuts++
			if key := simMix(digest) ^ may; !known[key] {
				known[key] = true
				list = append(list, scopeTodo{x.moment, cut, digest})
			}
		})
	})
	res.moments = x.moment
	return list, x.err
}

// scopeReplay does a sequence again and cuts the power at one moment in one way.
func scopeReplay(c *scopeConfig, letters string, t *scopeTodo, trace func(string, ...any)) (err error) {
	defer caught(&err)
	x := newScopeRun(c)
	if trace != nil {
		x.trace = trace
	}
	came := false
	x.live(letters, func() {
		if x.moment == t.moment && !came {
			came = true
			err = x.cut(&t.cut, t.digest)
		}
	})
	if !came {
		return fmt.Errorf("moment %d did not come: %w", t.moment, x.err)
	}
	return err
}
