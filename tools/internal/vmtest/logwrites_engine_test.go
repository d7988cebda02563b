package vmtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// imageDisk is a device in memory, which does everything at once.
type imageDisk []byte

var _ log.Disk = imageDisk(nil)

func (d imageDisk) Size() int64 { return int64(len(d)) }

func (d imageDisk) ReadAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(d)) {
		return syscall.EIO
	}
	copy(p, d[off:])
	return nil
}

func (d imageDisk) WriteAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(d)) {
		return syscall.ENOSPC
	}
	copy(d[off:], p)
	return nil
}

func (d imageDisk) Flush() error { return nil }

// do performs an operation of the engine and returns what io_uring would.
func (d imageDisk) do(op *log.Op) int32 {
	off := op.Off
	for _, b := range op.Bufs {
		var err error
		if op.Kind == log.Read {
			err = d.ReadAt(b, off)
		} else {
			err = d.WriteAt(b, off)
		}
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			return -int32(errno)
		}
		off += int64(len(b))
	}
	return int32(off - op.Off)
}

// imagePool is a pool on one such device, opened to be read.
type imagePool struct {
	*placement.Pool
	disk imageDisk
	now  int64
	buf  []byte
}

// openImage recovers the pool on a device, as a start does. The device must be as check wants it.
func openImage(disk imageDisk) (*imagePool, error) {
	// One device under both names: what is compared are pointers.
	one := &struct{ imageDisk }{disk}
	disks := placement.Disks{one, one}
	rep, err := placement.Check(disks, placement.CheckOptions{Data: true})
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	if len(rep.Problems) > 0 {
		return nil, fmt.Errorf("check: %v", rep.Problems)
	}
	p, err := placement.Open(disks, placement.Options{
		Frames: 1024, IndexEntries: 1 << 15, Ops: 1024,
		Rand: func(p []byte) { _, _ = rand.Read(p) }, // never fails
		Wall: func() int64 { return time.Now().Unix() },
	})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return &imagePool{Pool: p, disk: disk, buf: simdisk.Buffer(placement.MaxIO)}, nil
}

// read returns what a volume or snapshot holds.
func (p *imagePool) read(name string) ([]byte, error) {
	v := p.Volume(name)
	if v == nil {
		return nil, fmt.Errorf("%s is not there", name)
	}
	var all []byte
	for off := int64(0); off < v.Size(); {
		r := &placement.Request{
			Kind: placement.Read, Vol: v, Off: off, Len: min(v.Size()-off, int64(len(p.buf))), Buf: p.buf,
		}
		p.Submit(r)
		for p.NextDone() == nil {
			p.turn()
		}
		if r.Err != 0 {
			return nil, fmt.Errorf("%s: read of %d bytes at %d: %w", name, r.Len, off, r.Err)
		}
		all = append(all, p.buf[:r.Len]...)
		off += r.Len
	}
	return all, nil
}

// turn runs the loop of the engine once.
func (p *imagePool) turn() {
	p.now++
	p.Tick(p.now)
	p.Run()
	for op := p.NextOp(); op != nil; op = p.NextOp() {
		p.Complete(op.Token, p.disk.do(op))
	}
}

// finish ends the pool in order, and has it checked once more.
func (p *imagePool) finish() error {
	c := &placement.Control{Op: placement.Shutdown}
	for p.Control(c); p.NextControl() == nil; {
		p.turn()
	}
	if c.Err != nil {
		return fmt.Errorf("shutdown: %w", c.Err)
	}
	one := &struct{ imageDisk }{p.disk}
	rep, err := placement.Check(placement.Disks{one, one}, placement.CheckOptions{Data: true})
	if err != nil {
		return fmt.Errorf("check after recovery: %w", err)
	}
	// A note may remain of a summary that was under way: its segment is read record by record.
	notes := slices.DeleteFunc(rep.Notes, func(n placement.Problem) bool { return n.Structure == "log" })
	if len(rep.Problems)+len(notes) > 0 {
		return fmt.Errorf("check after recovery: %v, %v", rep.Problems, notes)
	}
	return nil
}

// names returns the volumes and snapshots that there are.
func (p *imagePool) names() (names []string) {
	for _, v := range p.Volumes(false) {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return names
}
