package simdisk

import (
	"hash/crc32"
	"math/rand/v2"

	"unblend/log"
)

// World is a virtual clock, a source of random numbers and the disks that share them.
type World struct {
	now   int64 // ns
	seq   uint64
	rng   *rand.Rand
	hash  uint64
	heap  []event
	order uint64 // of pushes, so that events at one instant have an order
	disks []*Disk
	free  []*request
	watch func(Event)

	off       bool // the power is cut
	crashIn   int  // submissions until the power is cut, 0: no cut is planned
	crashKeep Keep
}

// event is something that happens at a time: a request ends, a disk's timing model wants to be
// asked again, or a timer fires.
type event struct {
	t     int64
	order uint64
	r     *request
	d     *Disk
	fn    func()
}

// Event is what an observer (World.Observe) is told of.
type Event struct {
	Time int64 // ns
	Disk *Disk
	Done bool // false when submitted, true when completed
	Kind log.Kind
	FUA  bool
	Off  int64 // bytes
	Len  int64 // bytes
	Res  int32 // of a completed operation: bytes moved or a negative errno
}

// NewWorld returns a world whose every random choice follows from seed.
func NewWorld(seed uint64) *World {
	return &World{rng: rand.New(rand.NewPCG(seed, 0x9E3779B97F4A7C15)), hash: seed}
}

// Now returns the virtual time in nanoseconds. It starts at 0 and never goes back.
func (w *World) Now() int64 { return w.now }

// Rand returns the world's source of random numbers, for whoever wants to draw from the same seed.
func (w *World) Rand() *rand.Rand { return w.rng }

// Hash returns the hash of all that happened: each submitted and completed operation with its time,
// content and result, and what each power cut left. Two runs of one seed have the same.
func (w *World) Hash() uint64 { return w.hash }

// Observe has f called for each submitted and each completed operation; nil ends that. f may look
// but not touch: it starts no operation and cuts no power.
func (w *World) Observe(f func(Event)) { w.watch = f }

// Step advances the clock to the next event and lets it happen: an operation ends, or a timer
// fires. It returns false if nothing is to come.
func (w *World) Step() bool {
	if len(w.heap) == 0 {
		return false
	}
	e := w.pop()
	w.now = max(w.now, e.t)
	switch {
	case e.r != nil:
		e.r.d.finish(e.r)
	case e.d != nil:
		e.d.pump()
	default:
		e.fn()
	}
	return true
}

// Next returns the time of the next event, and whether there is one.
func (w *World) Next() (int64, bool) {
	if len(w.heap) == 0 {
		return 0, false
	}
	return w.heap[0].t, true
}

// Advance lets everything happen that is due by time t (ns) and sets the clock to t, if that is
// ahead.
func (w *World) Advance(t int64) {
	for len(w.heap) > 0 && w.heap[0].t <= t {
		w.Step()
	}
	w.now = max(w.now, t)
}

// At has f called at time t (ns), or next if t has passed. Timers survive power cuts.
func (w *World) At(t int64, f func()) { w.push(event{t: max(t, w.now), fn: f}) }

// InFlight returns the number of operations in flight on all disks.
func (w *World) InFlight() int {
	n := 0
	for _, d := range w.disks {
		n += len(d.inflight)
	}
	return n
}

func (e *event) before(o *event) bool {
	return e.t < o.t || e.t == o.t && e.order < o.order
}

// push adds an event to the heap, a binary one by time and order of pushing.
func (w *World) push(e event) {
	w.order++
	e.order = w.order
	w.heap = append(w.heap, e)
	i := len(w.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !w.heap[i].before(&w.heap[up]) {
			return
		}
		w.heap[i], w.heap[up] = w.heap[up], w.heap[i]
		i = up
	}
}

func (w *World) pop() event {
	e := w.heap[0]
	last := len(w.heap) - 1
	w.heap[0] = w.heap[last]
	w.heap[last] = event{}
	w.heap = w.heap[:last]
	w.sift(0)
	return e
}

// sift moves the event at i down to where it belongs.
func (w *World) sift(i int) {
	n := len(w.heap)
	for {
		least := i
		for c := 2*i + 1; c < n && c <= 2*i+2; c++ {
			if w.heap[c].before(&w.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		w.heap[i], w.heap[least] = w.heap[least], w.heap[i]
		i = least
	}
}

// rebuildHeap restores the heap's order after events were changed or removed.
func (w *World) rebuildHeap() {
	for i := len(w.heap)/2 - 1; i >= 0; i-- {
		w.sift(i)
	}
}

func (w *World) newRequest() *request {
	if n := len(w.free); n > 0 {
		r := w.free[n-1]
		w.free = w.free[:n-1]
		return r
	}
	return new(request)
}

func (w *World) freeRequest(r *request) {
	*r = request{}
	w.free = append(w.free, r)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (w *World) mix(x uint64) {
	w.hash = (w.hash ^ x) * 0x9E3779B97F4A7C15
	w.hash ^= w.hash >> 29
}

func (w *World) mixBuffers(bufs [][]byte) {
	crc := uint32(0)
	for _, b := range bufs {
		crc = crc32.Update(crc, castagnoli, b)
	}
	w.mix(uint64(crc))
}

func (w *World) hashSubmit(r *request) {
	w.mix(uint64(r.d.id)<<8 | uint64(r.kind)<<1 | b2u(r.fua))
	w.mix(uint64(r.off))
	w.mix(uint64(r.n))
	w.mix(uint64(r.token))
	if r.kind == log.Write {
		w.mixBuffers(r.bufs)
	}
	if w.watch != nil {
		w.watch(Event{Time: w.now, Disk: r.d, Kind: r.kind, FUA: r.fua, Off: r.off, Len: r.n})
	}
}

func (w *World) hashComplete(r *request, res int32) {
	w.mix(uint64(w.now))
	w.mix(r.seq<<32 | uint64(uint32(res)))
	if r.kind == log.Read && res > 0 && r.bufs != nil {
		w.mixBuffers(r.bufs)
	}
	if w.watch != nil {
		w.watch(Event{
			Time: w.now, Disk: r.d, Done: true,
			Kind: r.kind, FUA: r.fua, Off: r.off, Len: r.n, Res: res,
		})
	}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
