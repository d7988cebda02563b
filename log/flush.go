package log

// flushState is a lane's flush of the device. Only rings with DurableFlush need any.
type flushState struct {
	wanted bool
	busy   bool
	upTo   uint64 // sequence number of the last record that the flush under way covers
	next   uint64 // the same of the record after that, once it is published
}

// pumpFlush ends the flush items whose target is durable, and submits a flush if there are others
// or one is wanted. A flush covers what was published, and so completed, before it was submitted;
// one is under way at a time.
func (l *Lane) pumpFlush() {
	for l.flushes.n > 0 && l.flushes.head.target <= l.durable {
		l.ring.sink.ItemDone(l.flushes.pop(), nil)
	}
	f := &l.flush
	if l.durable == l.published {
		f.wanted = false
	}
	if f.busy || !f.wanted && l.flushes.n == 0 {
		return
	}
	op := l.ring.ops.NewOp(l, Fast, Flush, 0)
	if op == nil {
		return
	}
	op.Arg = opArg(opFlush, 0, 0)
	f.busy, f.wanted, f.upTo = true, false, l.published
	l.ring.ops.Submit(op)
	l.ring.count.Flushes++
}

// flushDone takes the end of a flush. After a failed one nobody knows what is durable, and trying
// again would not tell: the lane is dead.
func (l *Lane) flushDone(err error) {
	l.flush.busy = false
	if err != nil {
		l.die(err)
		return
	}
	l.durable, l.undurable = l.flush.upTo, l.flush.next
}

// durableTo reports whether what the lane published up to seq is durable, and asks for a flush if
// not.
func (l *Lane) durableTo(seq uint64) bool {
	if l.durable == l.published || l.undurable > seq {
		return true
	}
	l.flush.wanted = true
	return false
}
