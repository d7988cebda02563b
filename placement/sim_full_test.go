package placement

import (
	"fmt"

	"unblend/log"
)

// stuck is called when nothing is to come although something is under way. Where the pool is full
// the guests make room, some times for each volume, and if that is of no use they are started
// again; else the engine has forgotten somebody.
func (s *sim) stuck() {
	st := s.p.Status()
	again := &simStep{do: stepKill, verify: true, check: true}
	switch {
	case st.Stalled > 0 && s.rescued < 2*len(s.slots):
		s.rescued++
		s.cover.stalls++
		s.makeRoom()
		return
	case st.Stalled > 0 && s.full():
		s.rescued = 0
		s.crashNow(again)
		return
	case s.excused && st.ReadOnly != nil:
		s.crashNow(again)
		return
	}
	s.fail(fmt.Errorf("nothing is to come, but %d requests, control operation %v and the verifier "+
		"%v are under way; %d volumes wait for room; %s",
		s.flying, s.ctl != nil, s.reader != nil, st.Stalled, s.backState()))
}

// full reports whether all that waits for room waits for space on the devices, and nothing is left
// to destage or to free that could make some.
func (s *sim) full() bool {
	for _, v := range s.p.stalled {
		r := v.admission.head.task.(*Request)
		if none, known := s.p.needsNone(r); !s.p.lacksSpace(r) || none || !known {
			return false
		}
	}
	return s.p.back.drained()
}

// makeRoom now and then makes the pool larger, or removes the snapshots; else it discards all of a volume
// that has no requests under way, as a guest's fstrim would when the pool is full; once that did not
// help, what all guests have written and are not writing now.
func (s *sim) makeRoom() {
	if s.rescued%3 == 0 && s.ctl == nil && s.grew < simGrowMax {
		s.grow(&simStep{n: 1024 * log.BlockSize, at: 1})
		return
	}
	if snaps := s.snaps(nil); len(snaps) > 0 && s.ctl == nil && s.rescued%2 == 0 {
		c := &simControl{slots: snaps}
		c.Op = RemoveVolume
		for _, t := range snaps {
			c.Names = append(c.Names, t.name)
		}
		s.control(c)
		return
	}
	for i := range s.slots {
		slot := s.slots[(s.rescued+i)%len(s.slots)]
		if s.rescued > len(s.slots) || slot.snap ||
			slot.o == nil || slot.vol == nil || slot.open > 0 || slot.size > 64<<20 {
			continue
		}
		s.submit(slot, &simStep{do: stepIO, kind: Discard, n: slot.size})
		return
	}
	for _, slot := range s.slots {
		if slot.o != nil && slot.vol != nil && !slot.snap {
			s.trim(slot)
		}
	}
}

// trim discards the blocks of a volume that were ever written and that no request touches: a
// discard waits for those that do.
func (s *sim) trim(slot *simSlot) {
	busy := map[int64]bool{}
	for _, q := range s.reqs {
		if q.busy && q.slot == slot {
			for b := q.Off / log.BlockSize; b*log.BlockSize < q.Off+q.Len; b++ {
				busy[b] = true
			}
		}
	}
	for chunk := range slot.o.seen.chunks {
		if !slot.o.seen.touched(chunk) {
			continue
		}
		from := int64(chunk) * simChunk * SectorSize / log.BlockSize
		end := min(from+simChunk*SectorSize/log.BlockSize, slot.size/log.BlockSize)
		for from < end {
			to := from
			for to < end && !busy[to] {
				to++
			}
			if to > from {
				s.submit(slot, &simStep{
					do: stepIO, kind: Discard, off: from * log.BlockSize, n: (to - from) * log.BlockSize,
				})
			}
			from = to + 1
		}
	}
}
