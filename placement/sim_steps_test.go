package placement

import (
	"math/rand/v2"

	"unblend/log"
)

// simMix of operations: the relative weights of the kinds of request.
type simWeights [5]int

// guestDraw draws the requests of one volume's guest, which has habits.
type guestDraw struct {
	r       *rand.Rand
	slot    int
	size    int64
	weights simWeights
	hot     int64 // start of the range it likes
	hotLen  int64
	next    int64 // where a sequential stream goes on
	align   int   // of 8: how often requests are whole blocks
	small   int   // of 8: how often they are at most a block or two
	maxLen  int64
	fixed   int64 // of all writes, if not 0
}

func newGuest(r *rand.Rand, p *simPlan, slot int) *guestDraw {
	g := &guestDraw{r: r, slot: slot, align: r.IntN(9), small: r.IntN(9), maxLen: p.maxSpan}
	g.weights = oneOf(r,
		simWeights{Read: 4, Write: 8, Flush: 1, Discard: 1, WriteZeroes: 1},
		simWeights{Read: 2, Write: 12, Flush: 1},
		simWeights{Read: 1, Write: 4, Flush: 1, Discard: 3, WriteZeroes: 3},
		simWeights{Read: 6, Write: 6, Discard: 1, WriteZeroes: 1, Flush: 3})
	if r.IntN(3) == 0 {
		g.fixed = int64(between(r, 1, 3)) * log.BlockSize
	}
	g.size = int64(between(r, 256, oneOf(r, 512, 512, 2048))) * log.BlockSize
	switch {
	case p.real:
		g.size = int64(between(r, 16, 64)) << 20
	case r.IntN(6) == 0: // sparse and large: more levels of the map
		g.size = oneOf(r, int64(300<<20), 70<<30)
	}
	g.hotLen = min(g.size, int64(between(r, 4, 128))*log.BlockSize)
	if p.real {
		g.hotLen = g.size / 2
	}
	g.hot = r.Int64N((g.size-g.hotLen)/log.BlockSize+1) * log.BlockSize
	return g
}

// kind draws a kind of request by weight.
func (g *guestDraw) kind() Kind {
	sum := 0
	for _, w := range g.weights {
		sum += w
	}
	x := g.r.IntN(sum)
	for k, w := range g.weights {
		if x -= w; x < 0 {
			return Kind(k)
		}
	}
	return Read
}

// length draws the length of a request of at most limit bytes.
func (g *guestDraw) length(limit int64) int64 {
	n := limit
	if g.r.IntN(8) < g.small {
		n = min(limit, 2*log.BlockSize)
	}
	return (g.r.Int64N(n/SectorSize) + 1) * SectorSize
}

// step draws one request.
func (g *guestDraw) step(p *simPlan) simStep {
	r := g.r
	st := simStep{do: stepIO, slot: g.slot, kind: g.kind(), fua: r.IntN(8) == 0}
	limit := g.maxLen
	if st.kind == Discard || st.kind == WriteZeroes {
		limit = oneOf(r, g.maxLen, 256<<10, 2<<20)
		if g.size <= 8<<20 && r.IntN(16) == 0 {
			return simStep{do: stepIO, slot: g.slot, kind: st.kind, n: g.size}
		}
	}
	st.n = g.length(limit)
	switch r.IntN(8) {
	case 0, 1:
		st.off = g.next
	case 2:
		if g.size <= 64<<20 {
			st.off = r.Int64N(g.size/SectorSize) * SectorSize
			break
		}
		fallthrough
	default:
		st.off = g.hot + r.Int64N(g.hotLen/SectorSize)*SectorSize
	}
	if st.kind == Write && g.fixed > 0 && g.fixed < g.maxLen {
		st.off, st.n = st.off/log.BlockSize*log.BlockSize, g.fixed
	} else if r.IntN(8) < g.align {
		st.off = st.off / log.BlockSize * log.BlockSize
		st.n = (st.n + log.BlockSize - 1) / log.BlockSize * log.BlockSize
	}
	if st.kind == Read || st.kind == Write {
		for Span(st.off, st.n) > g.maxLen || st.n > MaxIO {
			st.n -= SectorSize
		}
	}
	st.off = min(st.off, g.size-SectorSize)
	st.n = min(st.n, g.size-st.off)
	g.next = (st.off + st.n) % g.size
	if st.kind == Write {
		st.fill = oneOf(r, fillStamp, fillStamp, fillStamp, fillStamp, fillStamp, fillZero, fillMixed, fillRaw)
	}
	return st
}

// drawSteps draws all that happens.
func (p *simPlan) drawSteps(r *rand.Rand) {
	p.guests = make([]*guestDraw, p.volumes)
	for i := range p.guests {
		p.guests[i] = newGuest(r, p, i)
		p.steps = append(p.steps, p.createStep(p.guests[i]))
	}
	crashes := between(r, 2, 6)
	if p.real {
		crashes = 2
	}
	pauses, controls := between(r, 0, 20), between(r, 0, 30)
	sum := p.target + crashes + pauses + controls
	if p.faults != nil {
		sum += 6
	}
	for range sum {
		x := r.IntN(sum)
		switch {
		case x < crashes:
			p.drawCrash(r)
		case x < crashes+pauses:
			p.steps = append(p.steps, simStep{
				do: stepPause, wait: oneOf(r, int64(100_000), 30_000_000, 2_000_000_000),
			})
		case x < crashes+pauses+controls:
			p.steps = append(p.steps, p.controlStep(r, p.guests)...)
		case x < sum-p.target:
			p.steps = append(p.steps, simStep{
				do: stepFault, fault: oneOf(r, p.faults...), at: r.Uint64(),
			})
		default:
			p.steps = append(p.steps, oneOf(r, p.guests...).step(p))
		}
	}
}

// drawCrash draws a crash, and often another one soon after something was accepted again.
func (p *simPlan) drawCrash(r *rand.Rand) {
	p.steps = append(p.steps, crashStep(r))
	if r.IntN(3) == 0 { // while nobody wants anything, and the back end does what can wait
		st := &p.steps[len(p.steps)-1]
		st.do, st.after = stepCrash, between(r, 1, oneOf(r, 30, 300, 1000))
		if r.IntN(2) == 0 {
			st.moves = between(r, 1, oneOf(r, 8, 64))
		}
		p.steps = append(p.steps, simStep{do: stepPause, wait: oneOf(r, int64(30_000_000), 5_000_000_000)})
		return
	}
	for r.IntN(2) == 0 {
		p.steps[len(p.steps)-1].verify = r.IntN(4) == 0
		for range between(r, 1, 6) {
			p.steps = append(p.steps, oneOf(r, p.guests...).step(p))
		}
		st := crashStep(r)
		st.after, st.again = between(r, 1, 8), nil
		p.steps = append(p.steps, st)
	}
}

// extendMax is how often a plan is extended.
const extendMax = 40

// extend adds steps to a plan that has come to its end without all that makes a seed, and reports
// whether it did. A plan that is being shortened has no source of further steps.
func (p *simPlan) extend(c *simCover) bool {
	if p.rng == nil || p.more == extendMax || c.full() {
		return false
	}
	p.more++
	if c.crashes+c.kills < 2 {
		p.steps = append(p.steps, crashStep(p.rng))
	}
	for i := range 50 {
		g := oneOf(p.rng, p.guests...)
		st := g.step(p)
		if i%2 == 0 { // large, so that the log wraps
			n := min(g.maxLen-log.BlockSize, MaxIO, g.size)
			st = simStep{do: stepIO, slot: g.slot, kind: Write, off: (g.size - n) / 2, n: n}
		}
		p.steps = append(p.steps, st)
	}
	return true
}

func (p *simPlan) createStep(g *guestDraw) simStep {
	return simStep{do: stepCreate, slot: g.slot, n: g.size, depth: oneOf(g.r, 1, 2, 4, 8, 16, 32, 64)}
}

// crashStep draws an end of the process: mostly the power goes, often while much is under way.
func crashStep(r *rand.Rand) simStep {
	st := simStep{
		do: stepCrash, verify: r.IntN(3) > 0, check: true, root: r.IntN(8) == 0, at: r.Uint64(),
	}
	if r.IntN(3) > 0 {
		st.after = between(r, 1, 60)
	}
	if r.IntN(3) == 0 {
		st.do, st.wait = stepKill, oneOf(r, int64(0), 1_000_000, 5_000_000_000)
	}
	for r.IntN(3) == 0 && len(st.again) < 4 {
		st.again = append(st.again, between(r, 1, oneOf(r, 4, 30, 200)))
	}
	return st
}

// controlStep draws an operation of the operator.
func (p *simPlan) controlStep(r *rand.Rand, guests []*guestDraw) []simStep {
	slot := r.IntN(len(guests))
	switch r.IntN(18) {
	case 10, 11, 12:
		return []simStep{{do: stepSnapshot, slot: slot, at: r.Uint64()}}
	case 13, 14: // in place of another volume
		return []simStep{
			{do: stepDetach, slot: slot},
			{do: stepRemove, slot: slot},
			{do: stepClone, slot: slot, depth: between(r, 1, 32), at: r.Uint64()},
			{do: stepAttach, slot: slot},
		}
	case 15:
		return []simStep{
			{do: stepDetach, slot: slot},
			{do: stepRollback, slot: slot, at: r.Uint64()},
			{do: stepAttach, slot: slot},
		}
	case 16:
		return []simStep{{do: stepUnsnap, slot: slot, at: r.Uint64()}}
	case 17:
		return []simStep{{do: stepResize, slot: slot, at: r.Uint64()}}
	case 0, 1: // replaced by a new one of the same name
		guests[slot] = newGuest(r, p, slot)
		return []simStep{
			{do: stepDetach, slot: slot},
			{do: stepRemove, slot: slot},
			p.createStep(guests[slot]),
		}
	case 2:
		return []simStep{{do: stepDetach, slot: slot}, {do: stepAttach, slot: slot, depth: 3}}
	case 3, 4:
		return []simStep{{do: stepDrain}}
	case 5:
		return []simStep{{do: stepShutdown, verify: r.IntN(2) == 0, check: true}}
	case 6:
		return []simStep{{do: stepVerify}}
	}
	return []simStep{{do: stepCheckpoint}}
}
