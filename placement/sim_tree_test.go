package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Snapshots, clones and rollbacks in the simulation. A snapshot is a volume of the oracle's own that
// nobody writes: its sectors may hold what those of the volume might when it was asked for, and what
// was written until it was answered. Of that, each write is in it wholly or not at all, and none is
// without those that had been answered before it was submitted, in all volumes of the snapshot.

// simSnapshots is how many snapshots there are at most.
const simSnapshots = 8

// snapshot prepares the copy of a volume that a snapshot will be, from now on.
func (v *simVolume) snapshot() *simVolume {
	s := &simVolume{
		o: v.o, uid: v.uid, name: v.name + "@", sectors: v.sectors, seen: v.seen.clone(),
		lost: map[uint32]lostBlock{},
	}
	s.kept = s.seen
	if v.kept != v.seen { // after a power cut it would be one of what could be left
		s.kept = v.kept.clone()
	}
	for b, l := range v.lost {
		s.lost[b] = l
	}
	for _, op := range v.open {
		if op.end == 0 || !op.durable {
			s.include(op)
		}
	}
	v.snapping = append(v.snapping, s)
	return s
}

// include makes a write that is under way one that the snapshot may have, as a copy: that it is in
// the snapshot says nothing about the volume.
func (v *simVolume) include(op *simOp) {
	c := *op
	c.maybe, c.of = true, op
	v.unsure = append(v.unsure, &c)
	for _, sets := range [...]*simSets{v.seen, v.kept} {
		if !sets.exchange(op, &c) {
			sets.add(&c)
		}
		if v.seen == v.kept {
			break
		}
	}
}

// exchange puts another op in the place of one that is a candidate, and reports whether it was.
func (x *simSets) exchange(op, by *simOp) bool {
	found := false
	for s := op.first; s < op.first+op.n; s++ {
		c, i := x.chunk(s), s%simChunk
		if c.one[i] == op {
			c.one[i], found = by, true
		}
		for k, o := range c.many[i] {
			if o == op {
				c.many[i][k], found = by, true
			}
		}
	}
	return found
}

// taken ends the time in which writes might get into the snapshot. cut says that the power went
// before the snapshot was answered.
func (v *simVolume) taken(of *simVolume, cut bool) {
	now := v.o.tick()
	of.snapping = slices.DeleteFunc(of.snapping, func(s *simVolume) bool { return s == v })
	for _, c := range v.unsure {
		c.end, c.acked = c.of.end, c.of.acked
		if c.end == 0 {
			c.end = now
		}
		c.crash = now
	}
	if cut {
		v.seen = v.kept
	}
	v.kept = v.seen
}

// branch returns a volume that begins with the content of a snapshot.
func (v *simVolume) branch(name string, sectors uint32) *simVolume {
	v.o.uids++
	b := &simVolume{
		o: v.o, uid: v.o.uids, name: name, sectors: sectors, seen: v.seen.clone(),
		lost: map[uint32]lostBlock{},
	}
	b.kept = b.seen
	if v.o.flush {
		b.kept = v.seen.clone()
	}
	for k, l := range v.lost {
		b.lost[k] = l
	}
	return b
}

// grow makes a volume larger.
func (v *simVolume) grow(size int64) {
	v.sectors = uint32(size / SectorSize)
	for _, sets := range [...]*simSets{v.seen, v.kept} {
		more := newSets(size)
		copy(more.chunks, sets.chunks)
		sets.chunks = more.chunks
	}
}

// snaps returns the slots of snapshots that there are, of one volume or of all.
func (s *sim) snaps(of *simSlot) (list []*simSlot) {
	for _, t := range s.slots {
		if t.snap && t.o != nil && (of == nil || strings.HasPrefix(t.name, of.name+"@")) {
			list = append(list, t)
		}
	}
	return list
}

// operateTree begins an operation on the tree, if it makes sense now.
func (s *sim) operateTree(slot *simSlot, st *simStep) {
	c := &simControl{}
	c.Time, c.Device = 1_700_000_000, -1
	snaps := s.snaps(nil)
	pick := func(list []*simSlot) *simSlot { return list[st.at%uint64(len(list))] }
	switch st.do {
	case stepSnapshot:
		s.takeSnapshot(c, slot, st)
	case stepClone:
		if slot.o == nil && len(snaps) > 0 {
			c.Op, c.slot, c.from = CloneVolume, slot, pick(snaps)
			c.Name, c.To, c.QueueDepth = c.from.name, slot.name, st.depth
		}
	case stepRollback:
		if own := s.snaps(slot); slot.o != nil && !slot.attached && len(own) > 0 {
			c.Op, c.slot, c.from = RollbackVolume, slot, pick(own)
			c.Name = c.from.name
		}
	case stepUnsnap:
		if len(snaps) > 0 {
			c.Op, c.slots = RemoveVolume, []*simSlot{pick(snaps)}
			c.Name = c.slots[0].name
		}
	case stepResize:
		if slot.o != nil && slot.size < 64<<20 {
			c.Op, c.slot = ResizeVolume, slot
			c.Name, c.Size = slot.name, slot.size+int64(st.at%600)<<12
		}
	}
	if c.Name == "" && c.To == "" {
		return
	}
	if c.slot != nil {
		c.slot.maybe = true
	}
	s.control(c)
}

// takeSnapshot plans a snapshot of a volume, and of others that chance names, at one moment.
func (s *sim) takeSnapshot(c *simControl, slot *simSlot, st *simStep) {
	s.snapNo++
	to := fmt.Sprintf("s%d", s.snapNo)
	free := simSnapshots - len(s.snaps(nil))
	for i, v := range s.slots[:s.plan.volumes] {
		if v.o == nil || v.vol == nil || v != slot && st.at>>(2*i)&3 != 0 || len(c.slots) == free {
			continue
		}
		t := s.spareSlot()
		t.name, t.snap, t.of, t.pend = v.name+"@"+to, true, v, v.o.snapshot()
		t.size, t.depth = v.size, v.depth
		c.slots, c.Names = append(c.slots, t), append(c.Names, v.name)
	}
	if len(c.slots) > 0 {
		c.Op, c.To = SnapshotVolume, to
	}
}

// spareSlot returns a slot for a snapshot.
func (s *sim) spareSlot() *simSlot {
	for _, t := range s.slots {
		if t.snap && t.o == nil && t.pend == nil {
			return t
		}
	}
	t := &simSlot{snap: true}
	s.slots = append(s.slots, t)
	return t
}

// treeDone notes that an operation on the tree was done, or found done after a crash.
func (s *sim) treeDone(c *simControl, cut bool) {
	slot := c.slot
	switch c.Op {
	case SnapshotVolume:
		s.cover.snapshots++
		if len(c.slots) > 1 {
			s.cover.groups++
		}
		for _, t := range c.slots {
			t.pend.taken(t.of.o, cut)
			t.o, t.pend, t.pending = t.pend, nil, c
			t.vol = s.p.Volume(t.name)
		}
	case CloneVolume:
		s.cover.clones++
		slot.o, slot.size = c.from.o.branch(slot.name, c.from.o.sectors), c.from.size
		slot.vol, slot.depth, slot.attached = s.p.Volume(slot.name), c.QueueDepth, false
	case RollbackVolume:
		s.cover.rollbacks++
		slot.o, slot.size = c.from.o.branch(slot.name, c.from.o.sectors), c.from.size
		slot.vol = s.p.Volume(slot.name)
	case RemoveVolume:
		for _, t := range c.slots {
			t.removed()
		}
	case ResizeVolume:
		slot.size = c.Size
		slot.o.grow(c.Size)
	}
}

// treeFailed forgets an operation that did not happen.
func (s *sim) treeFailed(c *simControl) {
	if c.slot != nil {
		c.slot.maybe = false
	}
	for _, t := range c.slots {
		if t.pend != nil {
			v := t.of.o
			if v != nil {
				v.snapping = slices.DeleteFunc(v.snapping, func(s *simVolume) bool { return s == t.pend })
			}
			t.pend = nil
		}
	}
}

// adoptTree decides, by what the pool has after a crash, whether the operation on the tree that was
// under way has happened.
func (s *sim) adoptTree(c *simControl, infos map[string]VolumeInfo) error {
	if c == nil {
		return nil
	}
	did := 0
	for _, t := range c.slots {
		if _, has := infos[t.name]; has == (c.Op == SnapshotVolume) {
			did++
			if c.Op == RemoveVolume {
				t.removed()
			}
		}
	}
	happened := false
	switch c.Op {
	case SnapshotVolume:
		if happened = did > 0; happened && did < len(c.slots) {
			return errors.New("after recovery: a snapshot of several volumes is there in part")
		}
	case CloneVolume:
		_, happened = infos[c.slot.name]
	case RollbackVolume:
		happened = infos[c.slot.name].ID != c.slot.id
	case ResizeVolume:
		happened = infos[c.slot.name].Size == c.Size
	default:
		return nil
	}
	if c.slot != nil {
		c.slot.maybe = false
	}
	if happened {
		s.treeDone(c, s.power)
	} else {
		s.treeFailed(c)
	}
	return nil
}

// verifiedTogether checks what only all volumes of a snapshot together show: that it is of one
// moment.
func (s *sim) verifiedTogether() error {
	var err error
	for _, t := range s.slots {
		c := t.pending
		if c == nil || t.o == nil {
			continue
		}
		for _, u := range c.slots {
			if u.o == nil || u.pending != c {
				continue
			}
			for _, x := range t.o.unsure {
				for _, y := range u.o.unsure {
					if x.shown && y.hidden && y.acked && y.before(x) {
						err = fmt.Errorf("snapshot %s has %v, but %s lacks %v", t.name, x, u.name, y)
					}
				}
			}
		}
	}
	for _, t := range s.slots {
		t.pending = nil
	}
	return err
}
