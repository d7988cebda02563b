package simdisk

import (
	"fmt"
	"syscall"

	"unblend/log"
)

// syncDisk is the synchronous view of a disk: each call submits one operation and lets the world's
// events happen until it has ended.
type syncDisk struct {
	d    *Disk
	bufs [1][]byte
	res  int32
	busy bool
}

var _ log.Disk = (*syncDisk)(nil)

// Sync returns a synchronous view of the disk. Its calls advance the virtual time.
func (d *Disk) Sync() log.Disk { return &syncDisk{d: d} }

func (s *syncDisk) Size() int64 { return s.d.cfg.Size }

func (s *syncDisk) ReadAt(p []byte, off int64) error { return s.do(log.Read, p, off) }

func (s *syncDisk) WriteAt(p []byte, off int64) error { return s.do(log.Write, p, off) }

func (s *syncDisk) Flush() error { return s.do(log.Flush, nil, 0) }

func (s *syncDisk) ended(_ log.Token, res int32) { s.res, s.busy = res, false }

// do performs one operation and turns its result into an error.
func (s *syncDisk) do(kind log.Kind, p []byte, off int64) error {
	w := s.d.w
	if w.off {
		return ErrPower
	}
	var bufs [][]byte
	if kind != log.Flush {
		s.bufs[0] = p
		bufs = s.bufs[:]
	}
	s.busy = true
	s.d.start(kind, false, off, bufs, 0, s.ended)
	for s.busy {
		if w.off {
			return ErrPower
		}
		if !w.Step() {
			panic("simdisk: an operation never ends")
		}
	}
	var err error
	switch {
	case s.res < 0:
		err = syscall.Errno(-s.res)
	case int(s.res) != len(p):
		err = syscall.EIO
	default:
		return nil
	}
	return fmt.Errorf("%s: %s of %d bytes at %d: %w", s.d.cfg.Name, kind, len(p), off, err)
}
