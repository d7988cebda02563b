package load

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// verifyChunk is how much is read at a time, in bytes.
const verifyChunk = 1 << 20

// maxWrong bounds how many wrong sectors a MismatchError describes.
const maxWrong = 8

// MismatchError says which sectors do not hold what they must.
type MismatchError struct {
	Sectors int      // wrong ones
	First   []string // what some of them hold, and should
}

func (e *MismatchError) Error() string {
	s := fmt.Sprintf("%d sectors are wrong", e.Sectors)
	for _, f := range e.First {
		s += "\n  " + f
	}
	return s
}

// Verify reads the whole disk and compares every byte with what was written last, or zeros. It
// returns how many bytes it read. The error is a *MismatchError, or of the device. Nothing may be
// written meanwhile.
func (d *Disk) Verify(ctx context.Context) (read int64, err error) {
	buf, free, err := newBuffer(verifyChunk)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, free()) }()
	wrong := &MismatchError{}
	for ; read < d.size && ctx.Err() == nil; read += int64(len(buf)) {
		buf = buf[:min(verifyChunk, d.size-read)]
		n, err := unix.Pread(d.fd, buf, read)
		for err == unix.EINTR {
			n, err = unix.Pread(d.fd, buf, read)
		}
		if err == nil && n != len(buf) {
			err = unix.EIO
		}
		if err != nil {
			return read, fmt.Errorf("read of %d bytes at %d: %w", len(buf), read, err)
		}
		d.compare(buf, read, wrong)
	}
	if wrong.Sectors > 0 {
		return read, wrong
	}
	return read, ctx.Err()
}

// compare looks at what was read from off on.
func (d *Disk) compare(buf []byte, off int64, wrong *MismatchError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := 0; i < len(buf); i += SectorSize {
		sector := (off + int64(i)) / SectorSize
		want := Stamp{}
		if w := d.writes[sector]; w != 0 {
			want = Stamp{Disk: d.id, Write: w, Sector: uint64(sector)}
		}
		p := buf[i : i+SectorSize]
		if want.Holds(p) {
			continue
		}
		wrong.Sectors++
		if len(wrong.First) < maxWrong {
			wrong.First = append(wrong.First,
				fmt.Sprintf("sector %d: want %s, got %s", sector, want, Describe(p)))
		}
	}
}

// Written returns how many bytes were written at least once.
func (d *Disk) Written() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := int64(0)
	for _, w := range d.writes {
		if w != 0 {
			n += SectorSize
		}
	}
	return n
}
