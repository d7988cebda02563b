package simdisk

import (
	"syscall"

	"unblend/log"
)

// FaultKind is a way in which a disk can fail.
type FaultKind uint8

// The faults. Those that say "medium" stay until the block is rewritten.
const (
	NoFault        FaultKind = iota
	FailRead                 // a read ends with EIO
	FailWrite                // a write ends with EIO, each of its sectors old or new
	FailFlush                // a flush ends with EIO, what it covers stays volatile for good
	NoSpace                  // a write ends with ENOSPC and writes nothing
	ShortRead                // a read moves only its first blocks
	ShortWrite               // a write moves only its first blocks
	LatentError              // medium: a block that is read turns out unreadable, EIO
	FlipBit                  // medium: one bit of what is read is wrong
	MisdirectRead            // a read returns what is stored elsewhere
	MisdirectWrite           // a write lands elsewhere
	LostWrite                // a write reports success and never reaches the device
	LyingFlush               // a flush reports success and makes nothing durable
	Spike                    // an operation takes Faults.SpikeTime longer
	CutUnreadable            // medium: a block being written as the power goes is unreadable
	faultKinds
)

var faultNames = [faultKinds]string{
	"no fault", "failed read", "failed write", "failed flush", "no space", "short read",
	"short write", "latent error", "flipped bit", "misdirected read", "misdirected write",
	"lost write", "lying flush", "latency spike", "unreadable after power cut",
}

func (k FaultKind) String() string { return faultNames[k] }

// strikes tells which operations a fault can happen to. CutUnreadable happens to none: it is drawn
// at a power cut.
func (k FaultKind) strikes(kind log.Kind) bool {
	switch k {
	case FailRead, ShortRead, LatentError, FlipBit, MisdirectRead:
		return kind == log.Read
	case FailWrite, NoSpace, ShortWrite, MisdirectWrite, LostWrite:
		return kind == log.Write
	case FailFlush, LyingFlush:
		return kind == log.Flush
	case Spike:
		return true
	}
	return false
}

// Faults says what goes wrong at random on a disk. The zero value is a disk without faults.
type Faults struct {
	// Rate is the probability of each kind per operation it can happen to (CutUnreadable: per
	// block in flight at a power cut).
	Rate [faultKinds]float64
	// Budget is how many random faults happen at most, spikes not counted; 0: no limit.
	Budget int
	// Where, if not nil, tells whether an operation may be struck at all.
	Where func(kind log.Kind, off, n int64) bool
	// SpikeTime is what a spike adds to an operation, in ns; 500 ms if 0.
	SpikeTime int64
}

// Fault is a directed fault: the operation number After+1 (from now on) among those on the disk
// that it can happen to and that lie in its range gets it.
type Fault struct {
	Do     FaultKind
	After  int
	Sticky bool  // all later ones get it as well
	From   int64 // bytes; only operations that touch [From, To) count
	To     int64 // 0: no limit. Flushes always count

	// Into is where in bytes, from and to, a misdirected operation goes; zero: anywhere.
	Into [2]int64
}

// Injected is a fault that happened.
type Injected struct {
	Time int64 // ns, of the operation's submission
	Kind FaultKind
	Op   log.Kind
	Off  int64 // bytes, as asked for
	Len  int64
	At   int64 // where a misdirected operation went; of one block of the medium, that block
}

// SetFaults replaces what goes wrong at random from now on; the budget starts anew.
func (d *Disk) SetFaults(f Faults) {
	if f.SpikeTime == 0 {
		f.SpikeTime = 500e6
	}
	d.cfg.Faults = f
	d.budget = f.Budget
	d.rates = d.rates[:0]
	for k := NoFault + 1; k < faultKinds; k++ {
		if f.Rate[k] > 0 && k != CutUnreadable {
			d.rates = append(d.rates, k)
		}
	}
}

// Inject arms a directed fault. Several may be armed; an operation gets the first that is due.
func (d *Disk) Inject(f Fault) { d.rules = append(d.rules, f) }

// Disarm takes all directed faults back.
func (d *Disk) Disarm() { d.rules = d.rules[:0] }

// Injected returns the faults that happened on this disk, oldest first, spikes left out.
func (d *Disk) Injected() []Injected { return d.events }

// SetBad makes n bytes at off unreadable until they are rewritten (bad), or readable again.
func (d *Disk) SetBad(off, n int64, bad bool) {
	for b := off / log.BlockSize; b*log.BlockSize < off+n; b++ {
		d.store.make(b).bad = bad
	}
}

// Flip damages one bit of the block at off on the medium: bit from 0 to 8*log.BlockSize-1.
func (d *Disk) Flip(off int64, bit int) { d.store.flip(off/log.BlockSize, bit) }

// drawFault decides what goes wrong with an operation that was submitted.
func (d *Disk) drawFault(r *request) {
	if r.errno != 0 || r.n == 0 && r.kind != log.Flush {
		return
	}
	for i := 0; i < len(d.rules); i++ {
		f := &d.rules[i]
		if !f.Do.strikes(r.kind) || !f.covers(r) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		k, into := f.Do, f.Into
		if !f.Sticky {
			d.rules = append(d.rules[:i], d.rules[i+1:]...)
		}
		d.strike(r, k, into)
		return
	}
	for _, k := range d.rates {
		if k.strikes(r.kind) && d.allowed(k, r.kind, r.off, r.n) &&
			d.w.rng.Float64() < d.cfg.Faults.Rate[k] {
			d.strike(r, k, [2]int64{})
			d.pay(k)
			return
		}
	}
}

// covers tells whether the operation counts for the fault.
func (f *Fault) covers(r *request) bool {
	if r.kind == log.Flush {
		return true
	}
	return r.off+r.n > f.From && (f.To == 0 || r.off < f.To)
}

// drawCut decides whether the power cut makes the block at off unreadable, whose write it hit.
func (d *Disk) drawCut(off int64) bool {
	rate := d.cfg.Faults.Rate[CutUnreadable]
	if rate == 0 || !d.allowed(CutUnreadable, log.Write, off, log.BlockSize) ||
		d.w.rng.Float64() >= rate {
		return false
	}
	d.record(CutUnreadable, log.Write, off, log.BlockSize)
	d.pay(CutUnreadable)
	return true
}

// allowed tells whether the budget and the filter admit a random fault.
func (d *Disk) allowed(k FaultKind, kind log.Kind, off, n int64) bool {
	f := &d.cfg.Faults
	if f.Budget > 0 && d.budget == 0 && k != Spike {
		return false
	}
	return f.Where == nil || f.Where(kind, off, n)
}

// pay takes a random fault that happened from the budget.
func (d *Disk) pay(k FaultKind) {
	if d.budget > 0 && k != Spike {
		d.budget--
	}
}

// record counts a fault that happened.
func (d *Disk) record(k FaultKind, kind log.Kind, off, n int64) *Injected {
	d.stats.Injected[k]++
	if k == Spike {
		return nil
	}
	d.events = append(d.events, Injected{
		Time: d.w.now, Kind: k, Op: kind, Off: off, Len: n, At: off,
	})
	return &d.events[len(d.events)-1]
}

// The results of operations that fail, as negative errnos are made of them.
const (
	errnoIO       = int32(syscall.EIO)
	errnoNoSpace  = int32(syscall.ENOSPC)
	errnoNoDevice = int32(syscall.ENODEV)
)

// strike makes a fault happen to an operation that is being submitted.
func (d *Disk) strike(r *request, k FaultKind, into [2]int64) {
	r.fault = k
	rec := d.record(k, r.kind, r.off, r.n)
	rng := d.w.rng
	blocks := r.n / log.BlockSize
	switch k {
	case FailRead, FailWrite, FailFlush:
		r.errno = -errnoIO
	case NoSpace:
		r.errno, r.n = -errnoNoSpace, 0
	case ShortRead, ShortWrite:
		r.n = rng.Int64N(blocks) * log.BlockSize
	case LatentError:
		n := r.off/log.BlockSize + rng.Int64N(blocks)
		d.store.make(n).bad = true
		rec.At = n * log.BlockSize
	case FlipBit:
		n := r.off/log.BlockSize + rng.Int64N(blocks)
		d.store.flip(n, rng.IntN(log.BlockSize*8))
		rec.At = n * log.BlockSize
	case MisdirectRead, MisdirectWrite:
		if into[1] < into[0]+r.n {
			into = [2]int64{0, d.cfg.Size}
		}
		r.at = into[0] + rng.Int64N((into[1]-into[0]-r.n)/log.BlockSize+1)*log.BlockSize
		rec.At = r.at
	case Spike:
		r.extra = d.cfg.Faults.SpikeTime
	}
}
