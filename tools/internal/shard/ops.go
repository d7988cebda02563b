package shard

import (
	"golang.org/x/sys/unix"

	"unblend/log"
	"unblend/uring"
)

// submitOps moves the pool's device operations into the ring's submission queue.
func (s *Shard) submitOps() {
	if s.stop {
		return
	}
	for op := s.pool.NextOp(); op != nil; op = s.pool.NextOp() {
		slot := int(uint32(op.Token))
		for slot >= len(s.ops) {
			s.ops = append(s.ops, nil)
		}
		s.ops[slot] = op
		s.busy++
		s.submitOp(op)
	}
}

// submitOp puts one operation into the ring. When the queue is full, what is in it is submitted
// first.
func (s *Shard) submitOp(op *log.Op) {
	for !s.prepare(op) {
		if err := s.ring.Submit(); err != nil {
			s.check(err)
			s.undone = append(s.undone, op)
			return
		}
	}
}

// prepare fills the ring's entry for op; false: there is no room.
func (s *Shard) prepare(op *log.Op) bool {
	data := uint64(kindOp)<<kindShift | uint64(uint32(op.Token))
	file := uring.FD(s.cfg.Files[op.Dev])
	attr := uring.Attr{}
	if op.FUA {
		attr.RW = unix.RWF_DSYNC
	}
	one := len(op.Bufs) == 1
	switch {
	case op.Kind == log.Flush:
		return s.ring.Fsync(data, file, true)
	case op.Kind == log.Read && one:
		return s.ring.Read(data, file, op.Bufs[0], op.Off, attr)
	case op.Kind == log.Read:
		return s.ring.ReadV(data, file, op.Bufs, op.Off, attr)
	case one:
		return s.ring.Write(data, file, op.Bufs[0], op.Off, attr)
	}
	return s.ring.WriteV(data, file, op.Bufs, op.Off, attr)
}

// opDone reports an operation's end to the pool. The kernel may ask for another try.
func (s *Shard) opDone(slot uint32, res int32) {
	op := s.ops[slot]
	if e := unix.Errno(-res); res < 0 && (e == unix.EAGAIN || e == unix.EINTR) {
		s.undone = append(s.undone, op)
		return
	}
	s.ops[slot] = nil
	s.busy--
	s.countDone(op, res)
	s.pool.Complete(op.Token, res)
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
