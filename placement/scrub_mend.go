package placement

import (
	"fmt"

	"unblend/log"
)

// What a scrub does with what is not as it should be.

// inScrub reports whether a step of a scrub is under way.
func (b *backend) inScrub() bool { return b.phase == scrubRead || b.phase == scrubMend }

// tally counts a piece of which it is known what it is.
func (b *backend) tally(m *scrubPiece) {
	s, c := &b.scrub, b.p.cache
	s.Done += log.BlockSize
	if m.isData() {
		s.Blocks++
		return
	}
	s.Pages++
	if f := c.find(m.key); !m.bad && f != noFrame && c.frames[f].state == frameBad {
		c.drop(f) // it can be read by now
	}
}

// isData reports whether a piece is a block of data, not a copy of something.
func (m *scrubPiece) isData() bool { return m.key == dataPiece }

// suspect looks at what a step has read, and reports whether something is to be read again.
func (b *backend) suspect() bool {
	s := &b.scrub
	for i := range s.pieces {
		if m := &s.pieces[i]; m.bad {
			if !s.again {
				clear(s.suspects[:])
				s.again, s.againEnd = true, s.end
			}
			s.suspects[m.slot] = m.id
		}
	}
	for i := range s.pieces {
		if m := &s.pieces[i]; !s.again || s.suspects[m.slot] == 0 {
			b.tally(m)
		}
	}
	if s.again {
		b.p.stats.Mismatches++
	}
	return s.again
}

// probeScrubbed reads the label of the device, which it certainly has, when pieces of it could not be
// read, and reports whether there is something to wait for. A device of which nothing can be read is not
// damaged in one block after the other: then the scrub ends.
func (b *backend) probeScrubbed() bool {
	p, s := b.p, &b.scrub
	if s.probed {
		if s.gone != nil {
			b.phase = backIdle
			p.endScrub(s.gone)
		}
		return s.gone != nil
	}
	s.probed, s.gone = true, nil
	for i := range s.pieces {
		m := &s.pieces[i]
		if _, read := m.err.(*ChecksumError); !m.bad || read {
			continue
		}
		op := p.ops.NewOp(b, m.at.dev, log.Read, p.probeOffset(m.at.dev))
		op.Bufs, op.Arg = append(op.Bufs, b.gap), readProbe
		b.submit(op)
		return true
	}
	return false
}

// probeOffset returns where a label of a device stands, in bytes.
func (p *Pool) probeOffset(dev log.Dev) int64 {
	for _, at := range p.label.copies() {
		if at.dev == dev {
			return at.off
		}
	}
	return 0
}

// judge decides about what was read again, alone.
func (b *backend) judge() {
	s := &b.scrub
	for i := range s.pieces {
		m := &s.pieces[i]
		b.tally(m)
		switch {
		case !m.bad:
		case m.isData():
			b.badBlock(m)
		default:
			b.badCopy(i)
		}
	}
}

// badBlock counts and names a block of data that is not what was written.
func (b *backend) badBlock(m *scrubPiece) {
	p, s := b.p, &b.scrub
	n := p.nodes[s.node]
	if n == nil || n.gone() {
		return // nobody can read it any more
	}
	s.BadBlocks++
	p.stats.ReadErrors++
	p.stats.LastError = b.found(s.at+uint64(m.slot), m, m.err)
}

// badCopy counts a bad copy of a page, and puts into its buffer what it should have been, so that it
// is written anew: from the other copy, or from memory. Without either the page is lost.
func (b *backend) badCopy(i int) {
	p, s := b.p, &b.scrub
	m := &s.pieces[i]
	s.BadCopies++
	p.stats.PageDamage++
	first := true
	for k := range s.pieces {
		if o := &s.pieces[k]; o.slot == m.slot && !o.bad {
			copy(b.slot(uint32(i)), b.slot(uint32(k)))
			m.mend = true
			return
		} else if o.slot == m.slot && k < i {
			first = false
		}
	}
	if m.mend = b.fromMemory(b.slot(uint32(i)), m); m.mend || !first {
		return
	}
	s.BadPages++
	at := s.at
	if s.area == scrubNodes {
		at += uint64(m.slot) << (fanoutBits * (s.level - 1))
	}
	b.found(at, m, fmt.Errorf("%w: %w", &DamagedError{m.key.describe(), m.key.number()}, m.err))
}

// fromMemory fills mem with what a copy should be, if that is in memory.
func (b *backend) fromMemory(mem []byte, m *scrubPiece) bool {
	c, s := b.p.cache, &b.scrub
	switch {
	case s.area == scrubHeaders:
		b.encodeHeader(mem, s.group.labels, int(m.slot))
	case s.area < scrubCatalogue && s.level > 0:
		copy(mem, b.p.spaceOf(s.area).refs.content(int(s.level), int(s.at)+int(m.slot)))
	default:
		f := c.find(m.key)
		if f == noFrame || c.frames[f].state != frameValid {
			return false
		}
		copy(mem, c.page(f))
	}
	return checksum(mem) == m.crc
}

// found remembers a block, or a page, of which there is no good copy.
func (b *backend) found(block uint64, m *scrubPiece, err error) *BlockError {
	s := &b.scrub
	e := &BlockError{
		Volume: b.scrubbedName(), Block: block, Device: m.at.dev.String(),
		Address: uint64(m.at.off) / log.BlockSize, Err: err,
	}
	if len(s.Found) < cap(s.Found) {
		s.Found = append(s.Found, *e)
	}
	return e
}

// scrubbedName returns what the present node is called in messages, "" in front of the nodes.
func (b *backend) scrubbedName() string {
	s := &b.scrub
	if name := b.p.nameOf(s.node); name != "" || s.area != scrubNodes {
		return name
	}
	return fmt.Sprintf("#%d, removed", s.node)
}

// mendPieces writes the copies anew of which the content is known.
func (b *backend) mendPieces() bool {
	s := &b.scrub
	for ; b.next < len(s.pieces) && b.room(s.pieces[b.next].at.dev) > 0; b.next++ {
		m := &s.pieces[b.next]
		if !m.mend {
			continue
		}
		op := b.p.ops.NewOp(b, m.at.dev, log.Write, m.at.off)
		op.FUA, op.Arg = true, uint64(b.next)|1<<32
		op.Bufs = append(op.Bufs, b.slot(uint32(b.next)))
		b.submit(op)
	}
	if b.next < len(s.pieces) || b.pending > 0 {
		return false
	}
	for i := range s.pieces {
		if m := &s.pieces[i]; m.mend && !m.bad {
			s.Repaired++
			b.p.stats.PageRepairs++
		}
	}
	b.phase = backIdle
	if s.Running {
		b.scrubOn()
	}
	return true
}

// passDamaged passes over what is below a page that cannot be read: what is wrong with it was found
// when its copies were.
func (b *backend) passDamaged() {
	s := &b.scrub
	s.to(spanEnd(s.at, max(s.level, s.group.low)))
}
