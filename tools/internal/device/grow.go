package device

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"unblend/log"
	"unblend/tools/internal/units"
)

// PresentSize returns the usable size that the device or file has now, in bytes: it may have been made
// larger since it was opened, by others or by Extend. Size keeps saying what it was until Resized.
func (d *Device) PresentSize() (int64, error) {
	size, err := deviceSize(d.fd)
	if err != nil {
		return 0, fmt.Errorf("%s: size: %w", d.info.Path, err)
	}
	return size / log.BlockSize * log.BlockSize, nil
}

// Resized makes the device what PresentSize found. Nobody may use Info, Size or the synchronous calls
// meanwhile.
func (d *Device) Resized(size int64) { d.setSize(size) }

// Extend makes a file larger, to size bytes, and what it has more than before is reserved on its file
// system unless sparse. When it returns the size is durable; when it fails the file has the size that
// it had. It may be called while others read and write what the file already has. Errors:
// ErrUnsuitable, ErrNoSpace.
func (d *Device) Extend(size int64, sparse bool) error {
	if d.info.Kind != RegularFile {
		return unsuitable(d.info.Path, "a block device has its own size")
	}
	had, err := deviceSize(d.fd)
	if err != nil {
		return fmt.Errorf("%s: size: %w", d.info.Path, err)
	}
	if size <= had || size%log.BlockSize != 0 {
		return fmt.Errorf("%s: a file of %d bytes cannot be extended to %d", d.info.Path, had, size)
	}
	if !sparse {
		err = d.reserve(had, size-had, 0)
	}
	if err == nil {
		err = d.truncate(size)
	}
	if err == nil {
		if err = unix.Fsync(d.fd); err != nil {
			err = fmt.Errorf("%s: sync: %w", d.info.Path, err)
		}
	}
	if err != nil {
		return errors.Join(err, d.truncate(had))
	}
	return nil
}

func (d *Device) truncate(size int64) error {
	err := unix.Ftruncate(d.fd, size)
	switch {
	case errors.Is(err, unix.EFBIG), errors.Is(err, unix.EINVAL):
		return unsuitable(d.info.Path, "the file system takes no file of that size")
	case err != nil:
		return fmt.Errorf("%s: truncate: %w", d.info.Path, err)
	}
	return nil
}

// reserve takes n bytes from off on of the file's file system, of which it has some, so that they are
// there when they are written.
func (d *Device) reserve(off, n, has int64) error {
	if err := d.roomFor(n - has); err != nil {
		return err
	}
	for {
		err := unix.Fallocate(d.fd, 0, off, n)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil // a file system that cannot promise space; what it has is what there is
		case errors.Is(err, unix.EFBIG):
			return unsuitable(d.info.Path, "the file system takes no file of that size")
		case errors.Is(err, unix.ENOSPC):
			err = ErrNoSpace
		}
		if err != nil {
			return fmt.Errorf("%s: reserve %s: %w", d.info.Path, units.FormatSize(n), err)
		}
		return nil
	}
}

// roomFor refuses what the file system cannot hold before an attempt at reserving it takes the last
// free byte from everybody else.
func (d *Device) roomFor(need int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &fs); err != nil {
		return fmt.Errorf("%s: free space: %w", d.info.Path, err)
	}
	if need > 0 && (uint64(need)+uint64(fs.Bsize)-1)/uint64(fs.Bsize) > fs.Bavail {
		return fmt.Errorf("%s: %s wanted, %s free there (--sparse does not reserve): %w",
			d.info.Path, units.FormatSize(need), units.FormatSize(int64(fs.Bavail)*fs.Bsize),
			ErrNoSpace)
	}
	return nil
}
