package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"unblend/log"
)

// copyPiece is how much is read and written at a time, in bytes.
const copyPiece = 1 << 20

// copyRaw copies what of a raw image is not zeros.
func (img *image) copyRaw(ctx context.Context, device string, show func(done, total int64)) error {
	in, size, err := openDisk(img.path)
	if err != nil {
		return err
	}
	defer in.Close()
	if size != img.size {
		return fmt.Errorf("image %s: its size changes", img.path)
	}
	out, err := openDevice(device)
	if err != nil {
		return err
	}
	c := &rawCopy{in: in, out: out, size: size, show: show, buf: alignedBuffer(copyPiece)}
	if err := c.run(ctx); err != nil {
		return errors.Join(fmt.Errorf("image %s to %s: %w", img.path, device, err), out.Close())
	}
	return closeDurable(device, out)
}

// openDevice opens a device for direct I/O and claims it: nobody can mount it meanwhile.
func openDevice(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_EXCL|unix.O_DIRECT, 0)
	if err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	return f, nil
}

// closeDurable closes a device that was written.
func closeDurable(path string, f *os.File) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("device %s: %w", path, err)
	}
	return nil
}

// alignedBuffer returns memory as direct I/O wants it.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+log.BlockSize)
	skip := -uintptr(unsafe.Pointer(&b[0])) % log.BlockSize
	return b[skip:][:n]
}

// rawCopy copies a raw image to a device of zeros.
type rawCopy struct {
	in   *os.File
	out  io.WriterAt
	size int64
	buf  []byte
	show func(done, total int64)
}

func (c *rawCopy) run(ctx context.Context) error {
	for at := int64(0); at < c.size; {
		start, end, err := c.data(at)
		if err != nil {
			return err
		}
		for at = start / log.BlockSize * log.BlockSize; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(copyPiece-at%copyPiece, end-at)
			if err := c.piece(at, n); err != nil {
				return err
			}
			at += n
			c.show(at, c.size)
		}
		at = end
	}
	return nil
}

// data returns the next range at or behind a place that is no hole of the file; at the end of the
// file an empty one.
func (c *rawCopy) data(at int64) (start, end int64, err error) {
	fd := int(c.in.Fd())
	start, err = unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return c.size, c.size, nil
	case errors.Is(err, unix.EINVAL): // a block device: it knows no holes
		return at, c.size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	return start, min(end, c.size), err
}

// piece copies the n bytes from at on and the rest of their last block, which is zeros behind the end
// of the image.
func (c *rawCopy) piece(at, n int64) error {
	whole := (n + log.BlockSize - 1) / log.BlockSize * log.BlockSize
	buf := c.buf[:whole]
	want := min(whole, c.size-at)
	clear(buf[want:])
	if k, err := c.in.ReadAt(buf[:want], at); int64(k) < want {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file became shorter")
		}
		return err
	}
	for i := int64(0); i < whole; {
		from := i
		for i < whole && !isZero(buf[i:i+log.BlockSize]) {
			i += log.BlockSize
		}
		if i == from {
			i += log.BlockSize
			continue
		}
		if _, err := c.out.WriteAt(buf[from:i], at+from); err != nil {
			return err
		}
	}
	return nil
}

var zeroBlock [log.BlockSize]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeroBlock[:]) }
