package placement

import (
	"math/rand/v2"
	"syscall"

	"unblend/log"
	"unblend/log/simdisk"
)

// Faults beyond those of one operation, in some of the seeds that have no others: one kind in each. The
// plan draws from a source of its own what it takes, so that the rest of it is what it would be without.

// wideFaults are the kinds.
var wideFaults = []simFault{
	faultShort, faultNoSpace, faultMedium, faultMisread, faultAstray, faultHome, faultSpike, faultVanish,
}

// drawWide adds such faults to a plan.
func (p *simPlan) drawWide(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0x2545f4914f6cdd1d))
	if p.faults != nil || p.real || r.IntN(3) > 0 {
		return
	}
	kind := oneOf(r, wideFaults...)
	p.faults = []simFault{kind}
	if kind == faultHome { // what is damaged has one good copy
		for i := range p.steps {
			p.steps[i].root = false
		}
	}
	for range between(r, 2, 6) {
		at := p.volumes + r.IntN(len(p.steps)-p.volumes+1)
		p.insert(at, simStep{do: stepFault, fault: kind, at: r.Uint64()})
		if kind == faultVanish || kind == faultNoSpace { // until the process ends, soon
			st := crashStep(r)
			st.verify, st.after, st.again = true, 0, nil
			p.insert(min(at+between(r, 1, 40), len(p.steps)), st)
		}
	}
}

// insert puts a step into a plan.
func (p *simPlan) insert(at int, st simStep) {
	p.steps = append(p.steps[:at], append([]simStep{st}, p.steps[at:]...)...)
}

// injectWide makes a fault happen.
func (s *sim) injectWide(st *simStep) {
	data, some := s.dataRange(), int(st.at>>8%16)
	f := simdisk.Fault{After: some, From: data[0], To: data[1]}
	disk := s.disks[log.Capacity]
	switch st.fault {
	case faultShort:
		s.injectShort(st, f)
		return
	case faultNoSpace:
		f.Do, f.Sticky = simdisk.NoSpace, st.at%2 == 0
		s.excused = true
	case faultMedium:
		f.Do = [...]simdisk.FaultKind{simdisk.FlipBit, simdisk.LatentError}[st.at%2]
		s.mismatch = true
	case faultMisread: // a second one could hit the second try
		if s.readFault {
			return
		}
		s.mismatch, s.readFault = true, true
		f = simdisk.Fault{Do: simdisk.MisdirectRead, After: 4 * some}
		disk = s.distinct()[st.at%uint64(len(s.distinct()))]
	case faultAstray:
		f.Do, f.Into = [...]simdisk.FaultKind{simdisk.MisdirectWrite, simdisk.LostWrite}[st.at%2], data
		s.mismatch = true
	case faultHome:
		home := log.Dev(s.plan.seed % uint64(log.Devs))
		f.Do = [...]simdisk.FaultKind{simdisk.MisdirectWrite, simdisk.LostWrite}[st.at%2]
		f.From, f.To, f.Into = s.homeRange(home)
		disk, s.mismatch = s.disks[home], true
	case faultSpike:
		for range 1 + some {
			disk.Inject(simdisk.Fault{Do: simdisk.Spike, After: some})
		}
		return
	case faultVanish:
		s.vanish(s.distinct()[st.at%uint64(len(s.distinct()))])
		return
	}
	disk.Inject(f)
}

// injectShort has a transfer end early: a read, of the log or of data.
func (s *sim) injectShort(st *simStep, f simdisk.Fault) {
	f.Do = simdisk.ShortWrite
	switch st.at % 3 {
	case 0:
		s.disks[log.Capacity].Inject(f)
	case 1:
		f.From = int64(s.p.label.LogOffset)
		f.To = f.From + int64(s.p.label.LogBlocks())*log.BlockSize
		s.disks[log.Fast].Inject(f)
	default:
		if s.readFault {
			return
		}
		s.mismatch, s.readFault = true, true
		s.disks[st.at>>4%uint64(log.Devs)].Inject(simdisk.Fault{Do: simdisk.ShortRead, After: 2 * f.After})
	}
}

// vanish takes a device away until the process ends. What was in its volatile cache is gone.
func (s *sim) vanish(d *simdisk.Disk) {
	d.Vanish()
	s.excused, s.away, s.mismatch = true, true, true
	s.cover.injected.Vanished++
	s.trace("the %s device vanishes", d.Name())
}

// dataRange returns the bytes of the first zone for data.
func (s *sim) dataRange() [2]int64 {
	z := s.p.label.Zones[0]
	return [2]int64{int64(z.Start) * log.BlockSize, int64(z.Start+z.Blocks) * log.BlockSize}
}

// homeRange returns the bytes of a home without its label, and those of its pages alone.
func (s *sim) homeRange(home log.Dev) (from, to int64, pages [2]int64) {
	l := &s.p.label
	at := func(block uint64) int64 { return int64(l.Homes[home]+block) * log.BlockSize }
	return at(l.Home.Roots), at(l.Home.Pages + l.Home.PageCount),
		[2]int64{at(l.Home.Pages), at(l.Home.Pages + l.Home.PageCount)}
}

// noteDamage remembers which places of the devices are not what was written there.
func (s *sim) noteDamage() {
	for d, disk := range s.disks {
		events := disk.Injected()
		for ; s.noted[d] < len(events); s.noted[d]++ {
			switch e := events[s.noted[d]]; e.Kind {
			case simdisk.FlipBit, simdisk.LatentError:
				s.noteRange(log.Dev(d), e.At, log.BlockSize)
			case simdisk.MisdirectWrite, simdisk.LostWrite:
				s.noteRange(log.Dev(d), e.Off, e.Len)
				s.noteRange(log.Dev(d), e.At, e.Len)
			}
		}
	}
}

func (s *sim) noteRange(dev log.Dev, off, n int64) {
	for end := off + n; off < end; off += log.BlockSize {
		s.damaged[place{dev, off}] = true
		s.trace("the %s device is not what was written at %d", dev, off)
	}
}

// rotten reports whether the block that the pool has just complained about is one that was damaged.
func (s *sim) rotten() bool {
	if s.plan.faults == nil || s.p.stats.LastError == nil {
		return false
	}
	s.noteDamage()
	e := s.p.stats.LastError
	for d := range s.disks {
		if e.Device == log.Dev(d).String() &&
			s.damaged[place{log.Dev(d), int64(e.Address) * log.BlockSize}] {
			return true
		}
	}
	return false
}

// wideError reports whether a guest's request may have failed: a device is away, or what it wants, or
// has to be merged with, was damaged.
func (s *sim) wideError(q *simReq) bool {
	return s.away || q.Err == syscall.EIO && s.rotten()
}

// simInjected counts what was injected, for the record.
type simInjected struct {
	Errors     int `json:"io_errors"`
	Torn       int `json:"torn_blocks"`
	Unreadable int `json:"unreadable_blocks"`
	Flipped    int `json:"flipped_bits"`
	Misplaced  int `json:"misdirected"`
	Lost       int `json:"lost_writes"`
	Short      int `json:"short_transfers"`
	NoSpace    int `json:"no_space"`
	Spikes     int `json:"latency_spikes"`
	Vanished   int `json:"vanished_devices"`
}

// add counts what happened on a disk.
func (c *simInjected) add(st *simdisk.Stats) {
	n := func(kinds ...simdisk.FaultKind) (sum int) {
		for _, k := range kinds {
			sum += int(st.Injected[k])
		}
		return sum
	}
	c.Errors += n(simdisk.FailRead, simdisk.FailWrite, simdisk.FailFlush)
	c.Torn += int(st.Torn)
	c.Unreadable += n(simdisk.LatentError, simdisk.CutUnreadable)
	c.Flipped += n(simdisk.FlipBit)
	c.Misplaced += n(simdisk.MisdirectRead, simdisk.MisdirectWrite)
	c.Lost += n(simdisk.LostWrite)
	c.Short += n(simdisk.ShortRead, simdisk.ShortWrite)
	c.NoSpace += n(simdisk.NoSpace)
	c.Spikes += n(simdisk.Spike)
}

// sum adds what another run counted.
func (c *simInjected) sum(o *simInjected) {
	c.Errors += o.Errors
	c.Torn += o.Torn
	c.Unreadable += o.Unreadable
	c.Flipped += o.Flipped
	c.Misplaced += o.Misplaced
	c.Lost += o.Lost
	c.Short += o.Short
	c.NoSpace += o.NoSpace
	c.Spikes += o.Spikes
	c.Vanished += o.Vanished
}
