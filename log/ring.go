package log

// SegmentState says what a segment is used for.
type SegmentState uint8

// The states of a segment.
const (
	SegmentFree    SegmentState = iota
	SegmentPlanned              // a lane's next
	SegmentOpen                 // a lane appends to it
	SegmentSealed               // closed; becomes free when its records are below the replay start
)

func (s SegmentState) String() string { return [...]string{"free", "planned", "open", "sealed"}[s] }

// SegmentInfo describes a segment.
type SegmentInfo struct {
	State    SegmentState
	Lane     int
	FirstSeq uint64 // of its records; 0 if it has none
	LastSeq  uint64
	Blocks   uint32 // from its start to the end of its last record
}

// Used reports whether the segment holds records that are not free yet.
func (s SegmentInfo) Used() bool { return s.FirstSeq != 0 }

// Closed reports whether no record will be added to the segment.
func (s SegmentInfo) Closed() bool { return s.State == SegmentSealed }

// segment is the ring's knowledge of one segment. Those with records form a list in the order of
// their first sequence number, which is the order in which they got their first record.
type segment struct {
	state SegmentState
	busy  bool // its summary is being written
	lane  int
	first uint64 // sequence numbers of its first and last record; 0: none
	last  uint64
	end   uint32 // blocks from its start to the end of its last record
	older uint32 // links of the list; NoSegment ends it
	newer uint32
}

// Ring is the log: the segments, the lanes that write them, and the source of sequence numbers.
// Recover makes one, Cut readies the device, Start makes the lanes. It is used by one thread.
type Ring struct {
	geo  Geometry
	set  Settings
	pool uuid
	ops  *Ops
	sink Sink

	segs   []segment
	free   int    // how many are
	oldest uint32 // ends of the list of those with records
	newest uint32

	lanes      []*Lane
	ends       []laneEnd // of recovery, by lane; until Start
	ready      bool      // Cut has succeeded
	nextSeq    uint64
	published  uint64
	generation uint64
	below      uint64 // of the last FreeBelow
	failed     error
	count      Counters
}

func newRing(geo Geometry, pool uuid) *Ring {
	r := &Ring{geo: geo, pool: pool, nextSeq: 1, oldest: NoSegment, newest: NoSegment}
	r.segs = make([]segment, geo.Segments)
	for i := range r.segs {
		r.release(uint32(i))
	}
	return r
}

// Start makes the lanes, after Cut. Operations are taken from ops; sink is told what is published.
func (r *Ring) Start(ops *Ops, s Settings, sink Sink) {
	if !r.ready {
		panic("log: Start before Cut")
	}
	r.ops, r.set, r.sink = ops, s.withDefaults(), sink
	for i := range r.geo.Lanes {
		r.lanes = append(r.lanes, newLane(r, i))
	}
	r.eachFound(r.startLane)
	r.ends = nil
}

// startLane gives what recovery left of a lane to the lane, or, if that writes no more, closes it:
// the cut has to stay until nothing before it is live.
func (r *Ring) startLane(i int, e *laneEnd) {
	if i < len(r.lanes) {
		r.lanes[i].resume(e)
		return
	}
	if e.open == NoSegment {
		return
	}
	s := &r.segs[e.open]
	if e.live == 0 {
		r.release(e.open)
		return
	}
	s.state, s.last = SegmentSealed, e.lastSeq
	if s.first == 0 {
		s.first = e.lastSeq
		r.link(e.open)
	}
}

// Geometry returns what the ring was recovered with.
func (r *Ring) Geometry() Geometry { return r.geo }

// Lanes returns how many lanes there are.
func (r *Ring) Lanes() int { return len(r.lanes) }

// Lane returns lane i.
func (r *Ring) Lane(i int) *Lane { return r.lanes[i] }

// Segments returns how many segments there are.
func (r *Ring) Segments() int { return len(r.segs) }

// Segment describes segment i.
func (r *Ring) Segment(i int) SegmentInfo {
	s := &r.segs[i]
	return SegmentInfo{
		State: s.state, Lane: s.lane, FirstSeq: s.first, LastSeq: s.last, Blocks: s.end,
	}
}

// Oldest returns the used segment whose first record is the oldest of all lanes, or -1.
func (r *Ring) Oldest() int { return int(int32(r.oldest)) }

// Newer returns the used segment that follows segment i in the order of first records, or -1.
func (r *Ring) Newer(i int) int { return int(int32(r.segs[i].newer)) }

// FreeSegments returns how many segments are free, those planned by lanes not counted.
func (r *Ring) FreeSegments() int { return r.free }

// NextSeq returns the sequence number that the next record gets.
func (r *Ring) NextSeq() uint64 { return r.nextSeq }

// LastPublished returns the highest sequence number published, or replayed.
func (r *Ring) LastPublished() uint64 { return r.published }

// MinUndurable returns the smallest sequence number that is not yet durable: of a record under way,
// or the next one. Everything below it is durable or will never be.
func (r *Ring) MinUndurable() uint64 {
	seq := r.nextSeq
	for _, l := range r.lanes {
		seq = min(seq, l.minUndurable())
	}
	return seq
}

// DurableTo reports whether everything published up to seq is durable, and sees to it that it will
// be if not. With DurableWrite it always is.
func (r *Ring) DurableTo(seq uint64) bool {
	durable := true
	for _, l := range r.lanes {
		durable = l.durableTo(seq) && durable
	}
	return durable
}

// SetGeneration tells the ring the generation of the root that is durable now.
func (r *Ring) SetGeneration(g uint64) { r.generation = g }

// Failed returns why a lane is dead (an ErrLaneDead), or nil.
func (r *Ring) Failed() error { return r.failed }

// Counters returns what was done since Start.
func (r *Ring) Counters() Counters { return r.count }
