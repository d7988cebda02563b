package simdisk

import (
	"math/rand/v2"
)

// Timing is a kind of disk as far as time is concerned: Instant, Random, Flash or HDD.
type Timing interface {
	newModel(rng *rand.Rand, cfg *Config) model
}

// model is the timing of one disk. Each operation goes in by add as it is submitted and comes out
// of next once it is known when it will end.
type model interface {
	add(now int64, r *request)
	// next returns an operation and the time of its end (ns), or nil and the time at which to ask
	// again. It is asked after every add and whenever an operation ends.
	next(now int64) (*request, int64)
	// reset forgets everything: the power was cut.
	reset()
}

// Instant has every operation end at the moment it starts, in the order of submission.
type Instant struct{}

// Random has every operation take a time of its own between Min and Max, in ns, whatever else is
// under way: the most disorder there can be.
type Random struct{ Min, Max int64 }

func (Instant) newModel(rng *rand.Rand, _ *Config) model { return &randomModel{rng: rng} }

func (t Random) newModel(rng *rand.Rand, _ *Config) model {
	return &randomModel{rng: rng, t: t}
}

type randomModel struct {
	rng  *rand.Rand
	t    Random
	wait *request // the one just added
}

func (m *randomModel) add(_ int64, r *request) { m.wait = r }

func (m *randomModel) next(now int64) (*request, int64) {
	r := m.wait
	m.wait = nil
	if r == nil {
		return nil, 0
	}
	d := m.t.Min
	if span := m.t.Max - m.t.Min; span > 0 {
		d += m.rng.Int64N(span + 1)
	}
	return r, now + d
}

func (m *randomModel) reset() { m.wait = nil }
