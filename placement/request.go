package placement

import (
	"syscall"

	"unblend/log"
)

// Kind is what a guest asks for.
type Kind uint8

// The kinds of guest request.
const (
	Read Kind = iota
	Write
	Flush
	Discard     // a hint: blocks only partly covered are left alone
	WriteZeroes // a promise: any range of sectors
)

func (k Kind) String() string {
	return [...]string{"read", "write", "flush", "discard", "write-zeroes"}[k]
}

// SectorSize is the unit in which guests address a volume, in bytes.
const SectorSize = 512

// Request is one guest request. The caller owns the memory and lends it to the pool between Submit
// and the NextDone that returns it; with the exported fields set anew it may be used again.
type Request struct {
	Kind Kind
	FUA  bool // durable when done; matters only in a pool with --durability flush
	Vol  *Volume
	Off  int64 // bytes, a multiple of SectorSize
	Len  int64 // bytes, a multiple of SectorSize; at most MaxIO for reads and writes

	// Buf covers every block the request touches (Span(Off, Len) bytes, aligned to BlockSize);
	// the guest's bytes start at Buf[Off%BlockSize]. A write's other bytes are scratch for the
	// pool, which completes partial blocks in place. A write-zeroes with partial blocks at its
	// ends needs one block for each of them, the head's first; other kinds need none.
	Buf []byte

	Err syscall.Errno // the outcome: 0, EIO, EINVAL, ENOSPC, EROFS
	Tag uint64        // the caller's

	reqState
}

// Span returns the bytes of the whole blocks that [off, off+n) touches.
func Span(off, n int64) int64 {
	return (off+n+log.BlockSize-1)/log.BlockSize*log.BlockSize - off/log.BlockSize*log.BlockSize
}

type errno = syscall.Errno

const (
	einval = syscall.EINVAL
	erofs  = syscall.EROFS
	eio    = syscall.EIO
)

// phase says which function continues a request that waited.
type phase uint8

const (
	phaseRead phase = iota
	phaseConflict
	phaseMerge
	phaseAdmit
	phaseFlush // in the log, or waiting for the flush that makes it durable
)

// needs is what a writing request takes from the pool until it is published.
type needs struct {
	entries int    // entries of the dirty index
	extents int    // zero extents
	data    uint64 // blocks with data
}

// reqState is the pool's part of a request.
type reqState struct {
	waiter
	p     *Pool
	phase phase

	first, count uint64 // blocks that the request touches; of a discard: covers
	older, newer *Request
	conflict     bool // stands in Vol.waiting

	src     [maxBlocks]source // of a read
	pending int
	failed  bool
	tries   int
	waits   int // for readers of the same blocks

	edges   [2]edge // partial blocks: head and tail
	crcs    [maxBlocks]uint32
	zeros   [(maxBlocks + 63) / 64]uint64 // blocks of a write that are all zero
	tail    [1]uint64                     // likewise, of the tail of a write-zeroes
	items   [3]log.Item
	nitems  int   // still in the log
	summed  bool  // Sum has found what the whole of it needs
	summary needs // which is this
	needs   needs
	since   int64 // when it began to wait for room

	nextDone *Request
}

// begin prepares r's state for a new life.
func (r *Request) begin(p *Pool) {
	r.p, r.task, r.next, r.waiting = p, r, nil, false
	r.Err, r.tries, r.waits, r.failed, r.conflict = 0, 0, 0, false, false
	r.since, r.needs, r.nitems = 0, needs{}, 0
	r.edges = [2]edge{}
	end := r.Off + r.Len
	if r.Kind == Discard {
		r.first = uint64((r.Off + log.BlockSize - 1) / log.BlockSize)
		r.count = max(uint64(end/log.BlockSize), r.first) - r.first
		return
	}
	r.first = uint64(r.Off / log.BlockSize)
	r.count = uint64(Span(r.Off, r.Len) / log.BlockSize)
}

// resume continues a request that waited.
func (r *Request) resume() {
	switch r.phase {
	case phaseRead:
		r.p.read(r)
	case phaseConflict:
		r.p.write(r)
	case phaseMerge:
		r.p.merge(r)
	case phaseAdmit:
		r.p.admit(r)
	}
}

// reqQueue is a first-in first-out queue of finished requests.
type reqQueue struct{ head, tail *Request }

func (q *reqQueue) add(r *Request) {
	r.nextDone = nil
	if q.tail == nil {
		q.head = r
	} else {
		q.tail.nextDone = r
	}
	q.tail = r
}

func (q *reqQueue) take() *Request {
	r := q.head
	if r == nil {
		return nil
	}
	if q.head = r.nextDone; q.head == nil {
		q.tail = nil
	}
	return r
}
