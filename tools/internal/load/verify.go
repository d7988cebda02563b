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
	return d.read(ctx, func(buf []byte, off int64, wrong *MismatchError) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for i := 0; i < len(buf); i += SectorSize {
			sector := (off + int64(i)) / SectorSize
			wrong.compare(buf[i:i+SectorSize], sector, d.stamp(sector, d.writes[sector]))
		}
	})
}

// VerifyMoment reads the whole disk, which is a snapshot of d at a path, taken while d was written.
// Of what Numbers returned before that, nothing may be missing, and nothing may be there that was
// begun after last. The error is as that of Verify.
func (d *Disk) VerifyMoment(ctx context.Context, path string, before []uint32, last uint32) error {
	n, err := open(path, d.id, unix.O_RDONLY)
	if err != nil {
		return err
	}
	if n.size != d.size {
		return errors.Join(fmt.Errorf("%s: %d bytes, want %d", path, n.size, d.size), n.Close())
	}
	_, err = n.read(ctx, func(buf []byte, off int64, wrong *MismatchError) {
		for i := 0; i < len(buf); i += SectorSize {
			p, sector := buf[i:i+SectorSize], (off+int64(i))/SectorSize
			want := before[sector]
			if s, ok := ReadStamp(p); ok && s.Write > want && s.Write <= last {
				want = s.Write
			}
			wrong.compare(p, sector, d.stamp(sector, want))
		}
	})
	return errors.Join(err, n.Close())
}

// stamp returns what a sector holds after the write with a number.
func (d *Disk) stamp(sector int64, number uint32) Stamp {
	if number == 0 {
		return Stamp{}
	}
	return Stamp{Disk: d.id, Write: number, Sector: uint64(sector)}
}

// read reads the whole disk and has every part looked at.
func (d *Disk) read(ctx context.Context, look func(buf []byte, off int64, wrong *MismatchError)) (
	read int64, err error,
) {
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
		look(buf, read, wrong)
	}
	if wrong.Sectors > 0 {
		return read, wrong
	}
	return read, ctx.Err()
}

// compare notes if a sector does not hold what it must.
func (e *MismatchError) compare(p []byte, sector int64, want Stamp) {
	if want.Holds(p) {
		return
	}
	e.Sectors++
	if len(e.First) < maxWrong {
		e.First = append(e.First,
			fmt.Sprintf("sector %d: want %s, got %s", sector, want, Describe(p)))
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
