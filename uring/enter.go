package uring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

const sysEnter = 426

// timespec is struct __kernel_timespec.
type timespec struct{ sec, nsec int64 }

func (t *timespec) set(d time.Duration) {
	t.sec, t.nsec = int64(d/time.Second), int64(d%time.Second)
}

// getEventsArg is struct io_uring_getevents_arg (linux/io_uring.h 7.3; min_wait_usec was padding
// before 6.12).
type getEventsArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWaitUsec uint32
	ts          uint64
}

const _ = uint(unsafe.Sizeof(getEventsArg{}) - 24)

// Submit gives the filled entries to the kernel and lets it finish what it can, without waiting.
// It is one system call that Go's scheduler is not told of.
func (r *Ring) Submit() error {
	for {
		errno := r.enter(0, 0, true)
		if errno != syscall.EINTR { // which says that nothing was taken: a signal came first
			return r.outcome(errno, "submit")
		}
	}
}

// SubmitAndWait gives the filled entries to the kernel and waits until at least want completions
// are ready to be reaped or, unless it is negative, timeout has passed; then it returns nil as
// well. In most turns of a busy loop it is one system call.
//
// How it waits is what an I/O server in Go costs. A wait through Syscall lets the scheduler give
// the thread's P away and makes the thread find another when it returns: some ten microseconds at
// queue depth 1. So a wait begins raw, unseen by the scheduler, for at most Options.RawWait; a
// signal, such as the garbage collector sends when it wants the thread to stop, ends that early.
// Then, and until completions come again, the thread counts as idle and waits through Syscall.
func (r *Ring) SubmitAndWait(want uint32, timeout time.Duration) error {
	if r.g.CQReady() >= want || timeout == 0 {
		if r.pending() == 0 && timeout != 0 {
			return nil
		}
		return r.Submit()
	}
	if !r.idle && r.rawWait > 0 {
		d := r.rawWait
		if timeout > 0 && timeout < d {
			d = timeout
		}
		r.stats.RawWaits++
		errno := r.enter(want, d, true)
		if r.g.CQReady() >= want {
			return nil
		}
		if errno != 0 && errno != syscall.EINTR && errno != syscall.ETIME {
			return r.outcome(errno, "submit and wait")
		}
		if d == timeout && errno == syscall.ETIME {
			return nil
		}
		r.idle = true
	}
	return r.waitIdle(want, timeout)
}

// waitIdle waits through Syscall, which gives the P back while the thread sleeps.
func (r *Ring) waitIdle(want uint32, timeout time.Duration) error {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	for {
		r.stats.Waits++
		errno := r.enter(want, timeout, false)
		if r.g.CQReady() >= want {
			r.idle = false
			return nil
		}
		if errno == syscall.ETIME {
			return nil
		}
		if errno != 0 && errno != syscall.EINTR {
			return r.outcome(errno, "submit and wait")
		}
		if timeout > 0 {
			if timeout = time.Until(deadline); timeout <= 0 {
				return nil
			}
		}
	}
}

// outcome turns the result of a call that did not deliver into the caller's error.
func (r *Ring) outcome(errno syscall.Errno, what string) error {
	switch errno {
	case 0:
		return nil
	case syscall.EAGAIN, syscall.EBUSY:
		if r.g.CQReady() > 0 {
			return nil // reaping makes room; the entries are still queued
		}
		return fmt.Errorf("io_uring %s: %w: %w", what, ErrBusy, errno)
	}
	return fmt.Errorf("io_uring %s: %w", what, errno)
}

// pending returns how many filled entries the kernel has not consumed.
func (r *Ring) pending() uint32 { return r.tail - atomic.LoadUint32(r.sqHead) }

// enter calls io_uring_enter once. What to submit is computed from the kernel's own index, so a
// call after an interrupted one goes on where that ended. A positive wait is the most the kernel
// waits for want completions. When entries were consumed the kernel reports that, and not why the
// wait ended early.
func (r *Ring) enter(want uint32, wait time.Duration, raw bool) syscall.Errno {
	atomic.StoreUint32(r.sqTail, r.tail)
	submit := r.pending()
	flags := r.enterFlags | uintptr(giouring.EnterGetEvents)
	var arg, size uintptr
	if want > 0 && wait > 0 {
		r.ts.set(wait)
		r.extArg.ts = uint64(uintptr(unsafe.Pointer(r.ts)))
		arg, size = uintptr(unsafe.Pointer(r.extArg)), unsafe.Sizeof(*r.extArg)
		flags |= uintptr(giouring.EnterExtArg)
	}
	var errno syscall.Errno
	if raw {
		_, _, errno = syscall.RawSyscall6(sysEnter, r.enterFd, uintptr(submit), uintptr(want),
			flags, arg, size)
	} else {
		_, _, errno = syscall.Syscall6(sysEnter, r.enterFd, uintptr(submit), uintptr(want),
			flags, arg, size)
	}
	r.stats.Enters++
	left := r.pending()
	r.stats.Submitted += uint64(submit - left)
	if left == 0 {
		r.used = 0
	}
	if errno == syscall.EINTR {
		r.stats.EINTR++
	}
	return errno
}
