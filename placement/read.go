package placement

import (
	"syscall"

	"unblend/log"
)

// source says where a block's content is.
type source struct {
	dev    log.Dev
	kind   sourceKind
	shared bool // other volumes may read it, too
	crc    uint32
	block  uint64 // block number on dev
}

type sourceKind uint8

const (
	fromZeros sourceKind = iota
	fromDevice
	fromMemory  // it has been copied from the cache
	fromNowhere // known to be lost; the checksum is that of what it was
)

// locate finds the present content of a block: in the log, by the lines that the node comes from
// down to the one whose map it reads, else in that map.
func (p *Pool) locate(n *node, block uint64, w *waiter) (source, error) {
	m := p.mapOf(n)
	for l, upto := n.line, n.rec.ID; l != nil; l, upto = l.base, l.upto {
		if d, ok := p.known(l, upto, block); ok {
			return p.dirtySource(d), nil
		}
		if m != nil && m.line == l {
			break
		}
	}
	if m == nil {
		return source{}, nil
	}
	e, err := p.find(&m.tree, block, w)
	s := mapSource(e)
	s.shared = s.kind == fromDevice && e.Epoch <= n.line.floor
	return s, err
}

func (p *Pool) dirtySource(d dirty) source {
	switch {
	case d.flags&dirtyZero != 0:
		return source{}
	case d.flags&dirtyLost != 0:
		return source{kind: fromNowhere, crc: d.crc}
	}
	return source{
		dev: log.Fast, kind: fromDevice, crc: d.crc,
		block: uint64(p.label.LogOffset)/log.BlockSize + uint64(d.loc),
	}
}

func mapSource(e Entry) source {
	switch {
	case e.Flags&FlagLost != 0:
		return source{kind: fromNowhere, crc: e.CRC}
	case e.Flags&FlagMapped == 0:
		return source{}
	}
	return source{dev: log.Capacity, kind: fromDevice, crc: e.CRC, block: e.Addr}
}

// reader performs guest reads. It is the owner of their device operations: Ref is the request, Arg
// the index of the first block.
type reader struct{ p *Pool }

// read looks up every block of r and reads those that are on a device, in runs as long as their
// addresses allow. When a page is missing it begins again once that is there; the pages of all
// blocks are asked for at once.
func (p *Pool) read(r *Request) {
	r.phase = phaseRead
	if err := p.locateAll(r); err == errWait {
		return
	} else if err != nil {
		p.report(r, 0, source{}, err)
		p.end(r, errno(syscall.EIO))
		return
	}
	runs, err := p.copyCached(r)
	if err != nil {
		return
	}
	if runs > p.freeOps() {
		p.waitOps(&r.waiter)
		return
	}
	r.failed, r.pending = false, 1
	for i, next := 0, 0; i < int(r.count); i = next {
		next = p.runEnd(r, i)
		p.readRun(r, i, next)
	}
	p.readEnded(r)
}

// copyCached copies the runs that the cache has, and returns how many are to be read. It waits, once
// for each of them, while another request is reading what r wants.
func (p *Pool) copyCached(r *Request) (runs int, err error) {
	for i, next := 0, 0; i < int(r.count); i = next {
		next = p.runEnd(r, i)
		if r.src[i].kind != fromDevice {
			continue
		}
		run := r.src[i:next]
		all, wait := p.cache.hasShared(run)
		switch {
		case all:
			p.cache.copyShared(run, r.Buf[i*log.BlockSize:])
			for k := range run {
				run[k].kind = fromMemory
			}
		case wait != noFrame && r.waits < maxSharedWaits:
			r.waits++
			p.cache.frames[wait].waiters.add(&r.waiter)
			return 0, errWait
		default:
			runs++
		}
	}
	return runs, nil
}

// locateAll fills r.src.
func (p *Pool) locateAll(r *Request) error {
	w := &r.waiter
	var wait error
	for i := range int(r.count) {
		s, err := p.locate(r.Vol.node, r.first+uint64(i), w)
		if err == errWait {
			wait, w = err, nil
			continue
		}
		if err != nil && wait == nil {
			return err
		}
		r.src[i] = s
	}
	return wait
}

// runEnd returns the end of the run of blocks that begins at i and has consecutive addresses. The
// second time each block is read alone: a device says of a whole operation that it failed, and the
// block that is named is to be the bad one.
func (p *Pool) runEnd(r *Request, i int) int {
	s := r.src[i]
	if r.tries > 0 && s.kind == fromDevice {
		return i + 1
	}
	for j := i + 1; j < int(r.count); j++ {
		t := r.src[j]
		if t.kind != s.kind || s.kind == fromDevice &&
			(t.dev != s.dev || t.block != s.block+uint64(j-i)) {
			return j
		}
	}
	return int(r.count)
}

func (p *Pool) readRun(r *Request, from, to int) {
	buf := r.Buf[from*log.BlockSize : to*log.BlockSize]
	switch s := r.src[from]; s.kind {
	case fromZeros:
		clear(buf)
	case fromMemory:
	case fromNowhere:
		r.failed = true
		p.report(r, from, s, ErrLost)
	default:
		op := p.ops.NewOp(&p.reader, s.dev, log.Read, int64(s.block)*log.BlockSize)
		op.Bufs = append(op.Bufs, buf)
		op.Ref, op.Arg, op.Sums = r, uint64(from)|uint64(p.parity)<<32, true
		p.readers[p.parity]++
		p.turnsOn(s.dev).beginRead(p.now)
		r.pending++
		p.cache.lendShared(r.src[from:to])
		p.ops.Submit(op)
	}
}

// OpDone verifies what a device read returned.
func (d *reader) OpDone(op *log.Op, err error) {
	r, p := op.Ref.(*Request), d.p
	from := int(uint32(op.Arg))
	p.leaveGrace(int(op.Arg >> 32))
	p.turnsOn(op.Dev).endRead()
	buf := op.Bufs[0]
	for i := 0; i*log.BlockSize < len(buf); i++ {
		s, block := &r.src[from+i], buf[i*log.BlockSize:(i+1)*log.BlockSize]
		if err == nil {
			if got := op.BlockSum(i, block); got != s.crc && !planted("checksum-not-verified") {
				err = &ChecksumError{Want: s.crc, Got: got}
			}
		}
		if err == nil {
			p.cache.keepShared(s, block)
			continue
		}
		p.cache.missShared(s)
		r.failed = true
		if r.tries > 0 {
			p.report(r, from+i, *s, err)
		}
		err = opError(op, err)
	}
	p.readEnded(r)
}

// opError keeps a device's error for the next block of the operation, and forgets a mismatch.
func opError(_ *log.Op, err error) error {
	if _, ok := err.(*ChecksumError); ok {
		return nil
	}
	return err
}

// readEnded is called once for each run and once for the request. A read that failed is looked up
// and done once more: only when the answer is the same does the guest see an error.
func (p *Pool) readEnded(r *Request) {
	if r.pending--; r.pending > 0 {
		return
	}
	if !r.failed {
		r.Vol.stats.Reads++
		r.Vol.stats.ReadBytes += uint64(r.Len)
		p.end(r, 0)
		return
	}
	if r.tries++; r.tries < 2 {
		p.stats.Mismatches++
		p.runq.add(&r.waiter)
		return
	}
	p.end(r, errno(syscall.EIO))
}

// report counts a block that could not be read and remembers the latest for status.
func (p *Pool) report(r *Request, i int, s source, err error) {
	p.stats.ReadErrors++
	p.stats.LastError = &BlockError{
		Volume: r.Vol.Name(), Block: r.first + uint64(i),
		Device: s.dev.String(), Address: s.block, Err: err,
	}
}

// leaveGrace ends one device read that began under parity.
func (p *Pool) leaveGrace(parity int) { p.readers[parity]-- }

// beginGrace starts to wait for the reads that are under way now: what they looked up must stay
// as it is until graceOver.
func (p *Pool) beginGrace() { p.parity ^= 1 }

// graceOver reports whether all reads that were under way at beginGrace have ended.
func (p *Pool) graceOver() bool { return p.readers[p.parity^1] == 0 }
