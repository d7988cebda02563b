package placement

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"unblend/log"
	"unblend/log/simdisk"
)

// Scrubs in the simulation. They go on beside everything else, crashes and faults included, and find
// nothing that nobody has damaged. At the end of a seed a block and a copy of a page are damaged in a
// pool at rest, and have to be found. Like growth, they are drawn from a source of their own.

// scrubWatch is what the simulation knows of the scrub under way.
type scrubWatch struct {
	judged  uint32          // pass of the latest scrub whose end has been looked at
	damaged map[place]Entry // copies of pages that were damaged when it began
}

// drawScrubs adds scrubs to a plan, in half of the seeds: with a stop, a crash or time for them behind
// them, or with nothing.
func (p *simPlan) drawScrubs(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0x6a09e667f3bcc909))
	if p.scrubs = r.IntN(2) == 0; !p.scrubs {
		return
	}
	for range between(r, 1, 6) {
		at := p.volumes + r.IntN(len(p.steps)-p.volumes+1)
		more := []simStep{{do: stepScrub, n: oneOf(r, int64(0), 1<<20, 1<<30), at: r.Uint64()}}
		switch r.IntN(6) {
		case 0:
			more = append(more, simStep{do: stepPause, wait: oneOf(r, int64(30_000_000), 5_000_000_000)})
		case 1:
			st := crashStep(r)
			st.do, st.after = stepCrash, between(r, 1, oneOf(r, 8, 100))
			more = append(more, st)
		case 2, 3: // the maps are older than what was written in place
			st := crashStep(r)
			st.do, st.after, st.verify = stepCrash, 0, false
			more = append([]simStep{st}, more...)
		}
		p.steps = append(p.steps[:at], append(more, p.steps[at:]...)...)
	}
}

// scrub begins a scrub, or ends the one under way.
func (s *sim) scrub(st *simStep) {
	c := Control{Op: StartScrub, Rate: st.n}
	if s.p.back.scrub.Running {
		if c.Op = StopScrub; st.at%2 == 0 {
			return
		}
	}
	s.control(&simControl{Control: c})
}

// scrubDone takes the end of a control operation that began or ended a scrub.
func (s *sim) scrubDone(c *simControl) error {
	if c.Op == StopScrub && errors.Is(c.Err, ErrNoScrub) { // it had ended meanwhile
		return nil
	}
	if c.Err != nil {
		return fmt.Errorf("scrub: %w", c.Err)
	}
	s.scrubs.damaged = maps.Collect(s.badCopies())
	return nil
}

// badCopies lists the copies of pages that have been damaged, are still bad, and which the durable root
// reaches and the next one will.
func (s *sim) badCopies() func(yield func(place, Entry) bool) {
	return func(yield func(place, Entry) bool) {
		mem := simdisk.Buffer(log.BlockSize)
		for _, e := range s.roots() {
			for home := log.Dev(0); e.Flags&FlagMapped != 0 && home < log.Devs; home++ {
				at := s.pageAt(home, e)
				if !s.damaged[at] {
					continue
				}
				s.disks[at.dev].Peek(mem, at.off)
				if checksum(mem) != e.CRC && !yield(at, e) {
					return
				}
			}
		}
	}
}

// watchScrub holds that a scrub finds only what was damaged, and all of that.
func (s *sim) watchScrub() error {
	st := &s.p.back.scrub
	switch {
	case st.Pass == 0 || s.away:
		return nil
	case !s.injured(&st.ScrubStatus):
		return fmt.Errorf("a scrub has found what nobody damaged: %+v", st.ScrubStatus)
	case st.Running || st.Pass == s.scrubs.judged:
		return nil
	}
	s.scrubs.judged = st.Pass
	if st.Err != nil {
		return nil
	}
	s.cover.scrubs++
	s.cover.scrubbed += int(st.Blocks)
	s.cover.mended += int(st.Repaired)
	if st.Repaired < st.BadCopies {
		return fmt.Errorf("a scrub has not repaired all that it found: %+v", st.ScrubStatus)
	}
	if slices.Contains(s.plan.faults, faultHome) {
		return nil // what it writes may go astray
	}
	for at, e := range s.badCopies() {
		if s.scrubs.damaged[at] == e {
			return fmt.Errorf("a scrub has left a bad copy at %v: %+v", at, st.ScrubStatus)
		}
	}
	return nil
}

// roots returns where the trees begin which the durable root has and the next one will have.
func (s *sim) roots() (entries []Entry) {
	if s.p.catalogue.root == s.p.root.Catalogue {
		entries = append(entries, s.p.root.Catalogue)
	}
	for _, n := range s.p.order {
		if n.root == n.rec.Root {
			entries = append(entries, n.root)
		}
	}
	return entries
}

// injured reports whether all that a scrub has found was damaged.
func (s *sim) injured(st *ScrubStatus) bool {
	if st.BadBlocks+st.BadCopies == 0 {
		return true
	}
	s.noteDamage()
	for i := range st.Found {
		if f := &st.Found[i]; !s.damaged[place{log.Capacity, int64(f.Address) * log.BlockSize}] {
			return false
		}
	}
	return len(s.damaged) > 0 && st.BadPages == 0
}

// scrubAtRest damages a block of data and a copy of a page in a pool at rest, and holds that a scrub
// finds the one, repairs the other, and nothing else.
func (s *sim) scrubAtRest() error {
	if !s.plan.scrubs || slices.Contains(s.plan.faults, faultHome) {
		return nil
	}
	for _, d := range s.distinct() {
		d.Disarm()
	}
	victim, found := s.someBlock()
	if found {
		s.damaged[place{log.Capacity, int64(victim) * log.BlockSize}] = true
		s.disks[log.Capacity].Flip(int64(victim)*log.BlockSize, s.rng.IntN(log.BlockSize*8))
	}
	bad := maps.Collect(s.badCopies()) // from earlier on
	if len(bad) == 0 {
		s.damagePage(s.rng.Uint64())
		bad = maps.Collect(s.badCopies())
	}
	known := int(s.p.stats.PageDamage)
	if err := s.scrubAll(); err != nil {
		return err
	}
	// What a checkpoint has moved, or a removal has taken apart meanwhile, a scrub need not have seen; and
	// reads may have found a copy before it did.
	maps.DeleteFunc(bad, func(_ place, e Entry) bool { return !slices.Contains(s.roots(), e) })
	copies := len(bad) - (int(s.p.stats.PageDamage) - known - int(s.p.back.scrub.BadCopies))
	st := &s.p.back.scrub
	switch {
	case found && st.BadBlocks <= scrubFound &&
		!slices.ContainsFunc(st.Found, func(e BlockError) bool { return e.Address == victim }):
		return fmt.Errorf("block %d is damaged, a scrub has found %+v", victim, st.ScrubStatus)
	case !s.injured(&st.ScrubStatus), st.Err != nil, st.Repaired != st.BadCopies, int(st.BadCopies) < copies:
		return fmt.Errorf("%d copies are damaged, a scrub has found %+v", copies, st.ScrubStatus)
	}
	for at := range s.badCopies() {
		return fmt.Errorf("a scrub has left a bad copy at %v: %+v", at, st.ScrubStatus)
	}
	s.cover.mended += int(st.Repaired)
	return nil
}

// scrubAll runs a scrub to its end, and holds that it reads every block that guests can read, and none
// twice but what is damaged.
func (s *sim) scrubAll() error {
	want, was := s.reachable(), s.p.stats
	read := map[uint64]int{}
	s.w.Observe(func(e simdisk.Event) {
		if e.Kind == log.Read && !e.Done && e.Disk == s.disks[log.Capacity] {
			for off := e.Off; off < e.Off+e.Len; off += log.BlockSize {
				read[uint64(off)/log.BlockSize]++
			}
		}
	})
	s.p.Control(&Control{Op: StartScrub, Rate: 1 << 30})
	for s.p.NextControl() == nil {
		s.restTurn()
	}
	for s.p.back.scrub.Running {
		s.restTurn()
	}
	s.w.Observe(nil)
	if st := &s.p.stats; st.ReplacedBlocks != was.ReplacedBlocks || st.DestagedBlocks != was.DestagedBlocks {
		return nil // blocks were moved meanwhile
	}
	hidden := slices.ContainsFunc(s.p.order, (*node).hidden)
	s.noteDamage()
	for addr, block := range want {
		again := hidden || s.plan.faults != nil || // then its neighbours are read again, too
			s.damaged[place{log.Capacity, int64(addr) * log.BlockSize}]
		if n := read[addr]; n == 0 || n > 1 && !again {
			return fmt.Errorf("a scrub has read %s at %d %d times", block, addr, n)
		}
	}
	return nil
}

// restTurn is a turn of a pool that no guest uses.
func (s *sim) restTurn() {
	s.p.Tick(s.w.Now() + 1)
	if more, pumped := s.p.Run(), s.drv.Pump(); !more && pumped == 0 && !s.w.Step() {
		s.w.Advance(s.p.Deadline())
	}
}

// reachable returns the addresses of all blocks that guests can read, with what they are.
func (s *sim) reachable() map[uint64]string {
	all := map[uint64]string{}
	mem := simdisk.Buffer(log.BlockSize)
	seen := map[Entry]bool{}
	var expand func(n *node, e Entry, level uint8, first uint64)
	expand = func(n *node, e Entry, level uint8, first uint64) {
		switch {
		case e.Flags != FlagMapped || seen[e]:
			return
		case level == 0:
			if _, newer := s.p.known(n.line, n.rec.ID, first); !newer {
				all[e.Addr] = fmt.Sprintf("block %d of %s", first, n.rec.Name)
			}
			return
		}
		seen[e] = true
		for home := range log.Devs {
			at := s.pageAt(home, e)
			if s.disks[at.dev].Peek(mem, at.off); checksum(mem) == e.CRC {
				break
			}
		}
		page := slices.Clone(mem)
		for i := range fanout {
			expand(n, entryAt(page, i), level-1, first+uint64(i)<<(fanoutBits*(level-1)))
		}
	}
	for _, n := range s.p.order {
		if m := s.p.mapOf(n); m != nil && !n.hidden() && m.fresh == 0 {
			expand(n, m.root, m.levels, 0)
		}
	}
	return all
}

// someBlock returns the address of a block of data that a volume or snapshot has.
func (s *sim) someBlock() (addr uint64, ok bool) {
	for range 64 {
		slot := s.slots[s.rng.IntN(len(s.slots))]
		if slot.vol == nil {
			continue
		}
		n, chunk := slot.vol.node, s.rng.IntN(max(len(slot.o.seen.chunks), 1))
		block := (uint64(chunk)*simChunk + s.rng.Uint64N(simChunk)) * SectorSize / log.BlockSize
		src, err := s.p.locate(n, min(block, n.blocks()-1), nil)
		for err == errWait {
			s.restTurn()
			src, err = s.p.locate(n, min(block, n.blocks()-1), nil)
		}
		if err == nil && src.kind == fromDevice && src.dev == log.Capacity {
			return src.block, true
		}
	}
	return 0, false
}
