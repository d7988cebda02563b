package placement

import "hash/fnv"

// scopeDigest folds numbers into one.
type scopeDigest uint64

func (h *scopeDigest) add(list ...uint64) {
	for _, x := range list {
		*h = scopeDigest(simMix(uint64(*h)*0x9e3779b97f4a7c15 + x + 1))
	}
}

func (h *scopeDigest) text(s string) {
	f := fnv.New64a()
	f.Write([]byte(s))
	h.add(f.Sum64())
}

func (h *scopeDigest) flags(list ...bool) {
	x := uint64(1)
	for _, b := range list {
		x <<= 1
		if b {
			x |= 1
		}
	}
	h.add(x)
}

// permitted is a digest of all that the oracle, and what compares the volumes with those that there may
// be, goes by after a crash now: what each sector may hold, which writes must be whole, which came before
// which, and the operation under way. When that was does not matter.
func (s *sim) permitted() uint64 {
	h := scopeDigest(0)
	for _, slot := range s.slots {
		h.text(slot.name)
		h.flags(slot.attached, slot.maybe, slot.snap, slot.o != nil, slot.pend != nil)
		h.add(uint64(slot.size), uint64(slot.depth))
		h.volume(slot.o)
		h.volume(slot.pend)
	}
	if c := s.ctl; c != nil {
		h.add(uint64(c.Op))
		h.text(c.Name + " " + c.To)
	}
	return uint64(h)
}

func (h *scopeDigest) volume(v *simVolume) {
	if v == nil {
		return
	}
	h.add(uint64(v.uid), uint64(v.sectors))
	h.sets(v.seen, v.sectors)
	if v.kept != v.seen {
		h.sets(v.kept, v.sectors)
	}
	h.ops(v.open)
	h.ops(v.unsure)
}

// sets adds the candidates of all sectors that ever had another than the unwritten state.
func (h *scopeDigest) sets(x *simSets, sectors uint32) {
	var one [1]*simOp
	for i := range x.chunks {
		if !x.touched(i) {
			continue
		}
		c, first := x.chunks[i], uint32(i)*simChunk
		for k := range min(simChunk, sectors-first) {
			list := c.many[k]
			if len(list) == 0 {
				if one[0] = c.one[k]; one[0] == nil {
					continue
				}
				list = one[:]
			}
			h.add(uint64(first + k))
			h.ops(list)
		}
	}
}

// ops adds writes, with their order.
func (h *scopeDigest) ops(list []*simOp) {
	h.add(uint64(len(list)))
	for i, op := range list {
		if op == nil {
			continue
		}
		h.add(uint64(op.id), uint64(op.first)<<32|uint64(op.n))
		h.flags(op.acked, op.durable, op.maybe, op.end != 0, op.of != nil, op.shown, op.hidden)
		if op.of != nil {
			h.flags(op.of.acked, op.of.durable, op.of.end != 0)
		}
		for _, other := range list[:i] {
			h.flags(other.before(op), op.before(other))
		}
	}
}
