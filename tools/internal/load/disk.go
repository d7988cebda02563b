package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Range is a range of bytes, multiples of SectorSize.
type Range struct{ Off, Len int64 }

func (r Range) overlaps(o Range) bool { return r.Off < o.Off+o.Len && o.Off < r.Off+r.Len }

// Pattern returns the next range to write, at most MaxWrite long. It is called by one goroutine at
// a time.
type Pattern func(rng *rand.Rand) Range

// MaxWrite is the longest write, in bytes.
const MaxWrite = 1 << 20

// Disk is a device or file and what it must hold.
type Disk struct {
	id   uint32
	fd   int
	size int64

	mu     sync.Mutex // guards what follows
	writes []uint32   // by sector: the number of the last write to it
	last   uint32     // number of the last write begun
	busy   []Range    // being written
	forks  uint32
}

// forkStep is how many writes a disk can do until the numbers of a fork begin.
const forkStep = 1 << 24

// Open opens the block device or file at path, which holds zeros, for direct I/O. id goes into the
// stamps.
func Open(path string, id uint32) (*Disk, error) { return open(path, id, unix.O_RDWR) }

func open(path string, id uint32, mode int) (*Disk, error) {
	fd, err := unix.Open(path, mode|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("size of %s: %w", path, err)
	}
	return &Disk{id: id, fd: fd, size: size, writes: make([]uint32, size/SectorSize)}, nil
}

// Fork returns the disk at another path, such as a snapshot or a clone of this one, which must hold
// what this one does now. Nothing may be under way. What is written to one of them later is told
// from what is written to the others by its numbers.
func (d *Disk) Fork(path string, readOnly bool) (*Disk, error) {
	mode := unix.O_RDWR
	if readOnly {
		mode = unix.O_RDONLY
	}
	n, err := open(path, d.id, mode)
	if err != nil {
		return nil, err
	}
	if n.size != d.size {
		return nil, errors.Join(fmt.Errorf("%s: %d bytes, want %d", path, n.size, d.size), n.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forks++
	copy(n.writes, d.writes)
	n.last = (d.last/forkStep + d.forks) * forkStep
	return n, nil
}

// Numbers returns the number of the last write that ended to each sector, and that of the last write
// that was begun to any.
func (d *Disk) Numbers() (bySector []uint32, last uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.writes), d.last
}

// Size returns the size in bytes.
func (d *Disk) Size() int64 { return d.size }

// Close closes the device. What it must hold stays known: see Reopen.
func (d *Disk) Close() error {
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	return err
}

// Reopen opens the same disk at another path, or again.
func (d *Disk) Reopen(path string) error {
	n, err := Open(path, d.id)
	if err != nil {
		return err
	}
	if n.size != d.size {
		return errors.Join(fmt.Errorf("%s: %d bytes, it had %d", path, n.size, d.size), n.Close())
	}
	if err := d.Close(); err != nil {
		return err
	}
	d.fd = n.fd
	return nil
}

// begin takes the next range that overlaps none under way, and numbers the write.
func (d *Disk) begin(rng *rand.Rand, next Pattern) (Range, uint32) {
	for {
		d.mu.Lock()
		r := next(rng)
		if !slices.ContainsFunc(d.busy, r.overlaps) {
			d.busy = append(d.busy, r)
			d.last++
			n := d.last
			d.mu.Unlock()
			return r, n
		}
		d.mu.Unlock()
	}
}

// end notes that a write has ended, well or not.
func (d *Disk) end(r Range, number uint32, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.busy, r)
	d.busy = slices.Delete(d.busy, i, i+1)
	if ok {
		for s := r.Off / SectorSize; s < (r.Off+r.Len)/SectorSize; s++ {
			d.writes[s] = number
		}
	}
}

// write performs a write that begin returned. buf has room for it.
func (d *Disk) write(buf []byte, r Range, number uint32) error {
	for i := int64(0); i < r.Len; i += SectorSize {
		s := Stamp{Disk: d.id, Write: number, Sector: uint64((r.Off + i) / SectorSize)}
		s.Fill(buf[i:])
	}
	n, err := unix.Pwrite(d.fd, buf[:r.Len], r.Off)
	for err == unix.EINTR {
		n, err = unix.Pwrite(d.fd, buf[:r.Len], r.Off)
	}
	if err == nil && int64(n) != r.Len {
		err = unix.EIO
	}
	d.end(r, number, err == nil)
	if err != nil {
		return fmt.Errorf("write of %d bytes at %d: %w", r.Len, r.Off, err)
	}
	return nil
}

// newBuffer returns memory for direct I/O, and what frees it.
func newBuffer(n int) ([]byte, func() error, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, fmt.Errorf("memory: %w", err)
	}
	return b, func() error { return unix.Munmap(b) }, nil
}
