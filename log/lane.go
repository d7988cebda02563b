package log

// Lane is one shard's stream of records. Items are pushed at any time; Pump forms records of them
// and is called once per turn of the loop, after the turn's items and completions, so that
// everything that arrived meanwhile shares a record.
//
// A lane owns the segment it appends to and the one it plans next. It opens a segment only when it
// can plan another, so that a recovery always finds one to cut the lane's tail off with.
type Lane struct {
	ring    *Ring
	id      int
	queue   itemQueue // become records
	flushes itemQueue // wait for their target to be durable
	slots   []slot    // records under way are the n from slot at on, in order
	at, n   int

	cur     uint32 // open segment, or NoSegment
	plan    uint32 // the next one, or NoSegment
	husk    uint32 // kept until something is published behind it, or NoSegment
	used    uint32 // blocks of cur that formed records take
	fresh   bool   // cur's header goes out with the next record
	closing bool   // cur takes no more records; step by step it is sealed
	stalled bool   // no free segment
	missed  int    // segments that were free then, all of them kept for others
	nonce   nonce  // of cur
	opening uint64
	pred    predecessor
	sums    [2]summary // sums[sum] is of cur, the other one may be under way
	sum     int

	number    uint64 // of the last record formed
	published uint64 // sequence number of the last record published
	durable   uint64 // the same of what is durable
	undurable uint64 // the same of the first record published that is not
	flush     flushState

	broken   bool  // a write failed; those behind it are not published
	failures int   // in a row
	cause    error // of the last one
	err      error // the lane is dead
}

// slot is one record under way.
type slot struct {
	items   itemQueue
	mem     []byte // room for a segment header, then the record's header and entries
	hdr     recordHeader
	sum     int    // size and records of the summary before the record was added
	records uint32 //
	done    bool
	failed  bool
}

// batch is how much of the queue goes into the next record.
type batch struct {
	items   int
	entries uint32
	bytes   uint32
	payload uint32
}

func newLane(r *Ring, id int) *Lane {
	l := &Lane{ring: r, id: id, cur: NoSegment, plan: NoSegment, husk: NoSegment}
	l.slots = make([]slot, r.set.InFlight)
	for i := range l.slots {
		l.slots[i].mem = NewBlocks(1 + int(r.geo.HeaderBlocks()))
	}
	for i := range l.sums {
		l.sums[i].mem = NewBlocks(int(r.geo.SummaryBlocks()))
		l.sums[i].reset()
	}
	return l
}

// resume continues where recovery found the lane's end, in the segment that cuts it off.
func (l *Lane) resume(e *laneEnd) {
	l.cur, l.plan, l.used, l.nonce = e.open, e.planned, e.used, e.nonce
	l.opening, l.pred = e.opening, e.pred
	l.number, l.published, l.durable = e.number, e.lastSeq, e.lastSeq
	if l.cur != NoSegment {
		l.ring.segs[l.cur].state = SegmentOpen
	}
}

// Push queues an item. It is returned through Sink.ItemDone, never from within Push.
func (l *Lane) Push(it *Item) {
	it.measure(&l.ring.geo)
	if it.Kind == ItemFlush {
		it.target = l.published
		l.flushes.push(it)
		return
	}
	l.queue.push(it)
}

// Seal closes the lane's open segment if that holds records: Pump writes the summary, and the next
// record opens the planned successor.
func (l *Lane) Seal() {
	if l.cur != NoSegment && (l.ring.segs[l.cur].first != 0 || l.n > 0) {
		l.closing = true
	}
}

// Stalled reports whether items wait for a free segment.
func (l *Lane) Stalled() bool { return l.stalled }

// Waits reports whether the lane has something to do, could do it, and has nothing under way at whose
// end its thread would look after it.
func (l *Lane) Waits() bool {
	switch {
	case l.n > 0 || l.flush.busy || l.sums[0].busy || l.sums[1].busy:
		return false
	case l.queue.n > 0 || l.flushes.n > 0:
		return !l.stalled || l.ring.free > l.missed
	}
	return l.err == nil && (l.flush.wanted || l.closing || l.broken)
}

// Idle reports whether the lane has nothing queued and nothing under way.
func (l *Lane) Idle() bool {
	return l.queue.n == 0 && l.flushes.n == 0 && l.n == 0 && !l.closing && !l.flush.busy &&
		!l.sums[0].busy && !l.sums[1].busy
}

// Queued returns how many items wait to become part of a record.
func (l *Lane) Queued() int { return l.queue.n }

// Published returns the highest sequence number that the lane published.
func (l *Lane) Published() uint64 { return l.published }

// Err returns why the lane is dead (an ErrLaneDead), or nil.
func (l *Lane) Err() error { return l.err }

// Stop ends the lane: when what is under way has ended, Pump returns all that the lane holds with
// an ErrLaneDead that wraps cause.
func (l *Lane) Stop(cause error) {
	if l.err == nil {
		l.die(cause)
	}
}

// Pump submits what can be: records, a flush, the summary of a closed segment.
func (l *Lane) Pump() {
	l.stalled = false
	if (l.broken || l.err != nil) && !l.mend() {
		return
	}
	for l.step() {
	}
	l.pumpFlush()
}

// step does one thing and reports whether there may be more to do.
func (l *Lane) step() bool {
	if l.closing {
		return l.close()
	}
	if l.queue.n == 0 || l.n == len(l.slots) || !l.open() {
		return false
	}
	b := l.gather()
	if b.items == 0 {
		l.closing = true
		return true
	}
	return l.form(b)
}

// open sees to it that the lane has a segment to append to and one planned.
func (l *Lane) open() bool {
	r := l.ring
	if l.plan == NoSegment {
		l.plan = l.takeNext(l.cur)
	}
	if l.cur != NoSegment || l.plan == NoSegment {
		l.stalled, l.missed = l.plan == NoSegment, r.free
		return !l.stalled
	}
	next := l.takeNext(l.plan)
	if next == NoSegment {
		l.stalled, l.missed = true, r.free
		return false
	}
	l.cur, l.plan, l.used, l.fresh = l.plan, next, 1, true
	r.segs[l.cur] = segment{
		state: SegmentOpen, lane: l.id, end: 1, older: NoSegment, newer: NoSegment,
	}
	r.set.Random(l.nonce[:])
	l.opening++
	if l.sums[l.sum].busy {
		l.sum = 1 - l.sum
	}
	l.sums[l.sum].reset()
	r.count.Segments++
	return true
}

// takeNext takes a free segment, or else the lane's husk, or returns NoSegment.
func (l *Lane) takeNext(after uint32) uint32 {
	next := l.ring.takeFree(after, l.id)
	if next == NoSegment {
		next, l.husk = l.husk, NoSegment
	}
	return next
}

// gather returns how much of the queue fits one record and the open segment. With Settings.Split it
// takes its share of the queue, so that a hard disk has the next write before the present one ends: a
// write that comes later waits for a whole turn.
func (l *Lane) gather() batch {
	g := &l.ring.geo
	items := l.queue.n
	if free := len(l.slots) - l.n; l.ring.set.Split {
		items = (items + free - 1) / free
	}
	room := g.HeaderBlocks()*BlockSize - recordHeaderSize
	var b batch
	for it := l.queue.head; b.items < items; it = it.next {
		next := batch{b.items + 1, b.entries + it.entries, b.bytes + it.bytes, b.payload + it.payload}
		if next.bytes > room || next.payload > g.MaxRecordBlocks || !l.fits(next) {
			break
		}
		b = next
	}
	return b
}

// fits reports whether the open segment has room for the record and for the summary after it.
func (l *Lane) fits(b batch) bool {
	g := &l.ring.geo
	sum := l.sums[l.sum].size + summaryRecordSize + int(b.bytes)
	h := recordHeader{bytes: b.bytes, payload: b.payload}
	return sum <= int(g.SummaryBlocks())*BlockSize &&
		l.used+h.blocks()+uint32(blocksOf(sum)) <= g.SegmentBlocks
}

// form makes a record of the first items of the queue and submits it.
func (l *Lane) form(b batch) bool {
	r := l.ring
	loc := l.cur*r.geo.SegmentBlocks + l.used
	op := r.ops.NewOp(l, Fast, Write, r.geo.Offset(loc))
	if op == nil {
		return false
	}
	i := (l.at + l.n) % len(l.slots)
	s := &l.slots[i]
	l.n++
	l.number++
	s.done, s.failed = false, false
	s.hdr = recordHeader{
		lane: l.id, pool: r.pool, nonce: l.nonce, number: l.number, durable: l.durable,
		seq: r.nextSeq, loc: loc, entries: b.entries, bytes: b.bytes, payload: b.payload,
	}
	r.nextSeq++
	rec := s.mem[BlockSize:]
	rest := rec[recordHeaderSize:]
	for range b.items {
		it := l.queue.pop()
		rest = appendItem(rest, it)
		s.items.push(it)
	}
	s.hdr.seal(rec)
	sum := &l.sums[l.sum]
	s.sum, s.records = sum.size, sum.records
	sum.add(&s.hdr, l.used, rec[recordHeaderSize:recordHeaderSize+b.bytes])
	l.used += s.hdr.blocks()
	l.submit(op, i)
	return true
}

// submit writes the record of slot i, behind the segment's header if it is the first.
func (l *Lane) submit(op *Op, i int) {
	r, s := l.ring, &l.slots[i]
	head := s.mem[BlockSize : (1+s.hdr.headBlocks())*BlockSize]
	if l.fresh {
		l.fresh = false
		op.Off -= BlockSize
		h := l.header(s.hdr.number, s.hdr.seq)
		h.encode(s.mem)
		head = s.mem[:(1+s.hdr.headBlocks())*BlockSize]
	}
	op.Bufs = append(op.Bufs, head)
	for it := s.items.head; it != nil; it = it.next {
		op.Bufs = it.appendPayload(op.Bufs)
	}
	op.Arg = opArg(opRecord, i, 0)
	op.FUA = r.set.Durability == DurableWrite && !planted("ack-before-durable")
	r.ops.Submit(op)
	r.count.Writes++
}

// header returns the header of the open segment, whose first record has these numbers.
func (l *Lane) header(first, base uint64) segmentHeader {
	return segmentHeader{
		lane: l.id, pool: l.ring.pool, nonce: l.nonce, index: l.cur, planned: l.plan,
		opening: l.opening, first: first, base: base, generation: l.ring.generation, pred: l.pred,
	}
}

// appendPayload appends the blocks of a write that have content.
func (it *Item) appendPayload(bufs [][]byte) [][]byte {
	if it.Kind != ItemWrite {
		return bufs
	}
	for i := uint64(0); i < it.Count; {
		end, zero := it.run(i)
		if !zero {
			bufs = append(bufs, it.Data[i*BlockSize:end*BlockSize])
		}
		i = end
	}
	return bufs
}

// The operations of a lane, in the low byte of Op.Arg; a slot or summary and a segment follow.
const (
	opRecord = iota
	opSummary
	opFlush
)

func opArg(kind, i int, segment uint32) uint64 {
	return uint64(kind) | uint64(i)<<8 | uint64(segment)<<32
}

// OpDone takes the end of one of the lane's device operations.
func (l *Lane) OpDone(op *Op, err error) {
	i, segment := int(uint32(op.Arg)>>8), uint32(op.Arg>>32)
	switch op.Arg & 0xff {
	case opSummary:
		l.summaryDone(i, segment, err)
	case opFlush:
		l.flushDone(err)
	default:
		l.recordDone(&l.slots[i], err)
	}
}
