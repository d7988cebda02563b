package placement

import (
	"fmt"
	"syscall"
)

// The oracle knows, for every sector of every volume, which contents a read may return. It is told
// what the guests ask for and what they get, and decides by real time alone: a write that was
// answered before another was submitted comes before it; of those that were under way at the same
// time either may be the last.
//
// A sector has candidates: the writes that may be its content. A write becomes one when it is
// submitted; when it is answered, those that ended before it was submitted are none any more; a
// read that returns one of them excludes those that ended before the read began and were not what
// it returned. nil is the content of a sector nobody wrote: zeros.
//
// A crash ends the writes that are under way: each may have happened or not ("maybe"), but wholly:
// once one of its sectors is seen, none may show what it replaced. In a pool with --durability
// flush the candidates that a crash leaves are kept apart: there a write replaces others for good
// only when it is known to be durable, and when one shows after a crash, everything that had been
// answered before it was submitted must show too.

// simOp is one guest request that changes a volume.
type simOp struct {
	id       uint32 // number in the order of submission, over all volumes
	stamp    uint32 // what its sectors say: its id, or that of the request that it is once more
	vol      *simVolume
	kind     Kind
	fua      bool
	fill     simFill
	raw      []byte
	first, n uint32 // sectors that it changes
	submit   uint64 // when, by the oracle's clock of events
	end      uint64 // answered, or lost in a crash; 0: under way
	crash    uint64 // when the crash came that made it uncertain

	of *simOp // the write that this is a copy of, in a snapshot

	acked, durable, maybe bool
	shown, hidden         bool // after a crash: a sector was seen with it, or with what it replaced
}

// before reports whether op, or for nil the unwritten state, came before x.
func (op *simOp) before(x *simOp) bool {
	return x != nil && (op == nil || op.end != 0 && op.end < x.submit)
}

func (op *simOp) covers(s uint32) bool { return op.first <= s && s < op.first+op.n }

func (op *simOp) String() string {
	if op == nil {
		return "unwritten"
	}
	state := "under way"
	switch {
	case op.maybe && op.acked:
		state = "acknowledged, not durable at the crash"
	case op.maybe:
		state = "under way at the crash"
	case op.acked:
		state = "acknowledged"
	}
	return fmt.Sprintf("%s %d of sectors %d+%d, time %d-%d, %s",
		op.kind, op.id, op.first, op.n, op.submit, op.end, state)
}

// simVolume is what the oracle knows of one incarnation of a volume.
type simVolume struct {
	o       *simOracle
	uid     uint32
	name    string
	sectors uint32
	seen    *simSets // what reads may return
	kept    *simSets // what a crash may leave; the same where acknowledged is durable
	open    []*simOp // under way, or acknowledged and not known to be durable
	unsure  []*simOp // left undecided by a crash
	reads   []*simRead
	lost    map[uint32]lostBlock

	snapping []*simVolume // snapshots that are being taken
}

// lostBlock is a block that an injected fault made unreadable, until it was written again.
type lostBlock struct{ since, healed uint64 }

// simRead is a read under way.
type simRead struct {
	vol      *simVolume
	first, n uint32
	submit   uint64
	cands    []*simOp // candidates of all its sectors when it was submitted
	ends     []int    // where those of each sector end in cands
	later    []*simOp // writes submitted since
}

// simOracle is the oracle of one pool.
type simOracle struct {
	flush bool // --durability flush
	clock uint64
	born  uint64 // when the present process began to serve
	ids   uint32
	uids  uint32
	order map[[2]uint32]bool // {a, b}: a was seen to come before b, of two writes at the same time
}

func newOracle(flush bool) *simOracle {
	return &simOracle{flush: flush, order: map[[2]uint32]bool{}}
}

func (o *simOracle) tick() uint64 {
	o.clock++
	return o.clock
}

// create returns a new volume, all of it unwritten.
func (o *simOracle) create(name string, size int64) *simVolume {
	o.uids++
	v := &simVolume{
		o: o, uid: o.uids, name: name, sectors: uint32(size / SectorSize),
		seen: newSets(size), lost: map[uint32]lostBlock{},
	}
	v.kept = v.seen
	if o.flush {
		v.kept = newSets(size)
	}
	return v
}

// submit notes that a guest asks for a change.
func (v *simVolume) submit(kind Kind, off, n int64, fill simFill, raw []byte, fua bool) *simOp {
	o := v.o
	o.ids++
	op := &simOp{
		id: o.ids, stamp: o.ids, vol: v, kind: kind, fua: fua, fill: fill, raw: raw,
		first: uint32(off / SectorSize), n: uint32(n / SectorSize), submit: o.tick(),
	}
	if kind == Discard { // only whole blocks
		from := (op.first + 7) / 8 * 8
		to := (op.first + op.n) / 8 * 8
		op.first, op.n = from, max(to, from)-from
	}
	v.seen.add(op)
	if v.kept != v.seen {
		v.kept.add(op)
	}
	v.open = append(v.open, op)
	for _, s := range v.snapping {
		s.include(op)
	}
	for _, r := range v.reads {
		if r.first < op.first+op.n && op.first < r.first+r.n {
			r.later = append(r.later, op)
		}
	}
	return op
}

// ack notes that a change was answered with success.
func (v *simVolume) ack(op *simOp) {
	op.end, op.acked = v.o.tick(), true
	v.seen.settle(op)
	for b := (op.first + 7) / 8; len(v.lost) > 0 && b < (op.first+op.n)/8; b++ {
		if l, bad := v.lost[b]; bad && l.healed == 0 && !v.o.flush {
			v.lost[b] = lostBlock{l.since, op.end}
		}
	}
	if !v.o.flush {
		op.durable = true
		v.close(op)
	} else if op.fua {
		v.makeDurable(op)
		v.close(op)
	}
}

// refused notes that a change was answered with an error that says that nothing happened.
func (v *simVolume) refused(op *simOp) {
	v.seen.remove(op)
	if v.kept != v.seen {
		v.kept.remove(op)
	}
	v.close(op)
}

// close takes op out of those that a crash can still undo.
func (v *simVolume) close(op *simOp) {
	for i, x := range v.open {
		if x == op {
			v.open = append(v.open[:i], v.open[i+1:]...)
			return
		}
	}
}

func (v *simVolume) makeDurable(op *simOp) {
	op.durable = true
	if v.kept != v.seen {
		v.kept.settle(op)
	}
}

// flushed notes that a flush submitted at a time was answered: what was acknowledged before that
// is durable.
func (v *simVolume) flushed(submit uint64) {
	rest := v.open[:0]
	for _, op := range v.open {
		if op.acked && op.end < submit {
			v.makeDurable(op)
		} else {
			rest = append(rest, op)
		}
	}
	v.open = rest
}

// crash ends what is under way. With the power gone, what was not known to be durable is uncertain
// too.
func (v *simVolume) crash(power bool) {
	now := v.o.tick()
	rest := v.open[:0]
	for _, op := range v.open {
		if op.acked && !power {
			rest = append(rest, op)
			continue
		}
		if !op.acked {
			op.end = now
		}
		op.maybe, op.crash = true, now
		v.unsure = append(v.unsure, op)
	}
	v.open, v.reads = rest, v.reads[:0]
	if power && v.kept != v.seen {
		v.seen = v.kept.clone()
	}
}

// recovered notes that the pool serves again: what it holds now is durable.
func (v *simVolume) recovered() {
	for _, op := range v.open {
		v.makeDurable(op)
	}
	v.open = v.open[:0]
}

// beginRead notes that a guest asks for a range.
func (v *simVolume) beginRead(off, n int64) *simRead {
	r := &simRead{
		vol: v, first: uint32(off / SectorSize), n: uint32(n / SectorSize), submit: v.o.tick(),
	}
	for s := r.first; s < r.first+r.n; s++ {
		r.cands = v.seen.append(r.cands, s)
		r.ends = append(r.ends, len(r.cands))
	}
	v.reads = append(v.reads, r)
	return r
}

func (v *simVolume) endRead(r *simRead) {
	for i, x := range v.reads {
		if x == r {
			v.reads = append(v.reads[:i], v.reads[i+1:]...)
			return
		}
	}
}

// failedRead checks that an error of a read is one that was injected.
func (v *simVolume) failedRead(r *simRead, err syscall.Errno) error {
	v.endRead(r)
	if err == syscall.EIO && v.hasLost(r.first, r.n, r.submit) {
		return nil
	}
	return fmt.Errorf("%s: read of sectors %d+%d: %w", v.name, r.first, r.n, err)
}

// hasLost reports whether a block of the range was unreadable at some time since then.
func (v *simVolume) hasLost(first, n uint32, since uint64) bool {
	for b := first / 8; len(v.lost) > 0 && b <= (first+n-1)/8; b++ {
		if l, bad := v.lost[b]; bad && (l.healed == 0 || l.healed >= since) {
			return true
		}
	}
	return false
}

// check decides whether a read may have returned data, and learns from it.
func (v *simVolume) check(r *simRead, data []byte) error {
	v.endRead(r)
	from := 0
	var err error
	for i := range r.ends {
		s := r.first + uint32(i)
		b := data[i*SectorSize : (i+1)*SectorSize]
		if e := v.checkSector(r, s, r.cands[from:r.ends[i]], b); e != nil && err == nil {
			err = e
		}
		from = r.ends[i]
	}
	return err
}

func (v *simVolume) checkSector(r *simRead, s uint32, cands []*simOp, b []byte) error {
	match, n, fresh := (*simOp)(nil), 0, false
	for _, c := range cands {
		if c.holds(b, s) {
			match = c
			n++
		}
	}
	for _, c := range r.later {
		if c.covers(s) && c.holds(b, s) {
			match, fresh = c, true
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("%s, sector %d: a read (time %d) returned %s; permitted: %v",
			v.name, s, r.submit, simDescribe(b), cands)
	}
	if len(cands) == 1 && len(r.later) == 0 {
		return nil
	}
	var err error
	if !fresh { // what was submitted after the read tells nothing of what was there before
		err = v.judge(r, s, cands, b, match, n)
	}
	v.seen.collapse(s, b, r.submit)
	if v.kept != v.seen {
		v.kept.collapseOld(s, b, v.o.born)
	}
	return err
}
