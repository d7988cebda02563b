package simdisk

import (
	"errors"
	"math/rand/v2"

	"unblend/log"
)

// ErrPower is what synchronous calls return from a power cut until World.Restart.
var ErrPower = errors.New("simulated power cut")

// Choice is one physical sector whose content a power cut leaves to chance.
type Choice struct {
	Disk   *Disk
	Block  int64 // number of the block on the disk
	Sector int   // number of the sector in its block
	N      int   // versions: 0 is the durable one, N-1 the one that was to be last
}

// Keep decides which version, 0 to N-1, a sector has after a power cut. It is asked for every
// sector of every block that has more than one, in an order that depends on the past alone.
type Keep func(Choice) int

// KeepNone keeps only what is durable.
func KeepNone(Choice) int { return 0 }

// KeepAll keeps everything that was submitted, as if the power had waited for it.
func KeepAll(c Choice) int { return c.N - 1 }

// KeepRandom returns a seeded choice. Its manner is drawn too, for each cut anew: sectors apart,
// whole blocks, nearly everything, nearly nothing.
func (w *World) KeepRandom() Keep {
	rng := w.rng
	switch rng.IntN(4) {
	case 0:
		return func(c Choice) int { return rng.IntN(c.N) }
	case 1:
		whole := 0
		return func(c Choice) int {
			if c.Sector == 0 {
				whole = rng.IntN(c.N)
			}
			return whole
		}
	case 2:
		return mostly(rng, KeepAll)
	}
	return mostly(rng, KeepNone)
}

func mostly(rng *rand.Rand, keep Keep) Keep {
	return func(c Choice) int {
		if rng.IntN(16) == 0 {
			return rng.IntN(c.N)
		}
		return keep(c)
	}
}

// Exhaust goes through all that a power cut can leave, for small cases: run the case with its Keep
// again and again until Next returns false. With Whole blocks do not tear.
type Exhaust struct {
	Whole bool

	digits, bases []int // the choices of this run, and how many each had
	at            int
}

// Keep is the Keep of this run.
func (e *Exhaust) Keep(c Choice) int {
	if e.Whole && c.Sector > 0 {
		return e.digits[e.at-1]
	}
	if e.at == len(e.digits) {
		e.digits, e.bases = append(e.digits, 0), append(e.bases, 0)
	}
	e.bases[e.at] = c.N
	e.at++
	return e.digits[e.at-1]
}

// Next prepares the next run, and returns false if there is none.
func (e *Exhaust) Next() bool {
	e.digits, e.at = e.digits[:e.at], 0
	for i := len(e.digits) - 1; i >= 0; i-- {
		if e.digits[i]+1 < e.bases[i] {
			e.digits[i]++
			e.digits, e.bases = e.digits[:i+1], e.bases[:i+1]
			return true
		}
	}
	return false
}

// Crash cuts the power of all disks at this instant: what is in flight vanishes without an answer
// and each sector that is not durable keeps what keep says (nil: World.KeepRandom). Until Restart
// operations vanish and synchronous calls return ErrPower.
func (w *World) Crash(keep Keep) {
	if w.off {
		return
	}
	if keep == nil {
		keep = w.KeepRandom()
	}
	w.mix(uint64(w.now))
	for _, d := range w.disks {
		d.cut(keep)
		d.vanishInFlight()
	}
	w.dropEvents()
	w.off, w.crashIn, w.crashKeep = true, 0, nil
}

// CrashAfter plans a power cut at the n-th operation submitted from now on, on any disk and in any
// way, right after its submission: it is in flight as the power goes. keep as in Crash. n <= 0
// takes the plan back.
func (w *World) CrashAfter(n int, keep Keep) {
	w.crashIn, w.crashKeep = max(n, 0), keep
}

// countdown brings a planned power cut nearer.
func (w *World) countdown() {
	if w.crashIn == 0 {
		return
	}
	w.crashIn--
	if w.crashIn == 0 {
		w.Crash(w.crashKeep)
	}
}

// Off tells whether the power is cut.
func (w *World) Off() bool { return w.off }

// Restart gives the power back. Vanished devices stay so.
func (w *World) Restart() { w.off = false }

// cut settles what each sector that is not durable holds.
func (d *Disk) cut(keep Keep) {
	s := &d.store
	pick := make([]int, log.BlockSize/s.sector)
	settle := func(b *block, n int64, flying bool) {
		if len(b.vers) == 0 {
			return
		}
		torn := false
		for i := range pick {
			pick[i] = keep(Choice{Disk: d, Block: n, Sector: i, N: len(b.vers) + 1})
			d.w.mix(uint64(pick[i]))
			torn = torn || pick[i] != pick[0]
		}
		if torn {
			d.stats.Torn++
		}
		s.mix(b, pick)
		if flying && d.drawCut(n*log.BlockSize) {
			b.bad = true
		}
	}
	for _, r := range d.inflight {
		if r.kind == log.Write && r.fault != LostWrite {
			r.blocksOf(func(n int64, _ []byte) { settle(d.store.find(n), n, true) })
		}
	}
	for _, c := range s.queue[s.head:] {
		settle(c.b, c.n, false)
	}
	for _, c := range s.unflushable {
		settle(c.b, c.n, false)
	}
	s.queue, s.head, s.unflushable = s.queue[:0], 0, s.unflushable[:0]
}

// vanishInFlight forgets the operations in flight.
func (d *Disk) vanishInFlight() {
	for i, r := range d.inflight {
		d.w.freeRequest(r)
		d.inflight[i] = nil
	}
	d.inflight, d.orphans, d.wake = d.inflight[:0], 0, 0
	d.model.reset()
}

// dropEvents removes all events but timers.
func (w *World) dropEvents() {
	kept := w.heap[:0]
	for _, e := range w.heap {
		if e.fn != nil {
			kept = append(kept, e)
		}
	}
	clear(w.heap[len(kept):])
	w.heap = kept
	w.rebuildHeap()
}

// Kill ends the process whose operations are in flight, with the power on: nobody is told how they
// end, their buffers may be reused at once, but the disks perform them, each up to late
// nanoseconds later than it would have been.
func (w *World) Kill(late int64) {
	for _, d := range w.disks {
		for _, r := range d.inflight {
			if r.orphan {
				continue
			}
			r.orphan, r.reply, r.bufs = true, nil, nil
			d.orphans++
			if late > 0 {
				r.extra += w.rng.Int64N(late)
			}
		}
	}
	for i := range w.heap {
		if r := w.heap[i].r; r != nil && r.orphan {
			w.heap[i].t = max(w.heap[i].t, w.now) + r.extra
			r.extra = 0
		}
	}
	w.rebuildHeap()
}

// Orphans returns the number of operations of killed processes that are still in flight.
func (d *Disk) Orphans() int { return d.orphans }

// Settle does what recovery begins with: it waits, as an exclusive claim of the device does, until
// the last operation of a killed process has ended, and flushes.
func (d *Disk) Settle() error {
	for d.orphans > 0 && d.w.Step() {
	}
	return d.Sync().Flush()
}

// Vanish takes the device away: operations in flight and all later ones end with ENODEV, and what
// was not durable is settled as by a power cut of this disk alone.
func (d *Disk) Vanish() {
	if d.gone {
		return
	}
	d.cut(d.w.KeepRandom())
	for _, r := range d.inflight {
		r.void = true
	}
	d.gone = true
}

// Return brings a vanished device back.
func (d *Disk) Return() { d.gone = false }

// Gone tells whether the device has vanished.
func (d *Disk) Gone() bool { return d.gone }
