package uring

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors of this package; they are wrapped with what was being done.
var (
	// ErrDisabled is returned where io_uring exists but this process may not use it: the sysctl
	// kernel.io_uring_disabled, a seccomp filter or a container runtime forbids it.
	ErrDisabled = errors.New("io_uring is disabled on this system")
	// ErrUnsupported is what an UnsupportedError matches with errors.Is.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrBusy is returned when the kernel could not take submissions for the moment, for want of
	// memory or because completions wait to be reaped. Nothing is lost: reap and call again.
	ErrBusy = errors.New("io_uring is busy")
)

// UnsupportedError names something the running kernel does not have.
type UnsupportedError struct {
	Name  string // what is missing
	Since string // the first kernel version that has it, "6.1"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s needs Linux %s or newer", e.Name, e.Since)
}

// Is makes errors.Is(err, ErrUnsupported) true.
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }

// setupError explains why io_uring_setup was refused.
func setupError(errno syscall.Errno) error {
	switch errno {
	case syscall.ENOSYS:
		return &UnsupportedError{Name: "io_uring", Since: "5.1"}
	case syscall.EINVAL:
		return &UnsupportedError{Name: "io_uring with DEFER_TASKRUN", Since: "6.1"}
	case syscall.EPERM:
		return fmt.Errorf("%w: %w", ErrDisabled, errno)
	}
	return errno
}
