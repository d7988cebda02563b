package placement

import (
	"fmt"
	"math/rand/v2"

	"unblend/log"
	"unblend/log/simdisk"
)

// A seed decides everything beforehand: the pool, its devices, the settings of each start, and the
// list of what happens. So a failing list can be shortened, and replayed.

// simPlan is what one seed asks for.
type simPlan struct {
	seed     uint64
	oneDisk  bool
	disks    [log.Devs]simdisk.Config
	format   FormatConfig
	opens    []Options  // of the first, second, ... start; the last again and again
	batch    int        // device operations that end between two turns, at most
	maxSpan  int64      // bytes of whole blocks that a request may touch
	reach    int64      // bytes of a volume that a guest may touch and the verifier reads; 0: all
	faults   []simFault // those that are injected; what they can do together is survived
	real     bool       // the constants of production
	target   int        // guest operations
	volumes  int
	scrubs   bool // there are some
	logBytes int64
	data     int64 // bytes for data, about
	steps    []simStep

	rng    *rand.Rand // draws further steps while the seed lacks something
	guests []*guestDraw
	more   int
}

// stepKind is what a step of a plan does.
type stepKind uint8

const (
	stepIO stepKind = iota
	stepCreate
	stepRemove
	stepAttach
	stepDetach
	stepCheckpoint
	stepDrain
	stepPause
	stepVerify   // wait for all requests, then read everything
	stepShutdown // orderly
	stepCrash    // power cut
	stepKill     // the process dies, the power stays
	stepFault
	stepSnapshot // of the slot's volume, and of others by the bits of at
	stepClone    // of a snapshot, into an empty slot
	stepRollback // of a detached volume
	stepUnsnap   // removes a snapshot
	stepResize
	stepGrow  // the devices, and the pool with them
	stepScrub // begins one, or stops it
	stepKinds
)

var stepNames = [stepKinds]string{
	"io", "create", "remove", "attach", "detach", "checkpoint", "drain", "pause", "verify",
	"shutdown", "crash", "kill", "fault", "snapshot", "clone", "rollback", "unsnap", "resize", "grow",
	"scrub",
}

// simStep is one thing that happens.
type simStep struct {
	do     stepKind
	kind   Kind
	fua    bool
	fill   simFill
	fault  simFault
	slot   int
	depth  int
	off, n int64 // bytes; of a volume that is smaller, modulo its size
	wait   int64 // ns
	after  int   // device operations until a crash; 0: now
	moves  int   // turns of re-placement until a crash, instead
	again  []int // of a crash: device operations until the next, in recovery
	verify bool  // of a crash: read everything after recovery
	check  bool
	root   bool   // of a crash: one copy of the root is bad afterwards
	at     uint64 // for faults: chooses the victim
}

func (st simStep) String() string {
	switch st.do {
	case stepIO:
		return fmt.Sprintf("vol%d %s %d+%d fill=%d fua=%v", st.slot, st.kind, st.off, st.n, st.fill, st.fua)
	case stepCreate:
		return fmt.Sprintf("create vol%d size=%d depth=%d", st.slot, st.n, st.depth)
	case stepPause:
		return fmt.Sprintf("pause %d ns", st.wait)
	case stepCrash, stepKill:
		return fmt.Sprintf("%s after=%d again=%v late=%d verify=%v",
			stepNames[st.do], st.after, st.again, st.wait, st.verify)
	case stepSnapshot, stepClone, stepRollback, stepUnsnap, stepResize:
		return fmt.Sprintf("%s vol%d at=%d", stepNames[st.do], st.slot, st.at)
	case stepGrow:
		return fmt.Sprintf("grow by %d, the fast device by %d, at=%d", st.n, st.off, st.at)
	case stepScrub:
		return fmt.Sprintf("scrub at %d bytes/s, at=%d", st.n, st.at)
	case stepFault:
		return fmt.Sprintf("fault %s at=%d", st.fault, st.at)
	}
	return fmt.Sprintf("%s vol%d", stepNames[st.do], st.slot)
}

// between returns a number from lo to hi.
func between(r *rand.Rand, lo, hi int) int { return lo + r.IntN(hi-lo+1) }

func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// newPlan draws the plan of a seed.
func newPlan(seed uint64) *simPlan {
	r := rand.New(rand.NewPCG(seed, 0xd1b54a32d192ed03))
	p := &simPlan{
		seed: seed, rng: r, oneDisk: r.IntN(3) == 0, batch: oneOf(r, 1, 1, 2, 8), volumes: between(r, 3, 6),
		real: r.IntN(100) == 0, target: between(r, 500, 900),
	}
	if r.IntN(5) == 0 {
		p.faults = oneOf(r, []simFault{faultLogWrite}, []simFault{faultDataWrite},
			[]simFault{faultRead}, []simFault{faultLogBlock}, []simFault{faultPage},
			[]simFault{faultFlush}, []simFault{faultLogWrite, faultDataWrite, faultPage},
			[]simFault{faultLogWrite, faultDataWrite, faultLogBlock}, []simFault{faultRead, faultFlush})
	}
	p.drawPool(r)
	if seed%7 == 3 {
		p.format.GrowTo = 16 << 30 // bitmaps of two levels
	}
	p.drawDisks(r)
	lanes := oneOf(r, 1, 1, 2, 3, 4)
	entries := 2*maxBlocks + int(p.logBytes/log.BlockSize)*between(r, 1, 3)/2
	extents := between(r, 8, 64)
	for range 8 {
		if r.IntN(3) == 0 {
			lanes = between(r, 1, 4)
		}
		o := p.drawOptions(r, lanes)
		if !p.real {
			o.IndexEntries, o.Extents = entries, extents // a smaller index cannot hold the log
		}
		p.opens = append(p.opens, o)
	}
	p.drawSteps(r)
	p.drawGrowth(seed)
	p.drawWide(seed)
	p.drawScrubs(seed)
	return p
}

// drawPool draws the geometry of the pool.
func (p *simPlan) drawPool(r *rand.Rand) {
	seg := uint32(between(r, 8, 64))
	segments := between(r, 10, 40) // 4 lanes need 9
	if p.real {
		seg, segments = log.DefaultSegmentBlocks, 9
	}
	p.logBytes = int64(seg) * int64(segments) * log.BlockSize
	p.format = FormatConfig{
		LogSize: p.logBytes, SegmentBlocks: seg, MetaPages: uint64(between(r, 256, 1024)),
		Created: 1_700_000_000, Prefill: r.IntN(8) == 0,
	}
	if r.IntN(5) == 0 {
		p.format.Durability = DurabilityFlush
	}
	p.maxSpan = min(int64(recordBlocks(seg)), maxBlocks) * log.BlockSize
}

// drawDisks draws sizes and models of the devices. The capacity is now and then so small that it
// runs full.
func (p *simPlan) drawDisks(r *rand.Rand) {
	meta := int64(planHome(0, uint64(p.format.GrowTo), p.format.MetaPages).Blocks+64) * log.BlockSize
	data := int64(oneOf(r, 2, 3, 4, 8, 16, 48)) << 20
	if p.real {
		data = 512 << 20
	}
	p.data = data
	sizes := [log.Devs]int64{meta + p.logBytes, meta + data}
	if p.oneDisk {
		sizes[log.Fast] = 2*meta + p.logBytes + data
		sizes[log.Capacity] = sizes[log.Fast]
	}
	for d := range sizes {
		c := simdisk.Config{
			Name: log.Dev(d).String(), Size: sizes[d], SectorSize: oneOf(r, 512, 4096),
			Volatile: r.IntN(3) > 0,
		}
		switch r.IntN(5) {
		case 0:
			c.Timing = simdisk.P3700()
		case 1:
			c.Timing = simdisk.CacheFlash()
		case 2:
			c.Timing = simdisk.UltrastarHC580()
		default:
			c.Timing = simdisk.Random{Min: 10_000, Max: oneOf(r, int64(50_000), 1_000_000, 50_000_000)}
		}
		if r.IntN(4) == 0 {
			c.Faults.Rate[simdisk.CutUnreadable] = 0.1
		}
		if r.IntN(8) == 0 {
			c.Faults.Rate[simdisk.Spike] = 0.01
		}
		if c.Volatile && r.IntN(4) == 0 {
			c.CacheBytes = int64(between(r, 4, 64)) * log.BlockSize
		}
		p.disks[d] = c
	}
}

// drawOptions draws the settings of one start.
func (p *simPlan) drawOptions(r *rand.Rand, lanes int) Options {
	o := Options{
		Frames: between(r, minFrames, 300), BatchBlocks: oneOf(r, 8, 32, 128, 512),
		FreedRuns: between(r, 64, 512), Ops: between(r, 4*maxBlocks, 1024), MaxNodes: 64,
		Lanes: lanes, LogInFlight: between(r, 1, 4), DestageOps: between(r, 2, 16),
		Low: between(r, 50, 400), High: between(r, 450, 900),
		Idle:            oneOf(r, int64(1_000_000), 20_000_000, 1_000_000_000),
		CheckpointEvery: oneOf(r, int64(10_000_000), 500_000_000, 30_000_000_000),
		OnFull:          FullPolicy(p.seed % 2),
		NoReplacement:   p.seed%8 == 7,
		HardDisk:        [2]bool{p.seed%3 == 1, p.seed%5 < 2},
	}
	if p.real {
		o = Options{Lanes: lanes, OnFull: o.OnFull}
	}
	return o
}
