// Package placement is unblend's engine: it turns guest requests into log records, keeps the map
// of every volume, and destages the log, sorted, to the capacity device.
//
// A Pool is a state machine. Requests go in (Submit, Control), device operations come out
// (NextOp), their outcomes and the clock go in (Complete, Tick, Run), finished requests come out
// (NextDone, NextControl). It has no goroutines, clocks, files or locks: whoever drives it does so
// from one thread. Only Format, Open, Check and the like touch devices themselves, one operation
// at a time, before or beside the engine.
//
// How a write travels: it waits for older requests that share a partial block with it (volume.go),
// completes its own partial blocks from their old content (merge.go), is admitted when the log,
// the index and the capacity device have room for it (admit.go), and goes into a log record. When
// that is durable the dirty index learns of it and the guest is answered (publish.go). Later the
// back end moves the oldest segments' blocks to their places (destage.go, place.go), and a
// checkpoint makes the changed maps durable and frees the segments (checkpoint.go).
//
// A read asks the dirty index first, then the map, verifies the checksum of every block and looks
// again if one does not match (read.go).
//
// An operation that had to wait never resumes in the middle: it looks up again from the root.
package placement

import (
	"unblend/log"
)

// MaxIO is the largest read or write request, in bytes.
const MaxIO = 512 << 10

// maxBlocks is how many blocks a request of MaxIO bytes can touch.
const maxBlocks = MaxIO/log.BlockSize + 1

// Pool is the engine of one pool.
type Pool struct {
	opt   Options
	label Label
	root  Root // the durable one
	now   int64

	ops    *log.Ops
	ring   *log.Ring
	index  *index
	zeros  *extents
	cache  *cache
	blocks *space // of the capacity device
	pages  *space // of the metadata area
	homes  int    // metadata homes that are present

	catalogue tree
	nodes     map[uint32]*node
	names     map[string]*node
	order     []*node // by id; decisions iterate over this, never over a map
	nextNode  uint32
	epoch     uint32
	lastMark  uint64  // sequence of the last mark applied
	stale     []*node // their records are written by the next checkpoint
	snapshots int     // how many there are, hidden ones not counted
	walks     []*node // removed nodes that the walker has to see to; the first is under way
	counts    []*node // nodes whose children's counts are made anew; the first is under way
	dead      []*node // removed nodes without a map, in the catalogue for the log's sake
	shape     uint32  // rises when nodes may read another ancestor's map; see mapOf

	runq     waitList
	opWait   waitList // those that wait for an operation's slot or a frame
	kept     int      // operations that reads leave free
	scratch  scratch
	readers  [2]int // reads of devices under way, by parity
	parity   int
	turns    [2]turns // by device
	reader   reader
	merger   merger
	back     backend
	readOnly error // why the pool accepts no writes

	oneDevice bool
	lastGuest int64 // ns; when the last guest request came
	bad       []uint64

	replaying bool
	replayed  log.Report
	replayErr error
	coming    int  // catalogue pages that the operation under way may add to the next cut
	released  bool // writes that were held may be admitted again
	markDue   bool // the mark of the present control operation is durable in its lane

	dirtyLimit int      // dirty frames that make a checkpoint necessary
	segments   []logged // what the records of each segment hold
	logged     logged   // of all segments
	reserved   needs    // of admitted writes that are not yet published
	dirtyData  uint64   // entries of the index that will need a block
	pageNeed   uint64   // pages promised to all nodes
	stalled    []*Volume

	done         reqQueue
	controls     controlQueue
	control      *Control // the operation under way
	controlsDone controlQueue
	diffs        waitList // pages of comparisons that go on in the next turn
	diffsDone    waitList
	stats        Stats
	flow         Flow // but for Live
	unseen       Flow // of lines without a Flow, for nobody
}

// Submit hands r to the pool; NextDone returns it.
func (p *Pool) Submit(r *Request) {
	r.begin(p)
	p.lastGuest = p.now
	if r.Err = p.refuse(r); r.Err != 0 {
		p.finish(r)
		return
	}
	r.Vol.open++
	switch r.Kind {
	case Read:
		p.read(r)
	case Flush:
		p.flush(r)
	default:
		p.write(r)
	}
}

// NextDone returns a finished request, or nil.
func (p *Pool) NextDone() *Request { return p.done.take() }

// NextOp returns the next device operation to perform, or nil.
func (p *Pool) NextOp() *log.Op { return p.ops.Next() }

// Complete reports the outcome of the operation that t names, as io_uring gives it: bytes moved
// or a negative errno.
func (p *Pool) Complete(t log.Token, res int32) {
	p.ops.Complete(t, res)
	if !p.opWait.empty() {
		p.wake(&p.opWait)
	}
	p.runTasks()
}

// Tick tells the pool the time, in nanoseconds of a monotonic clock.
func (p *Pool) Tick(now int64) { p.now = now }

// Run advances the background work by a bounded step. Call it once per turn, after the requests
// and completions of the turn: it also forms the log records of what has arrived. It reports
// whether there is more to do at once, without waiting for a completion or for time to pass.
func (p *Pool) Run() bool {
	more, _ := p.RunShard(0, 1)
	return more
}

// MaxShards is how many threads may drive one pool.
const MaxShards = 8

// RunShard is Run by one of several threads that drive the pool in turn, never two at once. It forms
// records in the lanes of that thread alone, those with a number that is shard modulo shards, so that
// it performs and ends the writes of the volumes that are homed there. wake has a bit for each other
// thread that has to take a turn of its own, because nothing that its lanes have under way would make
// it do so.
func (p *Pool) RunShard(shard, shards int) (more bool, wake uint64) {
	if p.ring == nil {
		p.runTasks()
		more := p.stepDiffs()
		return p.runControls() || more, 0
	}
	p.runTasks()
	p.admitWaiting()
	room := p.room()
	more = p.back.step()
	p.applyMarks()
	more = p.runControls() || more
	more = p.stepDiffs() || more
	if p.room() != room || p.readOnly != nil || p.released {
		p.released = false
		p.admitWaiting() // the step may have made room, or a mark was waited for
	}
	p.runTasks()
	pumped, wake := p.pumpLanes(shard, shards)
	ended := p.control != nil && p.control.applied // its mark has failed in a lane that gave up
	return more || pumped || ended || !p.runq.empty() || p.back.urgent(), wake
}

// pumpLanes has the lanes of a thread write, and reports whether that concerns the back end: a lane came
// to a halt, the oldest segment was closed, or the log has failed; and whose lanes have nothing under way
// but something to do.
func (p *Pool) pumpLanes(shard, shards int) (more bool, wake uint64) {
	closed := p.oldestClosed()
	for i := range p.ring.Lanes() {
		l := p.ring.Lane(i)
		if i%shards != shard {
			if l.Waits() || l.Stalled() && p.readOnly != nil {
				wake |= 1 << (i % shards)
			}
			continue
		}
		was := l.Stalled()
		l.Pump()
		if l.Stalled() && p.readOnly != nil { // nobody will free a segment any more
			l.Stop(p.readOnly)
			l.Pump()
		}
		more = more || l.Stalled() && !was
	}
	if err := p.ring.Failed(); err != nil && p.readOnly == nil {
		p.setReadOnly(err)
		more = true
	}
	return more || p.oldestClosed() != closed, wake
}

// oldestClosed reports whether the oldest segment in use takes no more records.
func (p *Pool) oldestClosed() bool {
	i := p.ring.Oldest()
	return i >= 0 && p.ring.Segment(i).Closed()
}

// freeOps returns how many device operations reads may still take, and the moving of data: what is
// left then is for the log's writes and the steps of a checkpoint, which never lack one.
func (p *Pool) freeOps() int { return p.ops.Free() - p.kept }

// waitOps makes w wait for the next completion, and says so.
func (p *Pool) waitOps(w *waiter) error {
	if w != nil {
		p.opWait.add(w)
	}
	return errWait
}

// refuse returns why r cannot be served at all.
func (p *Pool) refuse(r *Request) errno {
	n := r.Vol.node
	switch {
	case r.Off < 0 || r.Len < 0 || r.Off%SectorSize != 0 || r.Len%SectorSize != 0,
		r.Off > int64(n.rec.Size) || r.Len > int64(n.rec.Size)-r.Off,
		(r.Kind == Read || r.Kind == Write) && r.Len > MaxIO,
		r.Kind == Write && r.count > uint64(recordBlocks(p.label.SegmentBlocks)):
		return einval
	case n.gone():
		return eio
	case r.Kind != Read && r.Kind != Flush && (p.readOnly != nil || n.rec.Frozen != 0):
		return erofs
	}
	return 0
}

// finish hands r back to its owner.
func (p *Pool) finish(r *Request) {
	r.summed = false
	if r.Err != 0 {
		r.Vol.stats.Errors++
	}
	p.done.add(r)
}

// end finishes a request that was under way.
func (p *Pool) end(r *Request, err errno) {
	r.Err = err
	r.Vol.open--
	p.finish(r)
}

// setReadOnly stops all writing, for ever: what has failed leaves the devices in a state that only
// a restart from the last root resolves.
func (p *Pool) setReadOnly(why error) {
	if p.readOnly == nil {
		p.readOnly = why
		p.endScrub(ErrReadOnly)
	}
}

// firstHome returns the device of the metadata home that is read first.
func (p *Pool) firstHome() log.Dev {
	if p.homes == 1 {
		return log.Capacity
	}
	return log.Fast
}

// secondHome returns the device of the other home.
func (p *Pool) secondHome() log.Dev { return log.Capacity }

// pagePlace returns where the current copy of a metadata page lies in a home.
func (p *Pool) pagePlace(home log.Dev, k pageKey) place {
	n := k.number()
	switch k.kind() {
	case blockPage:
		return p.label.locate(home, p.blocks.refs.block(0, int(n), p.bitmapRef(k).Place))
	case pagePage:
		return p.label.locate(home, p.pages.refs.block(0, int(n), p.bitmapRef(k).Place))
	}
	return p.label.locate(home, p.label.pageBlock(n))
}

// bitmapRef returns the reference to a bitmap page.
func (p *Pool) bitmapRef(k pageKey) ShadowRef {
	if k.kind() == blockPage {
		return p.blocks.refs.at(0, int(k.number()))
	}
	return p.pages.refs.at(0, int(k.number()))
}
