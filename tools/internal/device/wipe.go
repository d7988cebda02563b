package device

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"unblend/log"
)

const (
	// wipeEnds is how much of each end of a device is zeroed, in bytes: the formats that Probe
	// knows keep what identifies them there, second copies included.
	wipeEnds = 1 << 20
	// maxWipes bounds how often Probe may find something further after a wipe.
	maxWipes = 8
)

// wipe zeroes what identifies the old content of a block device, so that nothing takes the device
// for what it was: both ends, and where else a signature is found. Without anything found it does
// nothing.
func (d *Device) wipe(found []Signature) error {
	if len(found) == 0 {
		return nil
	}
	if err := d.zero(0, wipeEnds); err != nil {
		return err
	}
	if err := d.zero(d.info.Size-wipeEnds, d.info.Size); err != nil {
		return err
	}
	for range maxWipes {
		var err error
		if found, err = Probe(reader{d}, d.info.Size); err != nil {
			return err
		}
		if len(found) == 0 {
			return d.forgetPartitions()
		}
		for _, s := range found {
			if err := d.zero(s.Off, s.Off+int64(s.Len)); err != nil {
				return err
			}
		}
	}
	return &DataError{Path: d.info.Path, Found: found}
}

// zero writes zeros over every block that the range touches, as far as the device has it. The last
// block may be a partial one, which no pool uses.
func (d *Device) zero(from, to int64) error {
	from = max(from, 0) / log.BlockSize * log.BlockSize
	to = min((to+log.BlockSize-1)/log.BlockSize*log.BlockSize, d.info.Size)
	zeros := alignedBytes(chunkSize)
	for from < to {
		n, err := unix.Pwrite(d.fd, zeros[:min(to-from, chunkSize)], from)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("%s: wipe at %d: %w", d.info.Path, from, err)
		}
		from += int64(n)
	}
	return nil
}

// forgetPartitions makes the kernel drop the partitions of a table that is no longer there. We hold
// the whole disk, so none of them is in use; a device that has no partitions says EINVAL.
func (d *Device) forgetPartitions() error {
	if len(d.info.Partitions) == 0 {
		return nil
	}
	if err := d.Flush(); err != nil {
		return err
	}
	err := unix.IoctlSetInt(d.fd, unix.BLKRRPART, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%s: re-read the partition table: %w", d.info.Path, err)
	}
	return nil
}

// firstData returns the offset of the first byte of a file that is not zero, or -1. Holes are
// skipped, not read.
func (d *Device) firstData() (int64, error) {
	buf := alignedBytes(bounceSize)
	for off := int64(0); ; {
		next, err := unix.Seek(d.fd, off, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			return -1, nil // nothing but a hole up to the end
		case err != nil:
			return -1, fmt.Errorf("%s: seek: %w", d.info.Path, err)
		}
		off = next / log.BlockSize * log.BlockSize
		n, err := reader{d}.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return -1, err
		}
		for i, c := range buf[:n] {
			if c != 0 {
				return off + int64(i), nil
			}
		}
		if n < len(buf) {
			return -1, nil
		}
		off += int64(n)
	}
}

// reader reads a device as far as it goes, the bytes behind its last whole block included. Buffers
// and offsets are aligned to blocks.
type reader struct{ d *Device }

func (r reader) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; ; {
		n, err := unix.Pread(r.d.fd, p[done:], off+int64(done))
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return done, fmt.Errorf("%s: read at %d: %w", r.d.info.Path, off+int64(done), err)
		}
		done += n
		if done == len(p) {
			return done, nil
		}
		if n == 0 || n%log.BlockSize != 0 {
			return done, io.EOF
		}
	}
}

// alignedBytes returns n zero bytes, n a multiple of log.BlockSize, aligned for direct I/O.
func alignedBytes(n int) []byte {
	b := make([]byte, n+log.BlockSize)
	for !aligned(b) {
		b = b[1:]
	}
	return b[:n:n]
}
