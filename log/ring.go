package log

import "fmt"

// Durability says when a record is published.
type Durability uint8

const (
	// DurableWrite publishes what is on non-volatile media: every record is a FUA write.
	DurableWrite Durability = iota
	// DurableFlush publishes what the device has accepted. It is durable after a flush: an
	// ItemFlush, or Ring.DurableTo.
	DurableFlush
)

// Settings tune a ring; they may differ from one start to the next.
type Settings struct {
	InFlight   int // record writes a lane keeps under way; 0: 2
	Retries    int // failed writes in a row that a lane survives; 0: 3; negative: none
	Durability Durability
	Random     func(p []byte) // fills p with random bytes, for nonces
}

// SegmentState says what a segment is used for.
type SegmentState uint8

// The states of a segment.
const (
	SegmentFree    SegmentState = iota
	SegmentPlanned              // a lane's next
	SegmentOpen                 // a lane appends to it
	SegmentSealed               // closed; becomes free when all its records are below the replay start
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

// Counters count what a ring did since it was started.
type Counters struct {
	Records         uint64 // published
	Items           uint64
	PayloadBlocks   uint64
	HeaderBlocks    uint64 // of records
	Writes          uint64 // record writes submitted, failed ones included
	FailedWrites    uint64
	Segments        uint64 // opened
	Summaries       uint64 // submitted
	FailedSummaries uint64 // costs a scan at the next start, nothing else
	Flushes         uint64
}

// Ring is the log: the segments, the lanes that write them, and the source of sequence numbers.
// Recover makes one, Cut readies the device, Start makes the lanes. Used by one thread.
type Ring struct {
	geo Geometry
}

// Cut makes what recovery found final: for every lane it writes the header of a segment without
// records under a new nonce, which cuts off everything behind the lane's valid end, and flushes.
// It must succeed before anything is accepted; after an error, or a crash, recover again.
func (r *Ring) Cut(d Disk, random func(p []byte)) error { return nil }

// Start makes the lanes. Operations are taken from ops; sink is told what is published.
func (r *Ring) Start(ops *Ops, s Settings, sink Sink) {}

// Geometry returns what the ring was recovered with.
func (r *Ring) Geometry() Geometry { return r.geo }

// Lanes returns how many lanes there are.
func (r *Ring) Lanes() int { return r.geo.Lanes }

// Lane returns lane i.
func (r *Ring) Lane(i int) *Lane { return nil }

// Segments returns how many segments there are.
func (r *Ring) Segments() int { return int(r.geo.Segments) }

// Segment describes segment i.
func (r *Ring) Segment(i int) SegmentInfo { return SegmentInfo{} }

// Oldest returns the used segment whose first record is the oldest of all lanes, or -1.
func (r *Ring) Oldest() int { return -1 }

// Newer returns the used segment that follows segment i in the order of first records, or -1.
func (r *Ring) Newer(i int) int { return -1 }

// FreeSegments returns how many segments are free, those planned by lanes not counted.
func (r *Ring) FreeSegments() int { return 0 }

// NextSeq returns the sequence number that the next record gets.
func (r *Ring) NextSeq() uint64 { return 0 }

// LastPublished returns the highest sequence number published, or replayed.
func (r *Ring) LastPublished() uint64 { return 0 }

// MinUndurable returns the smallest sequence number that is not yet durable: of a record under way,
// or the next one. Everything below it is durable or will never be.
func (r *Ring) MinUndurable() uint64 { return 0 }

// DurableTo reports whether everything published up to seq is durable, and sees to it that it will
// be if not. With DurableWrite it always is.
func (r *Ring) DurableTo(seq uint64) bool { return true }

// SetGeneration tells the ring the generation of the root that is durable now.
func (r *Ring) SetGeneration(g uint64) {}

// FreeBelow frees every sealed segment all of whose records are below seq, in sequence order. seq
// is the replay start of a durable root, and nobody reads these segments any more. A segment whose
// summary is still being written becomes free when that has ended.
func (r *Ring) FreeBelow(seq uint64) {}

// Reclaimable reports whether FreeBelow(seq) would free a segment.
func (r *Ring) Reclaimable(seq uint64) bool { return false }

// Failed returns why a lane is dead (an ErrLaneDead), or nil.
func (r *Ring) Failed() error { return nil }

// Counters returns what was done since Start.
func (r *Ring) Counters() Counters { return Counters{} }

// Lane is one shard's stream of records. Items are pushed at any time; Pump forms records of them
// and is called once per turn of the loop, after the turn's items and completions, so that
// everything that arrived meanwhile shares a record.
type Lane struct {
	id int
}

// Push queues an item. It is returned through Sink.ItemDone, never from within Push.
func (l *Lane) Push(it *Item) {}

// Pump submits what can be: records, a flush, the summary of a closed segment.
func (l *Lane) Pump() {}

// Seal closes the lane's open segment if that holds records: Pump writes the summary, and the next
// record opens the planned successor.
func (l *Lane) Seal() {}

// Stalled reports whether items wait for a free segment.
func (l *Lane) Stalled() bool { return false }

// Idle reports whether the lane has nothing queued and nothing under way.
func (l *Lane) Idle() bool { return true }

// Queued returns how many items wait to become part of a record.
func (l *Lane) Queued() int { return 0 }

// Published returns the highest sequence number that the lane published.
func (l *Lane) Published() uint64 { return 0 }

// Err returns why the lane is dead (an ErrLaneDead), or nil.
func (l *Lane) Err() error { return nil }

func (l *Lane) String() string { return fmt.Sprintf("lane %d", l.id) }
