package ublk

import (
	"io"
	"syscall"
	"unsafe"

	"unblend/uring"
)

// The bytes of a request are reached through /dev/ublkcN from the moment Next returned it until
// its Commit. The copies below are system calls that never sleep, and that Go's scheduler is not
// told of: for one request they cost what an entry of the ring costs, and they are done at once,
// so that a write can go into the same submission as everything else of its turn.

// CopyIn fills buf with the bytes of a write request from off on.
func (q *Queue) CopyIn(tag uint16, off int64, buf []byte) error {
	return q.copy(syscall.SYS_PREAD64, tag, off, buf)
}

// CopyOut gives buf to a read request as its bytes from off on.
func (q *Queue) CopyOut(tag uint16, off int64, buf []byte) error {
	return q.copy(syscall.SYS_PWRITE64, tag, off, buf)
}

func (q *Queue) copy(call uintptr, tag uint16, off int64, buf []byte) error {
	pos := copyPos(q.id, tag, off)
	for len(buf) > 0 {
		n, _, errno := syscall.RawSyscall6(call, uintptr(q.dev.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), uintptr(pos), 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return errno
		case n == 0:
			return io.ErrUnexpectedEOF // past the end of the request
		}
		buf, pos = buf[n:], pos+int64(n)
	}
	return nil
}

// SubmitCopyIn is CopyIn as an operation on the ring, which the next submission carries out before
// it returns. It returns false when the submission queue is full. buf as for uring.Ring.Read.
func (q *Queue) SubmitCopyIn(userData uint64, tag uint16, off int64, buf []byte) bool {
	return q.ring.Read(userData, q.file, buf, copyPos(q.id, tag, off), uring.Attr{})
}

// SubmitCopyOut is CopyOut as an operation on the ring. A Commit queued after it, in the same
// submission, is carried out after it too; but unless the copy is known to succeed, wait for it.
func (q *Queue) SubmitCopyOut(userData uint64, tag uint16, off int64, buf []byte) bool {
	return q.ring.Write(userData, q.file, buf, copyPos(q.id, tag, off), uring.Attr{})
}
