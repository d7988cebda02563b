package shard

import (
	"golang.org/x/sys/unix"

	"unblend/log"
	"unblend/placement"
	"unblend/ublk"
)

// request is a guest's request under way. Its Tag is its index among the shard's, and which shard it is
// of.
type request struct {
	placement.Request
	share *share
	tag   uint16 // the device's
}

// A request's Tag.
const (
	tagShard = 32 // the bits from here on: the shard
	tagIndex = 1<<tagShard - 1
)

// answer is what a device is told of a request.
type answer struct {
	dev *device
	tag uint16
	res int32
}

// arrived takes a request from a guest.
func (s *Shard) arrived(d *device, io ublk.IO) {
	if planted("replayed-write-not-done") && io.Op == ublk.Write && d.ios[io.Tag].Len == 0 {
		d.ios[io.Tag] = io
		s.commit(answer{d, io.Tag, int32(io.Len)})
		return
	}
	d.ios[io.Tag] = io
	h := &d.shares[writing]
	if io.Op == ublk.Read {
		h = &d.shares[reading]
	}
	c := h.class
	if !h.inLine && !c.short {
		v := s.begin(h, io.Tag)
		if v == begun {
			return
		}
		c.short = v == none
	}
	h.tags.add(io.Tag)
	if !h.inLine {
		c.enqueue(h)
	}
}

// bufferSize returns how much memory a request needs: the blocks it touches, or of a write-zeroes
// those it touches in part.
func bufferSize(io ublk.IO) int {
	span := placement.Span(io.Off, io.Len)
	switch io.Op {
	case ublk.Read, ublk.Write:
		return int(span)
	case ublk.WriteZeroes:
		partial := int64(0)
		if io.Off%log.BlockSize != 0 {
			partial += log.BlockSize
		}
		if (io.Off+io.Len)%log.BlockSize != 0 {
			partial += log.BlockSize
		}
		return int(min(partial, span))
	}
	return 0
}

var kinds = [...]placement.Kind{
	ublk.Read: placement.Read, ublk.Write: placement.Write, ublk.Flush: placement.Flush,
	ublk.Discard: placement.Discard, ublk.WriteZeroes: placement.WriteZeroes,
}

// known says that the pool can do what a request asks for.
func known(op ublk.Op) bool {
	return int(op) < len(kinds) && (kinds[op] != placement.Read || op == ublk.Read)
}

// begin hands a request to the pool if its device may have memory for it.
func (s *Shard) begin(h *share, tag uint16) verdict {
	io := h.dev.ios[tag]
	if !known(io.Op) || io.Len > placement.MaxIO && (io.Op == ublk.Read || io.Op == ublk.Write) {
		s.commit(answer{h.dev, tag, -int32(unix.EINVAL)})
		return begun
	}
	buf, index, v := h.take(bufferSize(io))
	if v != begun {
		return v
	}
	r := &s.reqs[index]
	r.share, r.tag = h, tag
	r.Kind, r.FUA = kinds[io.Op], io.Flags&ublk.FlagFUA != 0
	r.Vol, r.Off, r.Len, r.Buf = h.dev.vol, io.Off, io.Len, buf
	if io.Op == ublk.Write {
		at := io.Off % log.BlockSize
		if err := h.dev.queue.CopyIn(tag, 0, buf[at:at+io.Len]); err != nil {
			s.fault(h.dev, err)
			s.reply(r, unix.EIO)
			return begun
		}
		r.Sum()
	}
	s.in = append(s.in, &r.Request)
	return begun
}

// answerAll gives the guests the outcomes of finished requests.
func (s *Shard) answerAll() {
	for _, q := range s.out {
		r := &s.reqs[q.Tag&tagIndex]
		err := q.Err
		if err == 0 && q.Kind == placement.Read {
			at := q.Off % log.BlockSize
			d := r.share.dev
			if e := d.queue.CopyOut(r.tag, 0, q.Buf[at:at+q.Len]); e != nil {
				s.fault(d, e)
				err = unix.EIO
			}
		}
		s.reply(r, err)
	}
	s.out = s.out[:0]
}

// reply answers a request and frees what it had.
func (s *Shard) reply(r *request, err unix.Errno) {
	res := int32(0)
	switch {
	case err != 0:
		res = -int32(err)
	case r.Kind == placement.Read || r.Kind == placement.Write:
		res = int32(r.Len)
	}
	h := r.share
	s.commit(answer{h.dev, r.tag, res})
	h.give(r.Buf, uint32(r.Tag&tagIndex))
	r.Buf, r.share = nil, nil
}

// commit puts an answer into the ring. While the ring takes nothing the answer is owed.
func (s *Shard) commit(a answer) {
	if err := a.dev.queue.Commit(a.tag, a.res); err != nil {
		s.check(err)
		s.owed = append(s.owed, a)
		return
	}
	s.served++
}
