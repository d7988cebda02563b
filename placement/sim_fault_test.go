package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"unblend/log"
	"unblend/log/simdisk"
)

// simFault is a fault that the design promises to survive, or to name.
type simFault uint8

const (
	faultLogWrite  simFault = iota // a log write fails: nobody notices
	faultDataWrite                 // a destage write fails: its blocks go elsewhere
	faultRead                      // a read fails once: it is done again
	faultLogBlock                  // an acknowledged block in the log becomes unreadable: LOST
	faultPage                      // a copy of a metadata page becomes unreadable: the other is used
	faultFlush                     // a flush of the capacity device fails: the pool is read-only

	faultShort   // a transfer ends early: as if it had failed
	faultNoSpace // ENOSPC under thin data, once or for good: the pool is read-only at worst
	faultMedium  // a block of data gets a wrong bit, or becomes unreadable: EIO, never wrong data
	faultMisread // a read returns what is elsewhere, once: it is done again
	faultAstray  // data lands elsewhere, or nowhere: EIO of both places, never wrong data
	faultHome    // the same in one metadata home: the other is used
	faultSpike   // operations take half a second longer: nobody notices
	faultVanish  // a device is away until the process ends: errors, and nothing lost
)

func (f simFault) String() string {
	return [...]string{
		"log write", "data write", "read", "log block", "page copy", "flush", "short transfer",
		"no space", "medium", "misdirected read", "misdirected data", "misdirected page",
		"latency", "vanished device",
	}[f]
}

// injectFault makes a fault happen, once.
func (s *sim) injectFault(st *simStep) {
	l := &s.p.label
	logFrom := int64(l.LogOffset)
	logTo := logFrom + int64(l.LogBlocks())*log.BlockSize
	s.cover.faults++
	switch st.fault {
	case faultLogWrite:
		s.disks[log.Fast].Inject(simdisk.Fault{
			Do: simdisk.FailWrite, After: int(st.at % 8), From: logFrom, To: logTo,
		})
	case faultDataWrite:
		z := l.Zones[0]
		s.disks[log.Capacity].Inject(simdisk.Fault{
			Do: simdisk.FailWrite, After: int(st.at % 8), From: int64(z.Start) * log.BlockSize,
			To: int64(z.Start+z.Blocks) * log.BlockSize,
		})
	case faultRead: // a second one could hit the second try
		if s.readFault {
			return
		}
		s.mismatch, s.readFault = true, true
		s.distinct()[st.at%uint64(len(s.distinct()))].Inject(simdisk.Fault{
			Do: simdisk.FailRead, After: int(st.at % 64),
		})
	case faultLogBlock:
		s.loseLogBlock(st.at)
	case faultPage:
		s.damagePage(st.at)
	case faultFlush:
		// On one device with --durability flush the flush is the log's too. A disk that keeps
		// readable what a failed flush did not store, and loses it at a power cut after a later
		// flush that succeeded, is not survived.
		if s.plan.oneDisk && l.Durability == DurabilityFlush {
			return
		}
		s.excused = true
		s.disks[log.Capacity].Inject(simdisk.Fault{Do: simdisk.FailFlush, After: int(st.at % 4)})
	default:
		s.injectWide(st)
	}
}

// loseLogBlock makes one live block of a sealed segment unreadable that a recovery can tell from a
// tail that was never acknowledged.
func (s *sim) loseLogBlock(at uint64) {
	p := s.p
	var victims []uint32
	for i := range p.ring.Segments() {
		if !s.witnessed(i) {
			continue
		}
		for e := p.index.segHead(i); e != noEntry; e = p.index.segNext(e) {
			id, _, d := p.index.entry(e)
			if n := p.nodes[id]; d.flags == 0 && n != nil && !n.frozen() {
				victims = append(victims, e)
			}
		}
	}
	if len(victims) == 0 {
		return
	}
	id, block, d := p.index.entry(victims[at%uint64(len(victims))])
	off := int64(p.label.LogOffset) + int64(d.loc)*log.BlockSize
	s.disks[log.Fast].SetBad(off, log.BlockSize, true)
	s.mismatch, s.badLog = true, append(s.badLog, fmt.Sprintf(" at %d:", off))
	s.trace("log block %d, block %d of node %d, is unreadable", d.loc, block, id)
	for _, slot := range s.slots {
		if slot.o == nil || slot.vol == nil || slot.vol.node.rec.ID != id {
			continue
		}
		l := lostBlock{since: s.o.tick()}
		slot.o.lost[uint32(block)] = l
		for _, snap := range slot.o.snapping { // on its way, so it will hold the block
			snap.lost[uint32(block)] = l
		}
	}
}

// witnessed reports whether segment i is sealed and a durable header of its lane names its end: that
// of the cut after a recovery, or of the next segment. A summary is no such witness: it may be under
// way still, or in a volatile cache, and a power cut takes it away.
func (s *sim) witnessed(i int) bool {
	r := s.p.ring
	seg := r.Segment(i)
	if !seg.Closed() || seg.LastSeq <= s.replayed {
		return seg.Closed()
	}
	durable := r.NextSeq()
	if s.p.label.Durability == DurabilityFlush {
		durable = r.MinUndurable()
	}
	for j := range r.Segments() {
		next := r.Segment(j)
		if next.Lane == seg.Lane && next.FirstSeq > seg.LastSeq && next.FirstSeq < durable {
			return true
		}
	}
	return false
}

// damagePage damages one copy of a metadata page that the durable root reaches, if the other copy
// is good: of the catalogue, or of a map.
func (s *sim) damagePage(at uint64) {
	p := s.p
	var pages []Entry
	if p.root.Catalogue.Flags&FlagMapped != 0 {
		pages = append(pages, p.root.Catalogue)
	}
	for _, n := range p.order {
		if n.rec.Root.Flags&FlagMapped != 0 {
			pages = append(pages, n.rec.Root)
		}
	}
	if len(pages) == 0 || p.back.phase != backIdle {
		return
	}
	e := pages[at>>32%uint64(len(pages))]
	home := log.Dev(at % uint64(log.Devs))
	other := 1 - home
	mem := simdisk.Buffer(log.BlockSize)
	good, bad := s.pageAt(other, e), s.pageAt(home, e)
	s.disks[good.dev].Peek(mem, good.off)
	if checksum(mem) != e.CRC {
		return
	}
	s.disks[bad.dev].Flip(bad.off, int(at>>8%(log.BlockSize*8)))
	s.damaged[bad], s.mismatch = true, true // a scrub looks twice
	s.trace("page %d of the %s device's home is damaged", e.Addr, home)
}

// damageRoot damages one copy of the newest root, after a crash that did not come while that was
// being written, if the other copy is good.
func (s *sim) damageRoot(at uint64) {
	home := log.Dev(at % uint64(log.Devs))
	if s.p.back.phase == writeRoot || !s.hasRoot(1-home) {
		return
	}
	off := rootOffset(&s.p.label, home, s.p.root.Generation)
	s.disks[home].Flip(off, int(at>>8%(log.BlockSize*8)))
	s.trace("the %s device's copy of root %d is damaged", home, s.p.root.Generation)
}

// hasRoot reports whether a home has the newest root: its write may have gone astray.
func (s *sim) hasRoot(home log.Dev) bool {
	mem := simdisk.Buffer(log.BlockSize)
	off := rootOffset(&s.p.label, home, s.p.root.Generation)
	s.disks[home].Peek(mem, off)
	r, err := DecodeRoot(mem, s.p.label.Pool, home, off)
	return err == nil && r.Generation == s.p.root.Generation
}

// pageAt returns where a copy of a metadata page lies.
func (s *sim) pageAt(home log.Dev, e Entry) place {
	return s.p.label.locate(home, s.p.label.pageBlock(e.Addr))
}

// excusedProblem reports whether a finding of the check is an injected fault.
func (s *sim) excusedProblem(pr Problem) bool {
	s.noteDamage()
	var bad *CorruptError
	if errors.As(pr.Err, &bad) && s.damaged[place{bad.Dev, bad.Off}] {
		return true
	}
	for _, slot := range s.slots {
		if pr.Structure == "log" && slot.o != nil && len(slot.o.lost) > 0 {
			return true
		}
	}
	for at := range s.damaged { // what a cut has made unreadable, where a write was that went astray
		if pr.Structure != "log" && strings.Contains(pr.Err.Error(), fmt.Sprintf(" at %d:", at.off)) {
			return true
		}
	}
	// The volume may be gone since.
	return slices.ContainsFunc(s.badLog, func(at string) bool {
		return pr.Structure == "log" && strings.Contains(pr.Err.Error(), at)
	})
}
