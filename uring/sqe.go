package uring

import (
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// File names what an operation works on: a descriptor or an index into the registered files.
type File uint32

const fixedFile File = 1 << 31

// FD returns the File for an open descriptor.
func FD(fd int) File { return File(fd) }

// Fixed returns the File for an index into the registered files.
func Fixed(index int) File { return File(index) | fixedFile }

// Attr is what an operation may carry besides its arguments; the zero value is the usual case.
type Attr struct {
	RW     uint32 // RWF_ flags of reads and writes: unix.RWF_DSYNC makes a write durable
	IOPrio uint16 // ioprio class and level (linux/ioprio.h); 0: the thread's
	SQE    uint8  // IOSQE_ flags: giouring.SqeIOLink and so on
}

// cmdOffset is where the command bytes of IORING_OP_URING_CMD begin in an entry.
const cmdOffset = 48

const (
	_ = uint(unsafe.Sizeof(giouring.SubmissionQueueEntry{}) - sqeSize)
	_ = uint(sqeSize - unsafe.Sizeof(giouring.SubmissionQueueEntry{}))
	_ = uint(unsafe.Offsetof(giouring.SubmissionQueueEntry{}.Addr3) - cmdOffset)
	_ = uint(cmdOffset - unsafe.Offsetof(giouring.SubmissionQueueEntry{}.Addr3))
)

// get takes the next entry and zeroes all of it, or returns nil when the queue is full.
func (r *Ring) get(op uint8, userData uint64) *giouring.SubmissionQueueEntry {
	e := r.g.GetSQE()
	if e == nil {
		return nil
	}
	r.tail++
	if r.stride == sqeSize {
		*(*[sqeSize]byte)(unsafe.Pointer(e)) = [sqeSize]byte{}
	} else {
		*(*[2 * sqeSize]byte)(unsafe.Pointer(e)) = [2 * sqeSize]byte{}
	}
	e.OpCode, e.UserData = op, userData
	return e
}

// getFile is get for an operation on a file.
func (r *Ring) getFile(op uint8, userData uint64, f File, a Attr) *giouring.SubmissionQueueEntry {
	e := r.get(op, userData)
	if e == nil {
		return nil
	}
	e.Fd, e.Flags, e.IoPrio, e.OpcodeFlags = int32(f&^fixedFile), a.SQE, a.IOPrio, a.RW
	if f&fixedFile != 0 {
		e.Flags |= giouring.SqeFixedFile
	}
	return e
}

// scratch is one unit of the memory that entries point to until the kernel has consumed them:
// an iovec or a timespec, which have the same size.
type scratch struct{ a, b uint64 }

const (
	_ = uint(unsafe.Sizeof(scratch{}) - unsafe.Sizeof(unix.Iovec{}))
	_ = uint(unsafe.Sizeof(unix.Iovec{}) - unsafe.Sizeof(scratch{}))
	_ = uint(unsafe.Sizeof(scratch{}) - unsafe.Sizeof(timespec{}))
	_ = uint(unsafe.Sizeof(timespec{}) - unsafe.Sizeof(scratch{}))
)

// maxIovecs is the kernel's limit for one operation (UIO_MAXIOV).
const maxIovecs = 1024

// take cuts n units off the scratch memory, or returns nil until the next submission.
func (r *Ring) take(n int) []scratch {
	if n > len(r.scratch)-r.used {
		return nil
	}
	s := r.scratch[r.used : r.used+n : r.used+n]
	r.used += n
	return s
}
