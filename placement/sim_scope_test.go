package placement

import (
	"fmt"
	"strings"

	"unblend/log"
	"unblend/log/simdisk"
)

// Exhaustive small scope: instead of long lives drawn at random, every short one. A sequence is up to
// scopeLength letters, each an operation. For all sequences, at every moment of the last letter's time
// (those of the letters before are the moments of a shorter sequence, since a run is a function of its
// beginning), the power is cut in every way that scopeCuts names, the pool is opened again, checked,
// compared with the oracle, written and read.
//
// Two states of which the images of all devices are equal, bit by bit, and of which the oracle permits
// the same, are one: what a restart makes is a function of what it finds on the devices, and whether
// that is right is a function of what was permitted. So of equal ones only the first is tried. Images
// are told apart by a digest of 64 bits.
//
// A sequence in which a letter asks the devices for nothing is left out: it leaves what the one without
// that letter does.

// scopeLength is how many letters a sequence has at most.
const scopeLength = 4

// scopeLetter is one operation of a sequence.
type scopeLetter uint8

const (
	scopeWrite      scopeLetter = iota // two whole blocks of the volume
	scopeOverwrite                     // two sectors, of two blocks, of the clone if there is one
	scopeFlush                         // of the same
	scopeTrim                          // two whole blocks, of the same
	scopeSnapshot                      // of the volume
	scopeClone                         // of the newest snapshot, once
	scopeDelete                        // the clone, else the newest snapshot, else the volume
	scopeDestage                       // one batch
	scopeCheckpoint                    //
	scopeLetters
)

const scopeNames = "woftscdgk"

// scopeConfig is a pool, and what there is before a sequence begins.
type scopeConfig struct {
	name    string
	oneDisk bool
	flush   bool // --durability flush
	lanes   int
	before  string // letters that come first, without cuts
	eager   bool   // a letter is begun one device operation after the one before was; else after its end
}

// scopeConfigs are those of a campaign, one after the other. What each has destaged before is mapped,
// shared by a snapshot and a clone, and partly overwritten in the log.
var scopeConfigs = []scopeConfig{
	{name: "two devices", lanes: 1},
	{name: "one device, --durability flush", oneDisk: true, flush: true, lanes: 1},
	{name: "a clone before", lanes: 1, before: "wgscogkw"},
	{name: "at once, two lanes", lanes: 2, before: "wgsk", eager: true},
}

// scopeSequences is how many sequences of 1 to n letters there are.
func scopeSequences(n int) int {
	sum := 0
	for i, k := 0, 1; i < n; i++ {
		k *= int(scopeLetters)
		sum += k
	}
	return sum
}

// scopeCase returns the configuration and the letters of a sequence by its number: configuration by
// configuration, short ones first.
func scopeCase(number int) (*scopeConfig, string) {
	all := scopeSequences(scopeLength)
	c, n := &scopeConfigs[number/all], number%all
	for length := 1; ; length++ {
		if end := scopeSequences(length); n < end {
			return c, scopeSpell(n-scopeSequences(length-1), length)
		}
	}
}

// scopeSpell returns the n-th sequence of a length.
func scopeSpell(n, length int) string {
	seq := make([]byte, length)
	for i := length - 1; i >= 0; i-- {
		seq[i] = scopeNames[n%int(scopeLetters)]
		n /= int(scopeLetters)
	}
	return string(seq)
}

// plan returns the plan of the configuration's pool, without any steps: small, with the smallest
// segments, caches that lose what was not flushed, and nothing that begins on its own.
func (c *scopeConfig) plan() *simPlan {
	const seg, segments, never = 8, 8, 1 << 60
	p := &simPlan{
		seed: 1, batch: 1, volumes: 2, logBytes: seg * segments * log.BlockSize,
		maxSpan: seg / 2 * log.BlockSize, reach: 4 * log.BlockSize, oneDisk: c.oneDisk,
		format: FormatConfig{
			LogSize: seg * segments * log.BlockSize, SegmentBlocks: seg, MetaPages: 256,
			Created: 1_700_000_000,
		},
		opens: []Options{{
			Frames: minFrames, IndexEntries: 2 * maxBlocks, Extents: minExtents, BatchBlocks: seg,
			FreedRuns: minFrames, Ops: 600, MaxNodes: 16, Lanes: c.lanes, Idle: never,
			CheckpointEvery: never, NoReplacement: true,
		}},
	}
	if c.flush {
		p.format.Durability = DurabilityFlush
	}
	for d := range p.disks {
		p.disks[d] = simdisk.Config{
			Name: log.Dev(d).String(), Size: 8 << 20, Volatile: true,
			Timing: simdisk.Random{Min: 10_000, Max: 10_000},
		}
	}
	return p
}

// steps returns what a letter does as things stand; nothing if it makes no sense.
func (s *sim) scopeSteps(letter byte) []simStep {
	vol, clone := s.slots[0].o != nil, s.slots[1].o != nil
	youngest := 0
	if clone {
		youngest = 1
	}
	io := func(slot int, kind Kind, off, n int64) []simStep {
		if s.slots[slot].o == nil {
			return nil
		}
		return []simStep{{do: stepIO, slot: slot, kind: kind, off: off, n: n}}
	}
	snaps := uint64(len(s.snaps(nil)))
	switch scopeLetter(strings.IndexByte(scopeNames, letter)) {
	case scopeWrite:
		return io(0, Write, 0, 2*log.BlockSize)
	case scopeOverwrite:
		return io(youngest, Write, log.BlockSize-SectorSize, 2*SectorSize)
	case scopeFlush:
		return io(youngest, Flush, 0, 0)
	case scopeTrim:
		return io(youngest, Discard, log.BlockSize, 2*log.BlockSize)
	case scopeSnapshot:
		if vol {
			return []simStep{{do: stepSnapshot, at: ^uint64(0)}}
		}
	case scopeClone:
		if snaps > 0 && !clone {
			return []simStep{
				{do: stepClone, slot: 1, depth: 8, at: snaps - 1}, {do: stepAttach, slot: 1},
			}
		}
	case scopeDelete:
		if !clone && snaps > 0 {
			return []simStep{{do: stepUnsnap, at: snaps - 1}}
		}
		if vol || clone {
			return []simStep{{do: stepDetach, slot: youngest}, {do: stepRemove, slot: youngest}}
		}
	case scopeCheckpoint:
		return []simStep{{do: stepCheckpoint}}
	}
	return nil
}

// scopeState names one state: a sequence, a moment of its last letter, a cut.
type scopeState struct{ number, moment, cut int }

func (x scopeState) String() string { return fmt.Sprintf("%d/%d/%d", x.number, x.moment, x.cut) }
