package shard

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// lock is what the shards hold while they drive the pool: a few microseconds at a time. Who finds it held
// spins for about as long, and then waits as for a futex. Go's scheduler is told of that wait: the garbage
// collector may have stopped the thread that holds the lock, and waits for all that it has not stopped.
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
		// EAGAIN: it has changed; EINTR: a signal.
		_, _, _ = syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&l.state)),
			futexWait, uintptr(lockWanted), 0, 0, 0)
	}
}

func (l *lock) unlock() {
	if l.state.Swap(lockFree) == lockWanted {
		_, _, _ = syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&l.state)),
			futexWake, 1, 0, 0, 0)
	}
}
