// Package simdisk provides simulated disks on virtual time, for tests and models of code that
// speaks in device operations (log.Op) or synchronously (log.Disk). A World holds the clock, the
// random numbers and any number of disks; a run is a function of the seed alone: the package reads
// no clock, starts no goroutine and never iterates over a map. A World is used by one goroutine.
//
// # The fault model
//
// What every disk does, without any fault being asked for (it must be survived):
//
//   - Operations in flight end in any order the timing model allows; nothing orders two of them
//     that overlap. A read is answered from some moment of its flight, and where a write to the
//     same block is in flight too, sector by sector from before or after it.
//   - The buffers of a read hold garbage until it ends. The buffers of a write are taken when it
//     is submitted and compared when it ends: a change in between panics.
//   - A disk with a volatile cache (Config.Volatile) keeps, per block, every version since the
//     last durable one. FUA makes a write durable when it completes. A flush makes durable what
//     was COMPLETED before the flush was submitted, and nothing else. A disk without a volatile
//     cache makes a write durable when it completes.
//   - A power cut (World.Crash) hits all disks at one instant. Every operation in flight vanishes
//     without an answer. Each physical sector that has versions since its last durable one,
//     writes in flight included, keeps any one of them: writes tear at sectors and arrive in no
//     order. A sector itself never tears.
//   - The process dies (World.Kill): nobody is told of what is in flight, but it stays in flight,
//     is performed whole, and may land seconds later and over newer writes. Disk.Settle waits for
//     the end of it as an exclusive claim of the device does, and flushes.
//   - A failed write leaves each of its sectors old or new. A failed flush leaves what it would
//     have covered volatile for good: a later flush that succeeds does not make up for it.
//
// What is injected on demand, by rate and within a budget (Faults) or at one named operation
// (Disk.Inject), and what a pool is expected to do about it:
//
//   - survived: EIO, ENOSPC or a short transfer of a read, write or flush, once or for good;
//     a latency spike; an unreadable block in place of one whose write was cut by a power cut.
//   - survived where a second copy exists, else detected and named: unreadable blocks until they
//     are rewritten, flipped bits, reads and writes that go to another address, lost writes, a
//     device that vanishes.
//   - detected at best, never promised to be survived: a flush that lies.
//
// What is refused, as no driver would let it pass: an operation or buffer that is not aligned to
// log.BlockSize panics. Beyond the end of the device reads are short and writes get ENOSPC, as in
// Linux, and are counted.
package simdisk

import (
	"fmt"
	"math"
	"unsafe"

	"unblend/log"
)

// Config describes a disk. The zero value of a field is the default.
type Config struct {
	Name       string // for messages
	Size       int64  // bytes, a multiple of log.BlockSize
	SectorSize int    // bytes a power cut cannot tear, 512 (the default) or 4096
	Volatile   bool   // writes need FUA or a flush to become durable
	CacheBytes int64  // volatile data kept at most before the oldest is made durable; 64 MiB
	Timing     Timing // when operations end; Instant if nil
	Faults     Faults // what goes wrong at random
}

// Disk is one simulated disk.
type Disk struct {
	w      *World
	id     int
	cfg    Config
	store  store
	model  model
	rules  []Fault // directed faults that are armed
	rates  []FaultKind
	events []Injected
	budget int
	stats  Stats

	inflight []*request // in no particular order
	orphans  int        // of them, those of a killed process
	done     uint64     // number of completed operations; stamps the versions
	gone     bool       // the device has vanished
	lastEnd  int64      // where the last submitted write ended
	wake     int64      // when the timing model is asked again, if that is to come
}

// Stats counts what a disk was asked to do since it was made.
type Stats struct {
	Reads, Writes, Flushes  uint64 // operations submitted
	FUAWrites               uint64 // of Writes, those with FUA
	SequentialWrites        uint64 // of Writes, those that start where the one before ended
	ReadBytes, WrittenBytes uint64
	Overlaps                uint64 // blocks read or written with another write in flight to them
	OutOfRange              uint64 // operations that reached beyond the end
	MaxInFlight             int
	Torn                    uint64             // blocks of which a power cut left parts of several versions
	Injected                [faultKinds]uint64 // faults that happened, by FaultKind
}

// Ops returns the number of operations submitted.
func (s *Stats) Ops() uint64 { return s.Reads + s.Writes + s.Flushes }

// request is one operation in flight on one disk.
type request struct {
	d     *Disk
	kind  log.Kind
	fua   bool
	off   int64    // as asked for
	at    int64    // where the medium is touched: differs from off when misdirected
	n     int64    // bytes the medium moves; less than asked for in a short transfer
	bufs  [][]byte // the submitter's; nil once its process is dead
	token log.Token
	reply func(log.Token, int32) // may be nil

	seq     uint64 // submission number, world-wide
	slot    int    // in d.inflight
	mark    uint64 // flush: completions it covers
	fault   FaultKind
	errno   int32 // negative errno it ends with, 0 for success
	extra   int64 // ns added to what the timing model says
	sampled bool  // read: the buffers have been filled
	void    bool  // the device has vanished: it ends with ENODEV
	orphan  bool  // its process is dead

	ready int64  // for the timing model, ns
	need  uint64 // for the timing model: a flush waits for jobs up to this one
}

// NewDisk adds a disk to the world. It panics on a configuration that makes no sense.
func (w *World) NewDisk(cfg Config) *Disk {
	if cfg.SectorSize == 0 {
		cfg.SectorSize = 512
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 64 << 20
	}
	if cfg.Timing == nil {
		cfg.Timing = Instant{}
	}
	if cfg.Size <= 0 || cfg.Size%log.BlockSize != 0 {
		panic(fmt.Sprintf("simdisk: size %d of %s is not a multiple of a block", cfg.Size, cfg.Name))
	}
	if cfg.SectorSize != 512 && cfg.SectorSize != log.BlockSize {
		panic(fmt.Sprintf("simdisk: sector size %d", cfg.SectorSize))
	}
	d := &Disk{w: w, id: len(w.disks), cfg: cfg, lastEnd: -1}
	d.store.init(cfg.SectorSize)
	d.model = cfg.Timing.newModel(w.rng, &d.cfg)
	d.SetFaults(cfg.Faults)
	w.disks = append(w.disks, d)
	return d
}

// Name returns the disk's name.
func (d *Disk) Name() string { return d.cfg.Name }

// Size returns the disk's size in bytes.
func (d *Disk) Size() int64 { return d.cfg.Size }

// Grow makes the disk larger, in the moment, as an enlarged volume of a host is: what is added reads as
// zeros. It panics if size, in bytes, is not a multiple of log.BlockSize or less than the present size.
func (d *Disk) Grow(size int64) {
	if size < d.cfg.Size || size%log.BlockSize != 0 {
		panic(fmt.Sprintf("simdisk: %s of %d bytes cannot grow to %d", d.cfg.Name, d.cfg.Size, size))
	}
	d.cfg.Size = size
}

// Stats returns the disk's counters.
func (d *Disk) Stats() Stats { return d.stats }

// InFlight returns the number of operations in flight, those of a killed process included.
func (d *Disk) InFlight() int { return len(d.inflight) }

// Submit starts op, whatever its Dev says; reply, if not nil, is called with its token and its
// result (bytes moved or a negative errno) when it ends, from within World.Step. Without power op
// vanishes.
func (d *Disk) Submit(op *log.Op, reply func(log.Token, int32)) {
	d.start(op.Kind, op.FUA, op.Off, op.Bufs, op.Token, reply)
}

// start puts an operation in flight: everything random about it but its end is drawn here.
func (d *Disk) start(kind log.Kind, fua bool, off int64, bufs [][]byte, t log.Token,
	reply func(log.Token, int32),
) {
	w := d.w
	if w.off {
		return
	}
	r := w.newRequest()
	r.d, r.kind, r.fua, r.off, r.bufs, r.token, r.reply = d, kind, fua, off, bufs, t, reply
	r.n = d.checkShape(r)
	r.at, r.void = off, d.gone
	w.seq++
	r.seq = w.seq
	r.slot = len(d.inflight)
	d.inflight = append(d.inflight, r)
	d.stats.MaxInFlight = max(d.stats.MaxInFlight, len(d.inflight))
	d.count(r)
	d.clip(r)
	if !r.void {
		d.drawFault(r)
	}
	w.hashSubmit(r)
	switch kind {
	case log.Write:
		d.capture(r)
	case log.Flush:
		r.mark = d.done
	case log.Read:
		poison(bufs)
		if w.rng.Uint64()&1 == 0 && r.errno == 0 && !r.void {
			d.sample(r)
		}
	}
	d.model.add(w.now, r)
	d.pump()
	w.countdown()
}

// Buffer returns n bytes of zeros that are aligned as disks want it.
func Buffer(n int) []byte {
	b := make([]byte, n+log.BlockSize-1)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (log.BlockSize - 1)
	return b[skip : skip+n : skip+n]
}

// checkShape panics on what no driver lets pass and returns the operation's length.
func (d *Disk) checkShape(r *request) int64 {
	var n int64
	for _, b := range r.bufs {
		if len(b)%log.BlockSize != 0 || len(b) == 0 ||
			uintptr(unsafe.Pointer(unsafe.SliceData(b)))%log.BlockSize != 0 {
			panic(fmt.Sprintf("simdisk: %s at %d: a buffer of %d bytes is not aligned to blocks",
				r.kind, r.off, len(b)))
		}
		n += int64(len(b))
	}
	if r.kind == log.Flush {
		if n != 0 {
			panic("simdisk: flush with buffers")
		}
		return 0
	}
	if r.off < 0 || r.off%log.BlockSize != 0 || n == 0 || n > math.MaxInt32 {
		panic(fmt.Sprintf("simdisk: %s of %d bytes at %d", r.kind, n, r.off))
	}
	return n
}

// count keeps the statistics of a submitted operation.
func (d *Disk) count(r *request) {
	s := &d.stats
	switch r.kind {
	case log.Read:
		s.Reads++
		s.ReadBytes += uint64(r.n)
	case log.Write:
		s.Writes++
		s.WrittenBytes += uint64(r.n)
		if r.fua {
			s.FUAWrites++
		}
		if r.off == d.lastEnd {
			s.SequentialWrites++
		}
		d.lastEnd = r.off + r.n
	case log.Flush:
		s.Flushes++
	}
}

// clip cuts an operation at the end of the device.
func (d *Disk) clip(r *request) {
	if r.off+r.n <= d.cfg.Size {
		return
	}
	d.stats.OutOfRange++
	r.n = max(0, d.cfg.Size-r.off)
	if r.kind == log.Write {
		r.n, r.errno = 0, -errnoNoSpace
	}
}

// pump hands the ends that the timing model now knows to the clock.
func (d *Disk) pump() {
	for {
		r, t := d.model.next(d.w.now)
		switch {
		case r != nil:
			t, r.extra = max(t, d.w.now)+r.extra, 0
			d.w.push(event{t: t, r: r})
		case t > d.w.now && t != d.wake:
			d.wake = t
			d.w.push(event{t: t, d: d})
			return
		default:
			return
		}
	}
}

// finish ends a request whose time has come.
func (d *Disk) finish(r *request) {
	res := d.perform(r)
	d.w.hashComplete(r, res)
	last := len(d.inflight) - 1
	d.inflight[r.slot] = d.inflight[last]
	d.inflight[r.slot].slot = r.slot
	d.inflight[last] = nil
	d.inflight = d.inflight[:last]
	reply, token := r.reply, r.token
	if r.orphan {
		d.orphans--
	}
	d.w.freeRequest(r)
	d.pump()
	if reply != nil {
		reply(token, res)
	}
}

// perform does to the medium what the request does as it ends and returns its result.
func (d *Disk) perform(r *request) int32 {
	if r.void {
		d.dropVersions(r)
		return -errnoNoDevice
	}
	d.done++
	switch r.kind {
	case log.Write:
		if r.bufs != nil {
			d.checkUnchanged(r)
		}
		d.land(r)
	case log.Flush:
		d.flushed(r)
	case log.Read:
		if r.errno == 0 && !r.sampled && r.bufs != nil {
			d.sample(r)
		}
	}
	if r.errno != 0 {
		return r.errno
	}
	return int32(r.n)
}
