package device

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"unblend/log"
)

// retryEvery is how often a claim that was refused is tried again.
const retryEvery = 100 * time.Millisecond

// OpenForServe claims the device or file of an existing pool for reading and writing. A daemon that
// was killed keeps its claim until its last requests have ended, so ErrInUse is tried again until
// wait has passed; waiting, if not nil, is called once before that. Errors: ErrNoDevice,
// ErrPermission, ErrInUse, ErrUnsuitable.
func OpenForServe(path string, wait time.Duration, waiting func(error)) (*Device, error) {
	return openWaiting(path, unix.O_RDWR, wait, waiting)
}

// OpenForCheck claims the device or file of a pool for reading alone: nobody writes meanwhile. It
// waits and fails as OpenForServe does.
func OpenForCheck(path string, wait time.Duration, waiting func(error)) (*Device, error) {
	return openWaiting(path, unix.O_RDONLY, wait, waiting)
}

func openWaiting(path string, mode int, wait time.Duration, waiting func(error)) (*Device, error) {
	for end := time.Now().Add(wait); ; time.Sleep(retryEvery) {
		d, err := machine.open(path, mode)
		if !errors.Is(err, ErrInUse) || !time.Now().Before(end) {
			return d, err
		}
		if waiting != nil {
			waiting(err)
			waiting = nil
		}
	}
}

// open claims what is at path, which must exist. Only block devices and regular files are opened
// at all: opening others can have effects or block.
func (h host) open(path string, mode int) (*Device, error) {
	info, x, err := h.stat(path)
	if err != nil {
		return nil, err
	}
	if info.LogicalBlock > log.BlockSize {
		return nil, unsuitable(path, fmt.Sprintf("its blocks have %d bytes, more than %d",
			info.LogicalBlock, log.BlockSize))
	}
	flags := mode | unix.O_DIRECT | unix.O_CLOEXEC | unix.O_NOCTTY
	if info.Kind == BlockDevice {
		flags |= unix.O_EXCL
		if info.ReadOnly && mode != unix.O_RDONLY {
			return nil, unsuitable(path, "read-only")
		}
	}
	fd, err := openRetry(path, flags)
	if err != nil {
		return nil, h.openError(path, x, err)
	}
	d := &Device{info: info, fd: fd}
	if err := h.claim(d, x, mode); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return d, nil
}

// openError names who is in the way.
func (h host) openError(path string, x id, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ETXTBSY):
		return &InUseError{Path: path, By: h.users(x)}
	case errors.Is(err, unix.EINVAL):
		return unsuitable(path, "no direct I/O (O_DIRECT) there")
	}
	return pathError(path, err)
}

// users says who uses x: what the kernel tells, else the processes that have it open.
func (h host) users(x id) []string {
	by := h.usage(x)
	if len(by) == 0 {
		for _, o := range h.openers(x) {
			by = append(by, "open by "+o.String())
		}
	}
	return by
}

// claim makes the open description exclusive, if opening did not, and learns the size from it.
func (h host) claim(d *Device, x id, mode int) error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return pathError(d.info.Path, err)
	}
	if got := inodeID(&st); got != x {
		return fmt.Errorf("%s: replaced while it was opened", d.info.Path)
	}
	if x.kind == BlockDevice {
		size, err := deviceSize(d.fd)
		if err != nil {
			return fmt.Errorf("%s: size: %w", d.info.Path, err)
		}
		d.setSize(size)
		return nil
	}
	if by := h.usage(x); len(by) > 0 {
		return &InUseError{Path: d.info.Path, By: by}
	}
	if err := lockFile(d.fd, mode); err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return &InUseError{Path: d.info.Path, By: h.users(x)}
		}
		return fmt.Errorf("%s: lock: %w", d.info.Path, err)
	}
	if err := unix.Fstat(d.fd, &st); err != nil { // the size may have changed before the lock
		return pathError(d.info.Path, err)
	}
	d.setSize(st.Size)
	return nil
}

func (d *Device) setSize(n int64) {
	d.info.Size = n
	d.size = n / log.BlockSize * log.BlockSize
}

// lockFile takes an OFD lock on all of the file, so that neither another unblend nor a program that
// locks its images (QEMU) can use it. Such a lock belongs to the description, as O_EXCL does.
func lockFile(fd, mode int) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
	if mode == unix.O_RDONLY {
		lock.Type = unix.F_RDLCK
	}
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock)
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// deviceSize returns the size of a block device in bytes.
func deviceSize(fd int) (int64, error) {
	end, err := unix.Seek(fd, 0, unix.SEEK_END)
	return end, err
}
