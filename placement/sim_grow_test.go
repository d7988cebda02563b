package placement

import (
	"fmt"
	"math/rand/v2"

	"unblend/log"
)

// Pools that grow in the simulation. The plan of a seed draws from a source of its own what it takes, so
// that the rest of the plan is what it would be without. Devices grow in the moment; whether the pool
// has is not known after a crash, and must not matter.

// simGrowMax is what a device grows by at most over a seed, in bytes.
const simGrowMax = 64 << 20

// drawGrowth adds growths to a plan, in some of the seeds: often crashes follow soon, so that they come
// in the middle of it.
func (p *simPlan) drawGrowth(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0x9fb21c651e98df25))
	if p.real || r.IntN(3) > 0 {
		return
	}
	if r.IntN(3) == 0 { // it is full before it grows
		less := p.data - int64(between(r, chunkUnits+64, 2*chunkUnits))*log.BlockSize
		for d := range p.disks {
			if p.oneDisk || d == int(log.Capacity) {
				p.disks[d].Size -= less
			}
		}
	}
	for range between(r, 1, 4) {
		at := p.volumes + r.IntN(len(p.steps)-p.volumes+1)
		more := []simStep{growStep(r)}
		if r.IntN(2) == 0 {
			st := crashStep(r)
			st.do, st.after = stepCrash, between(r, 1, 12)
			if r.IntN(2) == 0 { // in the first of the start, which mends the label
				st.again = []int{between(r, 1, 14)}
			}
			more = append(more, st)
		}
		p.steps = append(p.steps[:at], append(more, p.steps[at:]...)...)
	}
}

// growStep draws a growth: of the capacity device, seldom of so little that nothing comes of it, or of
// the fast device too.
func growStep(r *rand.Rand) simStep {
	return simStep{
		do: stepGrow, n: oneOf(r, int64(1), 256, 300, 1024, 4096) * log.BlockSize,
		off: oneOf(r, int64(0), 0, 64, 1024) * log.BlockSize, at: r.Uint64(),
	}
}

// grow makes the devices larger, and mostly the pool: an operator may forget, or do it later.
func (s *sim) grow(st *simStep) {
	if s.grew+st.n > simGrowMax {
		return
	}
	s.grew += st.n
	fast, capacity := s.disks[log.Fast], s.disks[log.Capacity]
	capacity.Grow(capacity.Size() + st.n)
	if fast != capacity {
		fast.Grow(fast.Size() + st.off)
	}
	if st.at%8 > 0 {
		s.growPool()
	}
}

// growPool lets the pool use what the devices have.
func (s *sim) growPool() {
	s.control(&simControl{Control: Control{
		Op: GrowPool, Sizes: [log.Devs]int64{s.disks[log.Fast].Size(), s.disks[log.Capacity].Size()},
	}})
}

// grown holds that what an operation was answered for is there.
func (s *sim) grown(c *simControl) error {
	l, st := &s.p.label, s.p.Status()
	missing := uint64(c.Sizes[log.Capacity])/log.BlockSize - l.CapacityBlocks
	if missing >= minGrowth || st.PagesTotal != l.pageCount() || s.p.blocks.total != l.CapacityBlocks {
		return fmt.Errorf("the pool has not grown: %d blocks are missing, %+v", missing, st)
	}
	if l.Sequence > s.sequence {
		s.sequence = l.Sequence
		s.cover.grown++
	}
	return nil
}

// keptSize holds after a start that a growth that was answered is still there.
func (s *sim) keptSize() error {
	if n := s.p.label.Sequence; n < s.sequence {
		return fmt.Errorf("after recovery: label %d, but %d was there before", n, s.sequence)
	}
	return nil
}
