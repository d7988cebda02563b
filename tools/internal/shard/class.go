package shard

import (
	"unblend/ublk"
)

// Requests that share memory.
const (
	reading = iota
	writing // everything that goes into the log, and flushes
	classes
)

// Of the requests that can be under way, and of their memory, three eighths are for reads: they
// always end soon, while writes may wait for room in the log or for space.
const (
	maxRequests = 1024 // of all shards
	readEighths = 3
)

// class is the memory and the requests of one kind, and the line of the devices that wait for them.
// A device begins a request at once if the class has room, nobody waits for memory, and the device
// holds no more than what is free (so k devices that want all of it get 1/(k+1) each, and a
// newcomer finds as much). Otherwise the request waits in the device's own queue, and the devices
// take turns.
type class struct {
	mem   *ublk.Pool
	free  []uint32 // requests of the class, indexes of Shard.reqs
	total int

	first, last *share // the line
	length      int    // of it
	short       bool   // the first in line waits for memory or a request, not for its own to end
	freed       bool   // something was freed since the line was last looked at
}

// share is what one device has of a class.
type share struct {
	dev    *device
	class  *class
	bytes  int // held
	reqs   int // held
	tags   fifo
	inLine bool
	next   *share
}

// fifo is a queue of a device's tags.
type fifo struct {
	tags []uint16 // ring, as long as the device's queue is deep
	head int
	n    int
}

func (q *fifo) add(tag uint16) {
	q.tags[(q.head+q.n)%len(q.tags)] = tag
	q.n++
}

func (q *fifo) first() uint16 { return q.tags[q.head] }

func (q *fifo) drop() {
	q.head = (q.head + 1) % len(q.tags)
	q.n--
}

// newClasses allocates the memory and the requests.
func (s *Shard) newClasses() error {
	s.reqs = make([]request, maxRequests/max(s.cfg.Shards, 1))
	for i := range s.reqs {
		s.reqs[i].Tag = uint64(s.id)<<tagShard | uint64(i)
	}
	parts := [classes]int{reading: readEighths, writing: 8 - readEighths}
	at := 0
	for i, part := range parts {
		c := &s.classes[i]
		c.total = len(s.reqs) * part / 8
		for range c.total {
			c.free = append(c.free, uint32(at))
			at++
		}
		var err error
		if c.mem, err = ublk.NewPool(s.cfg.Memory * part / 8); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shard) closeClasses() error {
	for i := range s.classes {
		if mem := s.classes[i].mem; mem != nil { // nil: it could not be had
			if err := mem.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// verdict says whether a request may begin.
type verdict uint8

const (
	begun   verdict = iota
	tooMuch         // the device has to wait until some of its own have ended
	none            // there is nothing left, whoever asks
)

// take gives a share memory for a request of n bytes, and the index of the request.
func (h *share) take(n int) (buf []byte, index uint32, v verdict) {
	c := h.class
	switch {
	case len(c.free) == 0:
		return nil, 0, none
	case h.reqs > 0 && (h.reqs >= len(c.free) || h.bytes+n > c.mem.Available()):
		return nil, 0, tooMuch
	}
	if n > 0 {
		if buf = c.mem.Alloc(n); buf == nil {
			return nil, 0, none
		}
	}
	index = c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	h.reqs++
	h.bytes += cap(buf)
	return buf, index, begun
}

// give takes memory and request back.
func (h *share) give(buf []byte, index uint32) {
	c := h.class
	h.reqs--
	h.bytes -= cap(buf)
	if buf != nil {
		c.mem.Free(buf)
	}
	c.free = append(c.free, index)
	c.freed = true
}

// enqueue puts a share at the end of the line.
func (c *class) enqueue(h *share) {
	h.inLine, h.next = true, nil
	if c.last == nil {
		c.first = h
	} else {
		c.last.next = h
	}
	c.last = h
	c.length++
}

// dequeue takes the first share out of the line.
func (c *class) dequeue() *share {
	h := c.first
	if c.first = h.next; c.first == nil {
		c.last = nil
	}
	h.inLine, h.next = false, nil
	c.length--
	return h
}

// mayAdmit says that somebody waits who might not have to any more.
func (s *Shard) mayAdmit() bool {
	for i := range s.classes {
		if c := &s.classes[i]; c.first != nil && c.freed {
			return true
		}
	}
	return false
}

// admitWaiting begins requests that waited, as far as there is room: one of each device in turn.
func (s *Shard) admitWaiting() {
	for i := range s.classes {
		c := &s.classes[i]
		if c.freed {
			c.freed = false
			for s.admitRound(c) {
			}
		}
	}
}

// admitRound goes through the line once and reports whether any request began.
func (s *Shard) admitRound(c *class) (progress bool) {
	c.short = false
	for range c.length {
		h := c.first
		switch s.begin(h, h.tags.first()) {
		case none:
			c.short = true
			return false
		case begun:
			h.tags.drop()
			progress = true
		}
		c.dequeue()
		if h.tags.n > 0 {
			c.enqueue(h)
		}
	}
	return progress
}
