package shard

import (
	"golang.org/x/sys/unix"

	"unblend/log"
	"unblend/uring"
)

// transfer is a device operation under way, in one piece or several.
type transfer struct {
	op     *log.Op // nil: the slot is free
	pieces int     // that have not ended
	moved  int32   // bytes, by those that have
	err    int32   // of the first that failed, negative; 0: none
	again  bool    // the kernel asks for another try
}

// submitOps moves the device operations of this turn into the ring's submission queue.
func (s *Shard) submitOps() {
	for _, op := range s.todo {
		slot := int(uint32(op.Token))
		for slot >= len(s.ops) {
			s.ops = append(s.ops, transfer{})
		}
		s.busy++
		s.submitOp(op)
	}
	s.todo = s.todo[:0]
}

// submitOp puts one operation into the ring, in pieces that the device takes as they are: what it
// had to split, the kernel would not begin from within the submission, but leave to a worker
// thread, behind what comes later.
func (s *Shard) submitOp(op *log.Op) {
	t := &s.ops[uint32(op.Token)]
	*t = transfer{op: op}
	limit := s.cfg.MaxBlocks[op.Dev]
	if op.Kind == log.Flush || limit == 0 || op.Len() <= int64(limit)*log.BlockSize {
		s.submitPiece(t, op.Bufs, op.Off)
		return
	}
	off, rest := op.Off, op.Bufs
	for skip := 0; len(rest) > 0 && !t.again; {
		s.piece, rest, skip = cutPiece(s.piece[:0], rest, skip, limit*log.BlockSize)
		s.submitPiece(t, s.piece, off)
		off += int64(limit) * log.BlockSize
	}
}

// cutPiece appends to piece the first n bytes of bufs, whose first skip bytes do not count, or all.
// It returns the piece, the buffers that are not used up, and how much of the first of them is.
func cutPiece(piece, bufs [][]byte, skip, n int) (_, rest [][]byte, used int) {
	for n > 0 && len(bufs) > 0 {
		b := bufs[0][skip:]
		if len(b) > n {
			return append(piece, b[:n]), bufs, skip + n
		}
		piece, bufs, skip = append(piece, b), bufs[1:], 0
		n -= len(b)
	}
	return piece, bufs, skip
}

// submitPiece puts a piece of an operation into the ring. When the queue is full, what is in it is
// submitted first.
func (s *Shard) submitPiece(t *transfer, bufs [][]byte, off int64) {
	for !s.prepare(t.op, bufs, off) {
		if err := s.ring.Submit(); err != nil {
			s.check(err)
			t.again = true
			if t.pieces == 0 {
				s.undone = append(s.undone, t.op)
			}
			return
		}
	}
	t.pieces++
}

// prepare fills the ring's entry for a piece of op; false: there is no room.
func (s *Shard) prepare(op *log.Op, bufs [][]byte, off int64) bool {
	data := uint64(kindOp)<<kindShift | uint64(uint32(op.Token))
	file := uring.FD(s.cfg.Files[op.Dev])
	attr := uring.Attr{}
	if op.FUA {
		attr.RW = unix.RWF_DSYNC
	}
	one := len(bufs) == 1
	switch {
	case op.Kind == log.Flush:
		return s.ring.Fsync(data, file, true)
	case op.Kind == log.Read && one:
		return s.ring.Read(data, file, bufs[0], off, attr)
	case op.Kind == log.Read:
		return s.ring.ReadV(data, file, bufs, off, attr)
	case one:
		return s.ring.Write(data, file, bufs[0], off, attr)
	}
	return s.ring.WriteV(data, file, bufs, off, attr)
}

// opDone notes the end of a piece, and that of the last one for the pool. The kernel may ask
// for another try: then all of the operation is done again.
func (s *Shard) opDone(slot uint32, res int32) {
	t := &s.ops[slot]
	t.pieces--
	switch e := unix.Errno(-res); {
	case res >= 0:
		t.moved += res
	case e == unix.EAGAIN || e == unix.EINTR:
		t.again = true
	case t.err == 0:
		t.err = res
	}
	if t.pieces > 0 {
		return
	}
	op := t.op
	if t.err == 0 && t.again {
		s.undone = append(s.undone, op)
		return
	}
	res = t.moved
	if t.err != 0 {
		res = t.err
	}
	*t = transfer{}
	if op.Sums && int64(res) == op.Len() {
		op.Sum()
	}
	s.busy--
	s.ended = append(s.ended, outcome{op, res})
}

// redo tries again what the kernel refused for the moment.
func (s *Shard) redo() {
	if len(s.undone) > 0 {
		again := s.undone
		s.undone = nil
		for _, op := range again {
			s.submitOp(op)
		}
	}
	if len(s.owed) > 0 {
		again := s.owed
		s.owed = nil
		for _, a := range again {
			s.commit(a)
		}
	}
}
