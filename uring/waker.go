package uring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Waker lets other goroutines end a ring's wait: they put work where the loop looks for it and call
// Wake. It is an eventfd with a poll under way on the ring.
//
//	Arm once; on the completion with the Waker's user_data: Woken, look for work, Arm again.
type Waker struct {
	fd       int
	ring     *Ring
	userData uint64
	pending  atomic.Bool // a wake-up was sent and not yet seen
}

// NewWaker makes a Waker whose completions carry userData.
func NewWaker(r *Ring, userData uint64) (*Waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &Waker{fd: fd, ring: r, userData: userData}, nil
}

// Arm puts the poll under way; it returns false when the submission queue is full.
func (w *Waker) Arm() bool { return w.ring.PollAdd(w.userData, FD(w.fd), unix.POLLIN) }

// Woken is called by the ring's thread for the poll's completion, before it looks for work, so that
// work put there later wakes it again.
func (w *Waker) Woken() {
	var count [8]byte
	_, _, _ = syscall.RawSyscall(syscall.SYS_READ, uintptr(w.fd),
		uintptr(unsafe.Pointer(&count)), 8) // EAGAIN says that it is zero already
	w.pending.Swap(false) // not Store: work put before a folded Wake must be visible after this
}

// Wake ends the ring's wait, or its next one. Any goroutine may call it; calls that the loop has
// not seen yet are folded into one.
func (w *Waker) Wake() error {
	if w.pending.Swap(true) {
		return nil
	}
	one := [8]byte{1}
	if _, err := unix.Write(w.fd, one[:]); err != nil {
		w.pending.Store(false)
		return fmt.Errorf("wake ring: %w", err)
	}
	return nil
}

// Close closes the eventfd. A poll under way holds on to it until the ring is closed.
func (w *Waker) Close() error {
	if err := unix.Close(w.fd); err != nil {
		return fmt.Errorf("close eventfd: %w", err)
	}
	return nil
}
