package ublk

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Errors of this package; they are wrapped with what was being done.
var (
	// ErrNoDriver is returned when there is no /dev/ublk-control: the module ublk_drv is not
	// loaded, or the kernel has none.
	ErrNoDriver = errors.New("no /dev/ublk-control: load the kernel module ublk_drv")
	// ErrPermission is returned when this process may not control ublk devices.
	ErrPermission = errors.New("ublk devices need root (CAP_SYS_ADMIN)")
	// ErrTimeout is what a TimeoutError matches with errors.Is.
	ErrTimeout = errors.New("ublk control command timed out")
	// ErrNoDevice is returned for a device number that is not there.
	ErrNoDevice = errors.New("no such ublk device")
	// ErrBusy is returned when something still holds the device open.
	ErrBusy = errors.New("ublk device is in use")
	// ErrDead is returned for a device without a disk where one is needed: it was never started,
	// or was stopped. Delete it.
	ErrDead = errors.New("ublk device has no disk")
	// ErrUnsupported is what an UnsupportedError matches with errors.Is.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrClosed is returned by a Control that was closed.
	ErrClosed = errors.New("ublk control is closed")
)

// UnsupportedError names something the running kernel does not have.
type UnsupportedError struct {
	Name  string // what is missing
	Since string // the first kernel version that has it, "6.16"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s needs Linux %s or newer", e.Name, e.Since)
}

// Is makes errors.Is(err, ErrUnsupported) true.
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }

// TimeoutError says which control command got no answer. The kernel was told to give it up; Stuck
// is true when it did not do even that.
type TimeoutError struct {
	Command string
	Device  uint32
	After   time.Duration
	Stuck   bool
}

func (e *TimeoutError) Error() string {
	s := fmt.Sprintf("no answer within %v", e.After)
	if e.Stuck {
		s += ", and it cannot be cancelled"
	}
	return s
}

// Is makes errors.Is(err, ErrTimeout) true.
func (e *TimeoutError) Is(target error) bool { return target == ErrTimeout }

// commandError gives an errno of the control device its meaning.
func commandError(c *command, errno syscall.Errno) error {
	err := error(errno)
	switch errno {
	case syscall.ENODEV:
		err = fmt.Errorf("%w: %w", ErrNoDevice, errno)
	case syscall.EPERM:
		err = fmt.Errorf("%w: %w", ErrPermission, errno)
	case syscall.EBUSY:
		err = fmt.Errorf("%w: %w", ErrBusy, errno)
	case syscall.EOPNOTSUPP:
		if c.since != "" {
			err = &UnsupportedError{Name: "ublk " + c.name, Since: c.since}
		}
	}
	return c.wrap(err)
}
