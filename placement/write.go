package placement

import "unblend/log"

// write takes a writing request (Write, WriteZeroes, Discard) through its steps: first it waits
// for older requests that it must not run beside.
func (p *Pool) write(r *Request) {
	v := r.Vol
	r.phase = phaseConflict
	if !r.conflict {
		if r.count == 0 || p.needless(r) {
			p.end(r, 0)
			return
		}
		v.enter(r)
		r.conflict = true
	}
	if v.blocked(r) {
		v.waiting.add(&r.waiter)
		return
	}
	if r.partial() {
		p.merge(r)
		return
	}
	p.admit(r)
}

// needless reports whether r would zero blocks that never had content: nothing in the log, nothing
// in the map, nothing on its way.
func (p *Pool) needless(r *Request) bool {
	if r.Kind == Write || r.partial() || r.Vol.inflight != nil {
		return false
	}
	n := r.Vol.node
	if m := p.mapOf(n); m != nil && m.root.Flags&FlagMapped != 0 {
		return false
	}
	for l := n.line; l != nil; l = l.base {
		if l.dirty > 0 || len(l.zeroed) > 0 {
			return false
		}
	}
	return true
}

// partial reports whether r covers only a part of its first or last block.
func (r *Request) partial() bool {
	return (r.Kind == Write || r.Kind == WriteZeroes) &&
		(r.Off%log.BlockSize != 0 || (r.Off+r.Len)%log.BlockSize != 0)
}

// edgeIn reports whether one of r's partial blocks lies among e's blocks.
func (r *Request) edgeIn(e *Request) bool {
	in := func(b uint64) bool { return e.first <= b && b < e.first+e.count }
	return r.Off%log.BlockSize != 0 && in(r.first) ||
		(r.Off+r.Len)%log.BlockSize != 0 && in(r.first+r.count-1)
}

// prepare computes what goes into the record with the blocks' data: their checksums, and which of
// them are all zero and so need no payload. It also adds up what r needs from the pool.
func (r *Request) prepare() {
	switch r.Kind {
	case Discard:
		r.needs = zeroNeeds(r.count)
	case WriteZeroes:
		head, tail := r.edgeBlocks()
		r.needs = zeroNeeds(r.count - head - tail)
		r.needs.add(r.sum(head + tail))
	default:
		if !r.summed {
			r.summary = r.sum(r.count)
		}
		r.needs = r.summary
	}
}

// Sum computes the checksums of a write ahead of Submit, while its bytes are in the processor's cache and
// without the pool: whoever shares that with others holds it for less time. It does nothing for a write of
// partial blocks, which are not known yet.
func (r *Request) Sum() {
	if r.Kind == Write && !r.partial() {
		r.summary, r.summed = r.sum(uint64(r.Len/log.BlockSize)), true
	}
}

// sum computes the checksums of the first n blocks of Buf.
func (r *Request) sum(n uint64) needs {
	r.zeros = [len(r.zeros)]uint64{}
	need := needs{entries: int(n), extents: int(n / extentMin)}
	for i := range n {
		b := r.Buf[i*log.BlockSize : (i+1)*log.BlockSize]
		if isZero(b) {
			r.zeros[i/64] |= 1 << (i % 64)
			continue
		}
		r.crcs[i] = checksum(b)
		need.data++
	}
	return need
}

// zeroNeeds returns what zeroing n blocks takes: an extent, or an entry for each block.
func zeroNeeds(n uint64) needs {
	if n >= extentMin {
		return needs{extents: 1}
	}
	return needs{entries: int(n)}
}

func (n *needs) add(m needs) {
	n.entries += m.entries
	n.extents += m.extents
	n.data += m.data
}

func (n *needs) sub(m needs) {
	n.entries -= m.entries
	n.extents -= m.extents
	n.data -= m.data
}

// edgeBlocks returns how many partial blocks r has at its head and at its tail; a single partial
// block counts as head.
func (r *Request) edgeBlocks() (head, tail uint64) {
	if r.Off%log.BlockSize != 0 || r.count == 1 && r.partial() {
		head = 1
	}
	if (r.Off+r.Len)%log.BlockSize != 0 && r.count > head {
		tail = 1
	}
	return head, tail
}

// push gives an admitted request to its lane.
func (p *Pool) push(r *Request) {
	p.reserved.add(r.needs)
	p.enters(r, 1)
	r.Vol.logging++
	switch r.Kind {
	case Discard:
		r.item(log.ItemZero, r.first, r.count, 0)
	case WriteZeroes:
		head, tail := r.edgeBlocks()
		if head > 0 {
			r.item(log.ItemWrite, r.first, 1, 0)
		}
		if mid := r.count - head - tail; mid > 0 {
			r.item(log.ItemZero, r.first+head, mid, 0)
		}
		if tail > 0 {
			r.item(log.ItemWrite, r.first+r.count-1, 1, head)
		}
	default:
		r.item(log.ItemWrite, r.first, r.count, 0)
	}
	for i := range r.nitems {
		r.Vol.lane.Push(&r.items[i])
	}
}

// item appends one item to r. The content of a write is in Buf from block at on.
func (r *Request) item(kind log.ItemKind, block, count, at uint64) {
	it := &r.items[r.nitems]
	r.nitems++
	*it = log.Item{Kind: kind, Node: r.Vol.node.rec.ID, Block: block, Count: count, Ref: r}
	if kind != log.ItemWrite {
		return
	}
	it.Data = r.Buf[at*log.BlockSize : (at+count)*log.BlockSize]
	it.CRCs = r.crcs[at : at+count]
	it.Zeros = r.zeroMask(at)
}

// zeroMask returns the mask of zero blocks from block at of Buf on; at is not 0 only for the tail
// of a write-zeroes, which is a single block.
func (r *Request) zeroMask(at uint64) []uint64 {
	if at == 0 {
		return r.zeros[:]
	}
	r.tail[0] = r.zeros[0] >> at
	return r.tail[:]
}

// ItemDone ends a request when the last of its items is durable, or has failed.
func (p *Pool) ItemDone(it *log.Item, err error) {
	if c, ok := it.Ref.(*Control); ok {
		p.controlLogged(c, err)
		return
	}
	r := it.Ref.(*Request)
	if err != nil {
		r.failed = true
	}
	if r.nitems--; r.nitems > 0 {
		return
	}
	v := r.Vol
	if r.phase != phaseFlush {
		p.reserved.sub(r.needs)
		p.enters(r, -1)
		v.logging--
		v.leave(r)
		p.wake(&v.waiting)
	}
	if r.failed {
		p.end(r, eio)
		return
	}
	if r.FUA && r.phase != phaseFlush && p.label.Durability == DurabilityFlush {
		p.pushFlush(r) // published, but to be answered when it is durable
		return
	}
	v.count(r)
	p.countWritten(r)
	p.end(r, 0)
}

// pushFlush has r wait until everything published so far is durable.
func (p *Pool) pushFlush(r *Request) {
	r.phase, r.nitems = phaseFlush, 1
	r.items[0] = log.Item{Kind: log.ItemFlush, Ref: r}
	r.Vol.lane.Push(&r.items[0])
}

// count adds a finished writing request to the volume's counters.
func (v *Volume) count(r *Request) {
	switch r.Kind {
	case Flush:
		v.stats.Flushes++
	case Write:
		v.stats.Writes++
		v.stats.WriteBytes += uint64(r.Len)
	default:
		v.stats.Discards++
		v.stats.DiscardBytes += uint64(r.Len)
	}
}

// flush ends when everything acknowledged before it is durable: at once, unless the pool was made
// with --durability flush.
func (p *Pool) flush(r *Request) {
	if p.label.Durability != DurabilityFlush || p.ring == nil {
		r.Vol.stats.Flushes++
		p.end(r, 0)
		return
	}
	p.pushFlush(r)
}
