package faultdisk

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Mode is how a cut chooses among the versions of a sector.
type Mode uint8

// The modes of a cut. The writes in flight count as the newest ones, in order of arrival.
const (
	// Random lets the seed choose one of Sectors, Writes and Prefix.
	Random Mode = iota
	// None keeps what is durable and nothing else.
	None
	// All keeps the newest version of every sector.
	All
	// Sectors chooses for each sector by itself among its durable and all later versions.
	Sectors
	// Writes keeps or drops each write as a whole, with odds that the seed chooses.
	Writes
	// Prefix keeps the writes up to one in the order of completion over all disks.
	Prefix
	modeCount
)

var modeNames = [modeCount]string{"random", "none", "all", "sectors", "writes", "prefix"}

func (m Mode) String() string {
	if m < modeCount {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// MarshalText gives the name that UnmarshalText takes.
func (m Mode) MarshalText() ([]byte, error) {
	if m >= modeCount {
		return nil, fmt.Errorf("unknown mode %d", uint8(m))
	}
	return []byte(m.String()), nil
}

// UnmarshalText takes random, none, all, sectors, writes or prefix.
func (m *Mode) UnmarshalText(text []byte) error {
	for i, name := range modeNames {
		if name == string(text) {
			*m = Mode(i)
			return nil
		}
	}
	return fmt.Errorf("mode %q: want one of %v", text, modeNames)
}

// chooser makes the choices of one cut. It draws in the order in which pick is called.
type chooser struct {
	mode Mode // not Random
	rng  *rand.Rand
	kept map[uint64]bool // Writes: the writes that survive
	last uint64          // Prefix: the last write that survives
}

// newChooser prepares a cut. seqs are the writes in all caches, ascending.
func newChooser(seed uint64, mode Mode, seqs []uint64) *chooser {
	c := &chooser{mode: mode, rng: rand.New(rand.NewPCG(seed, 0))}
	if mode == Random {
		c.mode = Sectors + Mode(c.rng.IntN(3))
	}
	switch c.mode {
	case Writes:
		odds := []float64{0.05, 0.5, 0.95}[c.rng.IntN(3)]
		c.kept = make(map[uint64]bool, len(seqs))
		for _, seq := range seqs {
			c.kept[seq] = c.rng.Float64() < odds
		}
	case Prefix:
		if i := c.rng.IntN(len(seqs) + 1); i > 0 {
			c.last = seqs[i-1]
		}
	}
	return c
}

// pick returns the index of the version that survives in the slots of mask, or -1 for what is
// durable. The sector's slots are in each version together or not at all.
func (c *chooser) pick(vers []version, mask uint8) int {
	if c.mode == Sectors {
		return c.pickAny(vers, mask)
	}
	for i := len(vers) - 1; i >= 0; i-- {
		if vers[i].mask&mask != 0 && c.keeps(vers[i].seq) {
			return i
		}
	}
	return -1
}

func (c *chooser) pickAny(vers []version, mask uint8) int {
	candidates := []int{-1}
	for i := range vers {
		if vers[i].mask&mask != 0 {
			candidates = append(candidates, i)
		}
	}
	return candidates[c.rng.IntN(len(candidates))]
}

func (c *chooser) keeps(seq uint64) bool {
	switch c.mode {
	case All:
		return true
	case Writes:
		return c.kept[seq]
	case Prefix:
		return seq <= c.last
	}
	return false
}

// cachedSeqs returns the writes in the caches of the disks, ascending and each once.
func cachedSeqs(disks []*disk) []uint64 {
	var seqs []uint64
	for _, d := range disks {
		for _, vers := range d.cache {
			for i := range vers {
				seqs = append(seqs, vers[i].seq)
			}
		}
	}
	slices.Sort(seqs)
	return slices.Compact(seqs)
}
