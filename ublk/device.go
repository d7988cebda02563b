package ublk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Device is an open /dev/ublkcN, which one process can have at a time. The descriptors of its
// queues are mapped from it, and requests' bytes are copied through it.
type Device struct {
	Info Info
	fd   int
}

// CharPath returns the path of a device's control side, BlockPath that of its disk.
func CharPath(id uint32) string { return fmt.Sprintf("/dev/ublkc%d", id) }

// BlockPath returns the path of a device's disk.
func BlockPath(id uint32) string { return fmt.Sprintf("/dev/ublkb%d", id) }

// openPoll is how often OpenDevice tries.
const openPoll = 2 * time.Millisecond

// OpenDevice opens /dev/ublkcN. It tries again while there is no such file yet, or somebody else
// has it open: udev looks at new devices, and a dead server's files take a moment to close. It may
// be called on any thread; the wait is not for a queue's.
func OpenDevice(info Info, timeout time.Duration) (*Device, error) {
	if info.Flags.Has(IODescSize) {
		return nil, fmt.Errorf("open %s: its request descriptors have a size of their own",
			CharPath(info.ID))
	}
	// O_NONBLOCK has what goes through a ring be done at once, not by a worker: commands
	// never block. O_CLOEXEC since a child that held the file would keep the device alive.
	const flags = unix.O_RDWR | unix.O_CLOEXEC | unix.O_NONBLOCK
	deadline := time.Now().Add(timeout)
	for {
		fd, err := unix.Open(CharPath(info.ID), flags, 0)
		if err == nil {
			return &Device{Info: info, fd: fd}, nil
		}
		if err != unix.EBUSY && err != unix.ENOENT || time.Until(deadline) < openPoll {
			if err == unix.EBUSY {
				err = errors.Join(ErrBusy, err)
			}
			return nil, fmt.Errorf("open %s: %w", CharPath(info.ID), err)
		}
		time.Sleep(openPoll)
	}
}

// Close closes the file. Its queues must have been closed.
func (d *Device) Close() error {
	if err := unix.Close(d.fd); err != nil {
		return fmt.Errorf("close %s: %w", CharPath(d.Info.ID), err)
	}
	return nil
}
