// Package device opens and identifies what a pool lies on: block devices and regular files.
//
// A Device is an exclusive claim (O_EXCL on a block device, an OFD lock on a file) on the very
// open file description that carries the pool's I/O. The kernel drops the claim when the last
// reference to the description goes, requests still under way included, so a new daemon cannot
// start while a killed one's writes are yet to land. The file descriptor is the Device's: whoever
// borrows it by FD must be done before Close.
//
// Nothing here writes to a device but Device.WriteAt and Device.Prepare.
package device

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"unblend/log"
)

// Device is an open backing device. Its ReadAt, WriteAt and Flush are the synchronous log.Disk of
// init, recovery and check; they are not safe for use by several goroutines at once.
type Device struct {
	info    Info
	fd      int
	size    int64  // usable bytes: whole blocks
	bounce  []byte // aligned memory for callers whose buffers are not
	created bool   // the file did not exist before
	init    InitOptions
	holds   []Signature // what init is to destroy
}

var _ log.Disk = (*Device)(nil)

// bounceSize is how much goes through the bounce buffer at a time, in bytes.
const bounceSize = 1 << 20

// Info returns what was found out about the device when it was opened.
func (d *Device) Info() Info { return d.info }

// FD returns the descriptor, open for direct I/O. It stays valid until Close.
func (d *Device) FD() int { return d.fd }

// Path returns the path that the device was opened by.
func (d *Device) Path() string { return d.info.Path }

// Size returns the usable size in bytes, a multiple of log.BlockSize.
func (d *Device) Size() int64 { return d.size }

// Created reports whether OpenForInit made the file.
func (d *Device) Created() bool { return d.created }

// Close gives the claim up. Requests that others submitted on the descriptor keep it until they
// have ended.
func (d *Device) Close() error {
	if d.bounce != nil {
		if err := unix.Munmap(d.bounce); err != nil {
			return fmt.Errorf("%s: unmap: %w", d.info.Path, err)
		}
		d.bounce = nil
	}
	if err := unix.Close(d.fd); err != nil {
		return fmt.Errorf("%s: close: %w", d.info.Path, err)
	}
	return nil
}

// Discard closes the device and removes the file if OpenForInit made it: the way out of an init
// that went wrong.
func (d *Device) Discard() error {
	var err error
	if d.created {
		err = os.Remove(d.info.Path)
	}
	return errors.Join(err, d.Close())
}

// ReadAt fills p from offset off.
func (d *Device) ReadAt(p []byte, off int64) error {
	if err := d.check("read", p, off); err != nil {
		return err
	}
	if aligned(p) {
		return d.transfer("read", unix.Pread, p, off)
	}
	return d.bounced(p, off, func(mem, part []byte, at int64) error {
		err := d.transfer("read", unix.Pread, mem, at)
		copy(part, mem)
		return err
	})
}

// WriteAt writes p at offset off. It is durable after the next Flush that returns no error.
func (d *Device) WriteAt(p []byte, off int64) error {
	if err := d.check("write", p, off); err != nil {
		return err
	}
	if aligned(p) {
		return d.transfer("write", unix.Pwrite, p, off)
	}
	return d.bounced(p, off, func(mem, part []byte, at int64) error {
		copy(mem, part)
		return d.transfer("write", unix.Pwrite, mem, at)
	})
}

// Flush makes every completed write durable. An error is final: the kernel may have dropped what
// was not written, so nobody may try again and believe the second answer.
func (d *Device) Flush() error {
	for {
		err := unix.Fdatasync(d.fd)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("%s: flush: %w", d.info.Path, err)
		}
	}
}

func (d *Device) check(what string, p []byte, off int64) error {
	if off < 0 || off%log.BlockSize != 0 || len(p)%log.BlockSize != 0 {
		return fmt.Errorf("%s: %s of %d bytes at %d: not in whole blocks", d.info.Path, what,
			len(p), off)
	}
	if int64(len(p)) > d.size-off {
		return fmt.Errorf("%s: %s of %d bytes at %d: beyond the end (%d): %w", d.info.Path, what,
			len(p), off, d.size, io.ErrUnexpectedEOF)
	}
	return nil
}

// bounced runs one transfer after the other through aligned memory.
func (d *Device) bounced(p []byte, off int64, f func(mem, part []byte, at int64) error) error {
	if d.bounce == nil {
		mem, err := unix.Mmap(-1, 0, bounceSize, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("%s: map a buffer: %w", d.info.Path, err)
		}
		d.bounce = mem
	}
	for len(p) > 0 {
		n := min(len(p), bounceSize)
		if err := f(d.bounce[:n], p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// transfer moves all of p, in several system calls where the kernel moves less at once.
func (d *Device) transfer(what string, call func(int, []byte, int64) (int, error), p []byte,
	off int64,
) error {
	for len(p) > 0 {
		n, err := call(d.fd, p, off)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err == nil && n%log.BlockSize != 0, err == nil && n == 0:
			err = io.ErrUnexpectedEOF // shrunk under us
		}
		if err != nil {
			return fmt.Errorf("%s: %s of %d bytes at %d: %w", d.info.Path, what, len(p), off, err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// aligned reports whether p may go to the device as it is. Every device takes block-aligned memory.
func aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%log.BlockSize == 0
}
