package placement

import "unblend/log"

// backend is the one writer of maps, space, catalogue and roots. It does one job at a time, in
// bounded steps: destage a batch of the log, free what deleted nodes had, make the pool larger, make
// a checkpoint, verify a piece of what the devices hold, or put a scattered leaf in order.
// Because jobs never overlap, no block or page is allocated, freed or changed while a checkpoint
// writes the pages that it has cut.
type backend struct {
	waiter
	p     *Pool
	phase backPhase

	pending int  // device operations under way
	tight   bool // nothing more fits before the next checkpoint
	open    bool // destage open segments too: the guests are idle, or a drain was asked for
	drain   bool // a control operation wants everything up to drainTo destaged
	drainTo uint64
	wanted  bool // a control operation wants a checkpoint

	batch   []moving
	order   []uint32 // indexes into batch, in the order of a device
	next    int      // next element of batch or order to work on
	placed  int      // batch[:placed] has places
	durable uint64   // sequence up to which the log must be durable before the batch is moved
	upto    uint64   // sequence up to which extents are applied before the batch is placed
	mem     []byte   // payload of batch
	gap     []byte   // takes what lies between wanted log blocks
	home    homeChunk
	single  bool  // read block by block
	probe   error // why the label of the log's device could not be read just now; nil: it could
	leaves  int   // that may still be walked, or looked at, in this turn
	owed    int   // that it may do before the next batch is destaged
	paused  bool  // it has more to do in the next turn

	zeroNode  uint32 // where applying extents has come to
	zeroBlock uint64

	gatherer
	ahead ahead
	replacement
	scattered scattered
	scrub     scrubber

	writes   []pageWrite // of a checkpoint
	cut      Root        // the root that it will write
	rootMem  []byte
	rootHome int
	growth
	granted bool  // the present checkpoint's cut came after the operation asked
	clean   bool  // the next root says that the pool was shut down in order
	over    bool  // the pool was shut down: no more jobs
	changed bool  // something happened that the durable root does not know
	since   int64 // ns; end of the last checkpoint
	looked  int64 // ns; when nothing could be done although the guests were idle

	heldUntil int64 // ns; until then guests' reads have the device that it wants; 0: it is not held
}

type backPhase uint8

// The phases of the jobs, in order.
const (
	backIdle backPhase = iota

	destageDurable // --durability flush: what is moved must be durable in the log
	destageZeros   // apply extents
	destageRead
	destagePlace
	destageGrace
	destageWrite

	walkNode
	countNode

	growLabels
	growSpace

	replaceRead
	replaceWrite

	scrubRead
	scrubMend

	cutCatalogue
	flushData
	writePages
	flushPages
	writeRoot
	checkpointGrace
)

// stepMax bounds how many phases, entries or leaves one call of step works on.
const stepMax = 64

// resume is called when what the back end waited for may be there; step looks again.
func (b *backend) resume() {}

// step advances the present job, or begins one. It reports whether it could go on at once.
func (b *backend) step() bool {
	b.leaves, b.paused, b.heldUntil = walkLeaves, false, 0
	for range stepMax {
		if b.waiting || b.over || b.p.readOnly != nil || !b.advance() {
			return false
		}
	}
	return true
}

// advance does one bounded piece of work and reports whether there may be more right now.
func (b *backend) advance() bool {
	switch b.phase {
	case backIdle:
		return b.choose()
	case destageDurable:
		return b.awaitDurable()
	case destageZeros:
		return b.applyZeros()
	case destageRead:
		return b.readBatch()
	case destagePlace:
		return b.placeBatch()
	case destageGrace:
		return b.graceThen(destageWrite)
	case destageWrite:
		return b.writeBatch()
	case walkNode:
		return b.walk()
	case countNode:
		return b.count()
	case growSpace:
		return b.widenMaps()
	case replaceRead:
		return b.readMoves()
	case replaceWrite:
		return b.writeMoves()
	case scrubRead:
		return b.readScrub()
	case scrubMend:
		return b.mendPieces()
	case cutCatalogue:
		return b.cutRoot()
	case writePages:
		return b.writeSome()
	case checkpointGrace:
		if !b.p.graceOver() {
			return false
		}
		b.checkpointDone()
		return b.p.controls.head == nil // the next operation may have waited for it
	}
	return false // a device operation's end goes on
}

// choose begins the next job: the most urgent, or in turn with those a step of the scrub.
func (b *backend) choose() bool {
	due := b.scrubDue()
	if due && b.scrub.passed {
		return b.beginScrub()
	}
	if b.chooseUrgent() {
		b.scrub.passed = true
		return true
	}
	return due && !b.waiting && !b.paused && b.beginScrub()
}

// chooseUrgent begins the most urgent job of the others.
func (b *backend) chooseUrgent() bool {
	p := b.p
	pressure, idle := p.pressure(), p.now-p.lastGuest >= p.opt.Idle
	if pressure >= p.opt.Low || len(p.stalled) > 0 {
		b.sealOldest()
	}
	switch {
	case b.mustCheckpoint(pressure, idle):
		b.beginCheckpoint()
		return true
	case b.growing():
		b.beginGrow()
		return true
	case b.owed > 0 && b.beginWalk():
		return true
	case pressure >= p.opt.Low || idle || b.drain || len(p.stalled) > 0 || p.anyStalledLane():
		b.open = idle || b.drain || len(p.stalled) > 0
		if b.beginDestage() {
			return true
		}
	}
	if b.beginWalk() || b.beginCount() {
		return true
	}
	if b.changed && b.awaitsCheckpoint() {
		b.beginCheckpoint()
		return true
	}
	if b.beginReplace() {
		return true
	}
	if p.now >= max(p.lastGuest, b.since)+p.opt.Idle {
		b.looked = p.now
	}
	return false
}

// mustCheckpoint reports whether the next job is a checkpoint.
func (b *backend) mustCheckpoint(pressure int, idle bool) bool {
	p := b.p
	switch {
	case b.tight, b.wanted && !(b.drain && b.undrained()), p.cache.dirty >= p.dirtyLimit,
		len(p.blocks.freed) > cap(p.blocks.freed)*3/4,
		len(p.pages.freed) > cap(p.pages.freed)*3/4:
		return true
	case !b.changed && p.reclaimable() == 0:
		return false
	case idle && !b.backlog():
		return p.now-b.since >= p.opt.Idle
	case pressure >= p.opt.Low || p.anyStalledLane():
		n := p.reclaimable()
		if n > 0 && (n >= int(p.label.Segments)/16 || p.anyStalledLane() || len(p.stalled) > 0) {
			return true
		}
	}
	return p.now-b.since >= p.opt.CheckpointEvery
}

// sealOldest closes the oldest segment if it is still open, so that the records of an idle lane do
// not keep the log from being freed.
func (b *backend) sealOldest() {
	r := b.p.ring
	if i := r.Oldest(); i >= 0 && !r.Segment(i).Closed() {
		r.Lane(r.Segment(i).Lane).Seal()
	}
}

// backlog reports whether the log holds anything that could be destaged.
func (b *backend) backlog() bool { return b.p.index.len() > 0 || b.p.zeros.len() > 0 }

// undrained reports whether the log holds anything that a drain waits for.
func (b *backend) undrained() bool {
	i := b.oldest(0)
	return i >= 0 && b.p.ring.Segment(i).FirstSeq <= b.drainTo || b.p.zeros.minSeq() <= b.drainTo
}

// drained reports whether nothing is left whose destaging could make room.
func (b *backend) drained() bool {
	p := b.p
	return b.phase == backIdle && !b.backlog() && !b.changed && !b.growing() &&
		p.blocks.freedSum == 0 && p.pages.freedSum == 0 && !b.walking()
}

// urgent reports whether a checkpoint or a piece of a walk is due that step could begin at once.
func (b *backend) urgent() bool {
	return (b.tight || b.paused) && b.phase == backIdle && !b.waiting && !b.over && b.p.readOnly == nil
}

// graceThen waits until the reads that were under way when the phase began have ended.
func (b *backend) graceThen(next backPhase) bool {
	if !b.p.graceOver() && !planted("written-in-place-under-a-read") {
		return false
	}
	b.phase, b.next = next, 0
	return true
}

// submit sends a device operation of the back end.
func (b *backend) submit(op *log.Op) {
	b.pending++
	b.p.ops.Submit(op)
}

// OpDone takes the end of an operation of the present job. What follows the last one is done by
// the phase's own function.
func (b *backend) OpDone(op *log.Op, err error) {
	b.pending--
	switch b.phase {
	case destageRead:
		b.readDone(op, err)
	case destageWrite:
		b.writeDone(op, err)
	case growLabels:
		b.labelDone(op, err)
	case replaceRead, replaceWrite:
		b.moveDone(op, err)
	case scrubRead, scrubMend:
		b.scrubDone(op, err)
	default:
		b.checkpointOpDone(op, err)
	}
}

// replayStart returns the smallest sequence number of which the maps, with what is in memory, do
// not know everything yet. A restart from a root with this number replays the rest. It never falls:
// an open segment that held nothing live may hold something again, but nothing older than what the
// durable root knows, and the segments below that are free.
func (p *Pool) replayStart() uint64 {
	start := min(p.ring.MinUndurable(), p.zeros.minSeq())
	if p.markDue { // durable, but not yet in the catalogue
		start = min(start, p.control.seq)
	}
	for i := range p.ring.Segments() {
		s := p.ring.Segment(i)
		if s.Used() && p.index.segCount(i) > 0 {
			start = min(start, s.FirstSeq)
		}
	}
	return max(start, p.root.Replay)
}

// reclaimable returns how many segments a checkpoint now would free.
func (p *Pool) reclaimable() int {
	start, n := p.replayStart(), 0
	for i := range p.ring.Segments() {
		if s := p.ring.Segment(i); s.Closed() && s.LastSeq < start {
			n++
		}
	}
	return n
}

// anyStalledLane reports whether a lane waits for a free segment.
func (p *Pool) anyStalledLane() bool {
	for i := range p.ring.Lanes() {
		if p.ring.Lane(i).Stalled() {
			return true
		}
	}
	return false
}
