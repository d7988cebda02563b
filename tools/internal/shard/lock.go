package shard

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// lock is what the shards hold while they drive the pool: a few microseconds at a time. It waits in a way
// that Go's scheduler is not told of, as the loops do for their rings: to be taken off its processor and
// put on one again costs a thread more than the wait. The states are those of the futex that it is.
type lock struct{ state atomic.Uint32 }

const (
	lockFree uint32 = iota
	lockHeld
	lockWanted // held, and somebody may be waiting

	lockSpins = 200 // about a microsecond

	// include/uapi/linux/futex.h
	futexWait = 0 | 128 // FUTEX_WAIT, FUTEX_PRIVATE_FLAG
	futexWake = 1 | 128
)

func (l *lock) lock() {
	for range lockSpins {
		if l.state.Load() == lockFree && l.state.CompareAndSwap(lockFree, lockHeld) {
			return
		}
	}
	for l.state.Swap(lockWanted) != lockFree {
		// EAGAIN: it changed; EINTR: a signal, after which Go may want the thread to stop.
		_, _, _ = syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&l.state)),
			futexWait, uintptr(lockWanted), 0, 0, 0)
	}
}

func (l *lock) unlock() {
	if l.state.Swap(lockFree) == lockWanted {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&l.state)),
			futexWake, 1, 0, 0, 0)
	}
}
