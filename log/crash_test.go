package log

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A crash is tried after every step of a short life, with every combination of outcomes of the
// writes that are not durable then, and again in the middle of the recovery and in a second life.
func TestEveryCrashPoint(t *testing.T) {
	for _, c := range []struct {
		lanes int
		mode  Durability
	}{{1, DurableWrite}, {2, DurableWrite}, {1, DurableFlush}} {
		t.Run(fmt.Sprintf("%d lanes, mode %d", c.lanes, c.mode), func(t *testing.T) {
			geo := smallGeometry
			geo.Segments, geo.Lanes = 8, c.lanes
			r := newRig(t, geo, Settings{Durability: c.mode})
			forks := 0
			for step := range 40 {
				live(r, step)
				forks += crashHere(r, uint64(step))
			}
			if forks < 1000 {
				t.Fatalf("only %d crashes tried", forks)
			}
		})
	}
}

// live takes one step of a life: pushes, completes the older or the newer write, seals, frees.
func live(r *rig, step int) {
	lane := step / 3 % r.geo.Lanes
	switch step % 5 {
	case 0:
		r.push(r.newItem(lane, ItemWrite, 3, 1))
		r.pump()
		r.push(r.newItem(lane, ItemMark, 0))
		r.pump()
	case 1:
		r.d.end(r.ops, len(r.d.pending)-1, 0)
	case 2:
		r.push(r.newItem(lane, ItemWrite, 2))
		r.push(r.newItem(lane, ItemZero, 77))
		r.pump()
		r.pushFlush(lane)
	case 3:
		if step == 33 {
			r.ring.Lane(lane).Seal()
		}
		if len(r.d.pending) > 0 {
			r.d.end(r.ops, 0, 0)
			r.pump()
		}
	case 4:
		r.settle()
		r.advance(2)
	}
}

// advance moves the replay start past all but the youngest n segments, as a checkpoint would.
func (r *rig) advance(n int) {
	var used []int
	for i := r.ring.Oldest(); i >= 0; i = r.ring.Newer(i) {
		used = append(used, i)
	}
	start := r.ring.MinUndurable()
	if n > 0 && len(used) <= n {
		return
	}
	if n > 0 {
		start = min(start, r.ring.Segment(used[len(used)-n]).FirstSeq)
	}
	r.par.ReplayStart = max(r.par.ReplayStart, start)
	r.par.Generation++
	r.ring.SetGeneration(r.par.Generation)
	r.ring.FreeBelow(r.par.ReplayStart)
}

// tried is how many of the outcomes are tried in all combinations.
const tried = 5

// crashHere crashes r in every way that the writes under way allow, and returns how many that are.
func crashHere(r *rig, seed uint64) int {
	n := r.d.unstable()
	combinations := 1
	for range min(n, 3) {
		combinations *= tried
	}
	for c := range combinations {
		afterCrash(r.fork(seed, func(w, s, n int) bool {
			o := c
			for range w {
				o /= tried
			}
			return outcomes[o%tried](s, n)
		}))
	}
	return combinations
}

// afterCrash recovers, crashes in the middle of the cut, lives again and crashes again.
func afterCrash(r *rig) {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(r.rng.Uint64(), 3))
	for budget := range r.geo.Lanes {
		if err := r.recover(); err != nil {
			r.t.Fatal(err)
		}
		if r.d.budget = budget + 1; r.ring.Cut(r.d, r.set.Random) == nil && r.rep.Lanes > budget {
			r.t.Fatal("the cut should have lost power")
		}
		r.d.crash(keepRandom(rng))
	}
	r.start()
	for range 3 {
		r.push(r.newItem(rng.IntN(r.geo.Lanes), ItemWrite, 1+rng.Uint64N(3)))
		r.pump()
	}
	if len(r.d.pending) > 0 && rng.IntN(2) == 0 {
		r.d.end(r.ops, rng.IntN(len(r.d.pending)), 0)
	}
	r.certify()
	r.restart(keepRandom(rng))
	it := r.write(2)
	r.settle()
	if r.order[len(r.order)-1] != it.id && !r.ring.Lane(0).Stalled() {
		r.t.Fatal("the last write was not published")
	}
	r.certify()
	r.restart(keepNone)
	if r.lost != 0 {
		r.t.Fatalf("%d blocks lost", r.lost)
	}
}

var seeds = flag.Uint64("seeds", 150, "how many random lives to try")

// Long random lives: pushes, completions in any order, failed writes, seals, checkpoints, power
// cuts, deaths of the process alone, and other numbers of lanes.
func TestRandomLives(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			randomLife(t, seed, rand.New(rand.NewPCG(seed, 4)))
		})
	}
}

func randomLife(t testing.TB, seed uint64, rng *rand.Rand) {
	geo := smallGeometry
	geo.Lanes = 1 + rng.IntN(3)
	geo.SegmentBlocks = []uint32{8, 9, 16}[rng.IntN(3)]
	geo.Segments = 7 + rng.Uint32N(10)
	r := newRig(t, geo, Settings{
		InFlight: 1 + rng.IntN(3), Split: rng.IntN(2) == 1, Durability: Durability(rng.IntN(4) / 3),
	})
	r.seed(seed)
	for range 400 {
		r.randomStep(rng)
	}
	r.settle()
	r.certify()
	r.restart(keepNone)
}

func (r *rig) randomStep(rng *rand.Rand) {
	r.t.Helper()
	lane := rng.IntN(r.ring.Lanes())
	pending := len(r.d.pending)
	switch n := rng.IntN(100); {
	case n < 25:
		r.push(r.newItem(lane, ItemWrite, 1+rng.Uint64N(5)*rng.Uint64N(2), rng.Uint64N(8)))
	case n < 30:
		r.push(r.newItem(lane, ItemZero, 1+rng.Uint64N(stride-1)))
	case n < 33:
		r.push(r.newItem(lane, ItemMark, 0))
	case n < 36:
		r.pushFlush(lane)
	case n < 55:
		r.pump()
	case n < 85 && pending > 0:
		r.d.end(r.ops, rng.IntN(pending), 0)
	case n < 87 && pending > 0:
		if i := rng.IntN(pending); r.d.pending[i].Kind == Write {
			r.d.fail(r.ops, i, keepRandom(rng))
		}
	case n < 89:
		r.ring.Lane(lane).Seal()
	case n < 95:
		r.ring.DurableTo(r.ring.LastPublished())
		r.advance(rng.IntN(4))
	case n < 97:
		r.randomCrash(rng)
		for rng.IntN(2) == 0 {
			r.push(r.newItem(rng.IntN(r.ring.Lanes()), ItemWrite, 1+rng.Uint64N(2)))
			r.settle()
			r.randomCrash(rng)
		}
	}
}

func (r *rig) randomCrash(rng *rand.Rand) {
	r.t.Helper()
	r.certify()
	keep := keepRandom(rng)
	if rng.IntN(3) == 0 {
		keep = keepAll // the process died, and what was under way landed before the claim
	}
	if rng.IntN(3) == 0 {
		r.geo.Lanes = 1 + rng.IntN(3)
	}
	r.d.crash(keep)
	for rng.IntN(3) == 0 {
		if err := r.recover(); err != nil {
			r.t.Fatal(err)
		}
		r.d.budget = 1 + rng.IntN(3)
		_ = r.ring.Cut(r.d, r.set.Random)
		r.d.crash(keepRandom(rng))
	}
	r.start()
	if r.lost != 0 {
		r.t.Fatalf("%d blocks lost", r.lost)
	}
}
