package uring

import (
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

// Every operation below fills one entry for the next Submit or SubmitAndWait and returns true, or
// returns false and does nothing when the submission queue, or for vectored operations and
// timeouts the memory set by Options.Iovecs, is full: submit and try again.

// Nop does nothing and completes with 0.
func (r *Ring) Nop(userData uint64) bool {
	return r.get(giouring.OpNop, userData) != nil
}

// Read reads into buf from off bytes on; off -1 is the file's position, for files without one.
func (r *Ring) Read(userData uint64, f File, buf []byte, off int64, a Attr) bool {
	return r.transfer(giouring.OpRead, userData, f, buf, off, a) != nil
}

// Write writes buf from off bytes on.
func (r *Ring) Write(userData uint64, f File, buf []byte, off int64, a Attr) bool {
	return r.transfer(giouring.OpWrite, userData, f, buf, off, a) != nil
}

// ReadFixed is Read into a part of the registered buffer index.
func (r *Ring) ReadFixed(userData uint64, f File, buf []byte, index uint16, off int64,
	a Attr,
) bool {
	e := r.transfer(giouring.OpReadFixed, userData, f, buf, off, a)
	if e != nil {
		e.BufIG = index
	}
	return e != nil
}

// WriteFixed is Write from a part of the registered buffer index.
func (r *Ring) WriteFixed(userData uint64, f File, buf []byte, index uint16, off int64,
	a Attr,
) bool {
	e := r.transfer(giouring.OpWriteFixed, userData, f, buf, off, a)
	if e != nil {
		e.BufIG = index
	}
	return e != nil
}

func (r *Ring) transfer(op uint8, userData uint64, f File, buf []byte, off int64,
	a Attr,
) *giouring.SubmissionQueueEntry {
	addr := address(buf)
	e := r.getFile(op, userData, f, a)
	if e == nil {
		return nil
	}
	e.Addr, e.Len, e.Off = addr, uint32(len(buf)), uint64(off)
	return e
}

// ReadV reads into bufs, in order, from off bytes on. At most 1024 buffers.
func (r *Ring) ReadV(userData uint64, f File, bufs [][]byte, off int64, a Attr) bool {
	return r.vector(giouring.OpReadv, userData, f, bufs, off, a)
}

// WriteV writes bufs, in order, from off bytes on. At most 1024 buffers.
func (r *Ring) WriteV(userData uint64, f File, bufs [][]byte, off int64, a Attr) bool {
	return r.vector(giouring.OpWritev, userData, f, bufs, off, a)
}

func (r *Ring) vector(op uint8, userData uint64, f File, bufs [][]byte, off int64, a Attr) bool {
	if len(bufs) > maxIovecs {
		panic("uring: more than 1024 buffers in one operation")
	}
	if r.Room() == 0 {
		return false
	}
	vec := r.take(len(bufs))
	if vec == nil && len(bufs) > 0 {
		return false
	}
	for i, b := range bufs {
		vec[i] = scratch{a: address(b), b: uint64(len(b))}
	}
	e := r.getFile(op, userData, f, a)
	if len(bufs) > 0 {
		e.Addr = uint64(uintptr(unsafe.Pointer(&vec[0])))
	}
	e.Len, e.Off = uint32(len(bufs)), uint64(off)
	return true
}

// Fsync makes what was completed before it durable: the data and what is needed to read it back
// with dataOnly, else all metadata too. On a block device both flush its cache.
func (r *Ring) Fsync(userData uint64, f File, dataOnly bool) bool {
	e := r.getFile(giouring.OpFsync, userData, f, Attr{})
	if e != nil && dataOnly {
		e.OpcodeFlags = giouring.FsyncDatasync
	}
	return e != nil
}

// Fallocate does fallocate(2) with mode on n bytes from off on: FALLOC_FL_PUNCH_HOLE and
// FALLOC_FL_ZERO_RANGE are how files and block devices discard and zero. It runs in a worker.
func (r *Ring) Fallocate(userData uint64, f File, mode uint32, off, n int64) bool {
	e := r.getFile(giouring.OpFallocate, userData, f, Attr{})
	if e == nil {
		return false
	}
	e.Len, e.Off, e.Addr = mode, uint64(off), uint64(n)
	return true
}

// PollAdd completes once with the events of f that are ready (POLLIN and so on) among events.
func (r *Ring) PollAdd(userData uint64, f File, events uint32) bool {
	e := r.getFile(giouring.OpPollAdd, userData, f, Attr{})
	if e != nil {
		e.OpcodeFlags = events
	}
	return e != nil
}

// Timeout completes with -ETIME when d has passed.
func (r *Ring) Timeout(userData uint64, d time.Duration) bool {
	if r.Room() == 0 {
		return false
	}
	s := r.take(1)
	if s == nil {
		return false
	}
	ts := (*timespec)(unsafe.Pointer(&s[0]))
	ts.set(d)
	e := r.get(giouring.OpTimeout, userData)
	e.Fd, e.Addr, e.Len = -1, uint64(uintptr(unsafe.Pointer(ts))), 1
	return true
}

// Cancel asks for the operation submitted with user_data target to end. It completes with 0 when
// that was cancelled, -ENOENT when it was not found, -EALREADY when it has begun and was told.
// The target completes too, in any case.
func (r *Ring) Cancel(userData, target uint64) bool {
	e := r.get(giouring.OpAsyncCancel, userData)
	if e == nil {
		return false
	}
	e.Fd, e.Addr = -1, target
	return true
}

// UringCmd sends a driver's command cmdOp with 16 command bytes, as two little-endian words.
func (r *Ring) UringCmd(userData uint64, f File, cmdOp uint32, word0, word1 uint64) bool {
	e := r.getFile(giouring.OpUringCmd, userData, f, Attr{})
	if e == nil {
		return false
	}
	e.Off = uint64(cmdOp) // the low half; the high half must be 0
	*(*[2]uint64)(unsafe.Add(unsafe.Pointer(e), cmdOffset)) = [2]uint64{word0, word1}
	return true
}

// UringCmd128 sends a driver's command with 80 command bytes, which are copied. The ring must have
// been made with Options.SQE128.
func (r *Ring) UringCmd128(userData uint64, f File, cmdOp uint32, cmd *[80]byte) bool {
	if r.stride == sqeSize {
		panic("uring: 80 command bytes need a ring with SQE128")
	}
	e := r.getFile(giouring.OpUringCmd, userData, f, Attr{})
	if e == nil {
		return false
	}
	e.Off = uint64(cmdOp)
	*(*[80]byte)(unsafe.Add(unsafe.Pointer(e), cmdOffset)) = *cmd
	return true
}
