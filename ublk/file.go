package ublk

import (
	"fmt"
	"syscall"

	"unblend/uring"

	"golang.org/x/sys/unix"
)

// File is a target on a file or block device, through the server's ring and past the page cache
// where the file system allows. It promises what its backing does: written is durable after a
// flush or with FUA.
type File struct {
	fd     int
	size   int64
	sector int // smallest unit of direct I/O
	Direct bool
}

// OpenFile opens a file or block device as a target.
func OpenFile(path string) (*File, error) {
	f := &File{Direct: true, sector: 512}
	var err error
	f.fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if err == unix.EINVAL { // no direct I/O there
		f.Direct = false
		f.fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := f.measure(); err != nil {
		_ = unix.Close(f.fd)
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return f, nil
}

// measure finds out the size and the unit of direct I/O.
func (f *File) measure() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFBLK:
		n, err := unix.IoctlGetInt(f.fd, unix.BLKSSZGET)
		if err != nil {
			return err
		}
		f.sector = n
	default:
		return fmt.Errorf("neither a file nor a block device")
	}
	end, err := unix.Seek(f.fd, 0, unix.SEEK_END)
	if err != nil {
		return err
	}
	f.size = end / int64(f.sector) * int64(f.sector)
	if f.size == 0 {
		return fmt.Errorf("empty")
	}
	return nil
}

// Close closes the backing; the server must have been stopped.
func (f *File) Close() error { return unix.Close(f.fd) }

// Params implements Target.
func (f *File) Params() Params {
	return Params{
		Size: f.size, LogicalBlock: f.sector, VolatileCache: true, FUA: true,
		DiscardGranularity: 4096, MaxDiscard: 1 << 30, MaxWriteZeroes: 1 << 30,
	}
}

// Begin implements Target.
func (f *File) Begin(r *Request) {
	fd, ok := uring.FD(f.fd), false
	switch r.Op {
	case Read:
		ok = r.Ring().Read(r.UserData(), fd, r.Buf, r.Off, uring.Attr{})
	case Write:
		if err := r.CopyIn(); err != nil {
			r.Done(Errno(err))
			return
		}
		var a uring.Attr
		if r.Flags&FlagFUA != 0 {
			a.RW = unix.RWF_DSYNC
		}
		ok = r.Ring().Write(r.UserData(), fd, r.Buf, r.Off, a)
	case Flush:
		ok = r.Ring().Fsync(r.UserData(), fd, true)
	case Discard, WriteZeroes:
		ok = f.zero(r)
	default:
		r.Done(-int32(syscall.EOPNOTSUPP))
		return
	}
	if !ok { // the ring has an entry for every tag's operation
		r.Done(-int32(syscall.EAGAIN))
	}
}

// zero makes a range read as zeros: without its space, or for a write-zeroes that is to keep its
// space, and as the second attempt where there is no way without, with it.
func (f *File) zero(r *Request) bool {
	mode := uint32(unix.FALLOC_FL_PUNCH_HOLE)
	if (r.Op == WriteZeroes && r.Flags&FlagNoUnmap != 0) != (r.Step > 0) {
		mode = unix.FALLOC_FL_ZERO_RANGE
	}
	return r.Ring().Fallocate(r.UserData(), uring.FD(f.fd), mode|unix.FALLOC_FL_KEEP_SIZE,
		r.Off, r.Len)
}

// Resume implements Target.
func (f *File) Resume(r *Request, res int32) {
	switch {
	case res == -int32(syscall.EOPNOTSUPP) && r.Op == WriteZeroes && r.Step == 0:
		r.Step++
		if f.zero(r) {
			return
		}
	case res >= 0 && res != moved(r): // the range is inside the file: something is wrong with it
		res = -int32(syscall.EIO)
	case res >= 0 && r.Op == Read:
		if err := r.CopyOut(r.Buf); err != nil {
			res = Errno(err)
		}
	}
	r.Done(res)
}
