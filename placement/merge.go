package placement

import (
	"math/bits"

	"unblend/log"
)

// scratchBlocks is how many partial blocks can be completed at a time; any power of two would do.
const scratchBlocks = 64

// scratch is the memory into which the old content of partial blocks is read.
type scratch struct {
	mem  []byte
	free uint64 // a bit for each free block
	wait waitList
}

func newScratch() scratch {
	return scratch{mem: alignedBytes(scratchBlocks * log.BlockSize), free: ^uint64(0)}
}

func (s *scratch) take() int {
	i := bits.TrailingZeros64(s.free)
	s.free &^= 1 << i
	return i
}

func (s *scratch) block(i int) []byte { return s.mem[i*log.BlockSize : (i+1)*log.BlockSize] }

// edge is a partial block of a request, with its old content.
type edge struct {
	block    uint64
	from, to int    // the request's bytes in the block
	buf      []byte // where the completed block belongs
	slot     int    // of scratch
	src      source
	used     bool
}

// merger owns the device reads of old content: Ref is the request, Arg the edge and the parity.
type merger struct{ p *Pool }

// merge completes r's partial blocks from their old content. Older requests that write them have
// ended, younger ones wait, so what is read is what the new sectors replace.
func (p *Pool) merge(r *Request) {
	r.phase = phaseMerge
	if !r.edges[0].used {
		if bits.OnesCount64(p.scratch.free) < 2 {
			p.scratch.wait.add(&r.waiter)
			return
		}
		r.findEdges(&p.scratch)
	}
	for i := range r.edges {
		e := &r.edges[i]
		if !e.used {
			continue
		}
		var err error
		if e.src, err = p.locate(r.Vol.node, e.block, &r.waiter); err == errWait {
			return
		} else if err != nil || e.src.kind == fromNowhere {
			p.mergeFailed(r)
			return
		}
	}
	if p.freeOps() < len(r.edges) {
		p.waitOps(&r.waiter)
		return
	}
	r.failed, r.pending = false, 1
	for i := range r.edges {
		p.readEdge(r, i)
	}
	p.mergeEnded(r)
}

// findEdges fills r.edges and takes scratch for them.
func (r *Request) findEdges(s *scratch) {
	head, tail := r.edgeBlocks()
	end := r.Off + r.Len
	last := r.first + r.count - 1
	n := 0
	add := func(block uint64, buf []byte) {
		start := int64(block) * log.BlockSize
		r.edges[n] = edge{
			block: block, from: int(max(r.Off-start, 0)),
			to: int(min(end-start, log.BlockSize)), buf: buf, slot: s.take(), used: true,
		}
		n++
	}
	if head > 0 {
		add(r.first, r.Buf[:log.BlockSize])
	}
	if tail > 0 {
		at := (r.count - 1) * log.BlockSize
		if r.Kind == WriteZeroes {
			at = head * log.BlockSize
		}
		add(last, r.Buf[at:at+log.BlockSize])
	}
}

func (p *Pool) readEdge(r *Request, i int) {
	e := &r.edges[i]
	switch {
	case !e.used:
	case e.src.kind == fromZeros:
		clear(p.scratch.block(e.slot))
	default:
		op := p.ops.NewOp(&p.merger, e.src.dev, log.Read, int64(e.src.block)*log.BlockSize)
		op.Bufs = append(op.Bufs, p.scratch.block(e.slot))
		op.Ref, op.Arg, op.Sums = r, uint64(i)|uint64(p.parity)<<32, true
		p.readers[p.parity]++
		p.turnsOn(e.src.dev).beginRead(p.now)
		r.pending++
		p.ops.Submit(op)
	}
}

// OpDone verifies the old content of a partial block.
func (m *merger) OpDone(op *log.Op, err error) {
	r, p := op.Ref.(*Request), m.p
	p.leaveGrace(int(op.Arg >> 32))
	p.turnsOn(op.Dev).endRead()
	e := &r.edges[uint32(op.Arg)]
	if err == nil {
		if got := op.BlockSum(0, op.Bufs[0]); got != e.src.crc {
			err = &ChecksumError{Want: e.src.crc, Got: got}
		}
	}
	if err != nil {
		r.failed = true
		if r.tries > 0 {
			p.report(r, int(e.block-r.first), e.src, err)
		}
	}
	p.mergeEnded(r)
}

// mergeEnded completes the blocks when all old content is there. A failed read is looked up and
// done once more; a merge over content that stays unreadable is an error.
func (p *Pool) mergeEnded(r *Request) {
	if r.pending--; r.pending > 0 {
		return
	}
	if r.failed {
		if r.tries++; r.tries < 2 {
			p.stats.Mismatches++
			p.runq.add(&r.waiter)
			return
		}
		p.mergeFailed(r)
		return
	}
	for i := range r.edges {
		e := &r.edges[i]
		if !e.used {
			continue
		}
		old := p.scratch.block(e.slot)
		copy(e.buf[:e.from], old)
		copy(e.buf[e.to:], old[e.to:])
		if r.Kind == WriteZeroes {
			clear(e.buf[e.from:e.to])
		}
		r.Vol.stats.Merges++
	}
	p.freeEdges(r)
	p.admit(r)
}

func (p *Pool) freeEdges(r *Request) {
	for i := range r.edges {
		if r.edges[i].used {
			p.scratch.free |= 1 << r.edges[i].slot
		}
	}
	p.wake(&p.scratch.wait)
}

func (p *Pool) mergeFailed(r *Request) {
	p.freeEdges(r)
	r.Vol.leave(r)
	p.wake(&r.Vol.waiting)
	p.end(r, eio)
}
