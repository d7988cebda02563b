package placement

import (
	"syscall"
)

// Writers are slowed before the log is full, in proportion to how far it is past the high mark:
// each block that is admitted costs its volume a delay, up to maxDelay at the very end. Every
// volume has its own queue and clock, so one that writes much waits much.
const maxDelay = 4_000_000 // ns for each block

// admit lets r into the log if there is room for all it needs, or queues it for when there is.
func (p *Pool) admit(r *Request) {
	r.phase = phaseAdmit
	r.prepare()
	v := r.Vol
	if v.admission.empty() && p.mayAdmit(r) {
		p.delayNext(v, r)
		p.push(r)
		return
	}
	r.since = p.now
	if v.admission.empty() {
		p.stalled = append(p.stalled, v)
	}
	v.admission.add(&r.waiter)
}

// admitWaiting admits what fits now, volume by volume in turn.
func (p *Pool) admitWaiting() {
	if len(p.stalled) > 0 {
		p.forgetSegments() // a segment that was closed after the checkpoint may be free now
	}
	for progress := true; progress && len(p.stalled) > 0; {
		progress = false
		rest := p.stalled[:0]
		for _, v := range p.stalled {
			progress = p.admitOne(v) || progress
			if !v.admission.empty() {
				rest = append(rest, v)
			}
		}
		p.stalled = rest
	}
}

// admitOne admits, or fails, the first of v's waiting requests, and reports whether it could. While
// that waits for space on the capacity device, those behind it that need none go on.
func (p *Pool) admitOne(v *Volume) bool {
	r := v.admission.head.task.(*Request)
	if err := p.mustFail(r); err != 0 {
		v.admission.take()
		p.fail(r, err)
		return true
	}
	for w := v.admission.head; w != nil; w = w.next {
		r := w.task.(*Request)
		if p.mayAdmit(r) {
			v.admission.remove(w)
			p.countStall(r)
			p.delayNext(v, r)
			p.push(r)
			return true
		}
		if !p.lacksSpace(r) {
			return false // it waits for the log, in which the order is kept
		}
	}
	return false
}

// fail ends a writing request that did not get into the log.
func (p *Pool) fail(r *Request, err errno) {
	r.Vol.leave(r)
	p.wake(&r.Vol.waiting)
	p.end(r, err)
}

// mustFail returns why r will never be admitted: the pool has become read-only, or it is full and
// the policy is to say so instead of waiting.
func (p *Pool) mustFail(r *Request) errno {
	switch {
	case p.readOnly != nil:
		return erofs
	case p.opt.OnFull == FullFails && p.back.drained() && p.lacksSpace(r):
		if none, known := p.needsNone(r); known && !none {
			return syscall.ENOSPC
		}
	}
	return 0
}

// mayAdmit reports whether the pool can hold r: entries and extents in the index, on the capacity
// device a place for every block, and the pages of the map, promised before r enters the log.
func (p *Pool) mayAdmit(r *Request) bool {
	switch {
	case p.readOnly != nil, r.Vol.held, p.now < r.Vol.nextAdmit:
		return false
	case p.logged.entries+p.reserved.entries+r.needs.entries > p.opt.IndexEntries,
		p.logged.extents+p.reserved.extents+r.needs.extents > p.opt.Extents:
		p.stats.IndexStalls++
		return false
	}
	if p.lacksSpace(r) {
		if none, _ := p.needsNone(r); !none {
			p.stats.SpaceStalls++
			return false
		}
	}
	return true
}

// lacksSpace reports whether the capacity device might have no place for the blocks of r, if every
// dirty block needs a new one, or the metadata area none for the pages it adds to what is promised.
func (p *Pool) lacksSpace(r *Request) bool {
	n := r.Vol.node
	if r.needs.data == 0 && n.parent == nil {
		return false
	}
	more := p.pagesWanted(n, r.needs) - n.promised
	if more > 0 && p.pageNeed+more+p.opt.reservePages > p.pages.available() {
		return true
	}
	blocks := p.dirtyData + p.reserved.data + r.needs.data
	if planted("space-not-promised") {
		return false
	}
	return r.needs.data > 0 && blocks+p.opt.reserveBlocks > p.blocks.available()
}

// delayNext sets when v's next write may be admitted.
func (p *Pool) delayNext(v *Volume, r *Request) {
	over := p.pressure() - p.opt.High
	if over <= 0 {
		return
	}
	share := over * 1000 / (1000 - p.opt.High)
	delay := int64(r.needs.entries+r.needs.extents) * maxDelay * int64(share*share) / 1_000_000
	v.nextAdmit = p.now + delay
}

// pressure returns how full the log is, in thousandths: of its segments, but for the one that each
// lane holds ready, or of what a restart would have to bring into the index.
func (p *Pool) pressure() int {
	segments := int(p.label.Segments) - p.ring.Lanes()
	log := max(segments-p.ring.FreeSegments(), 0) * 1000 / segments
	entries := p.logged.entries * 1000 / p.opt.IndexEntries
	extents := p.logged.extents * 1000 / p.opt.Extents
	return max(log, entries, extents)
}

// room is what admission depends on and the back end changes.
type room struct {
	logged, segments           int
	dirty, pages, blocks, free uint64
}

func (p *Pool) room() room {
	return room{
		p.logged.entries + p.logged.extents, p.ring.FreeSegments(),
		p.dirtyData, p.pageNeed, p.blocks.available(), p.pages.available(),
	}
}
