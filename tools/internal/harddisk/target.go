package harddisk

import (
	"fmt"
	"syscall"
	"time"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/ublk"
)

// Config describes a disk.
type Config struct {
	Size int64 // bytes, a multiple of log.BlockSize; the outer part of the model when smaller than that
	// Volatile has writes end in the drive's cache, durable after a flush or with FUA. Otherwise the
	// cache is off: a write ends when it is on the platter.
	Volatile bool
}

// depth is how many requests the host may have with the disk; it holds as many of them as its model says.
const depth = 128

// target is a disk of package simdisk as what a ublk device holds.
type target struct {
	cfg   Config
	world *simdisk.World
	disk  *simdisk.Disk
	begun time.Time // when the world's clock was 0
	reqs  [depth]*ublk.Request
}

func newTarget(cfg Config) (*target, error) {
	model := simdisk.UltrastarHC580()
	if cfg.Size <= 0 || cfg.Size%log.BlockSize != 0 || cfg.Size > model.Capacity {
		return nil, fmt.Errorf("hard disk of %d bytes: want a multiple of %d, at most %d", cfg.Size,
			log.BlockSize, model.Capacity)
	}
	t := &target{cfg: cfg, world: simdisk.NewWorld(1), begun: time.Now()}
	t.disk = t.world.NewDisk(simdisk.Config{
		Name: "hard disk", Size: cfg.Size, SectorSize: log.BlockSize, Volatile: cfg.Volatile, Timing: model,
	})
	return t, nil
}

// Params implements ublk.Target.
func (t *target) Params() ublk.Params {
	return ublk.Params{
		Size: t.cfg.Size, LogicalBlock: log.BlockSize, Rotational: true,
		VolatileCache: t.cfg.Volatile, FUA: t.cfg.Volatile,
	}
}

// now brings the world's clock to the present.
func (t *target) now() { t.world.Advance(int64(time.Since(t.begun))) }

// Begin implements ublk.Target.
func (t *target) Begin(r *ublk.Request) {
	op := log.Op{Token: log.Token(r.Tag), FUA: r.Flags&ublk.FlagFUA != 0, Off: r.Off, Bufs: [][]byte{r.Buf}}
	switch r.Op {
	case ublk.Read:
		op.Kind = log.Read
	case ublk.Write:
		op.Kind = log.Write
		if err := r.CopyIn(); err != nil {
			r.Done(ublk.Errno(err))
			return
		}
	case ublk.Flush:
		op.Kind, op.Bufs = log.Flush, nil
	default:
		r.Done(-int32(syscall.EOPNOTSUPP))
		return
	}
	t.reqs[r.Tag] = r
	t.now()
	t.disk.Submit(&op, t.ended)
}

// ended answers the request whose operation has ended.
func (t *target) ended(tag log.Token, res int32) {
	r := t.reqs[tag]
	if r.Op == ublk.Read && res > 0 {
		if err := r.CopyOut(r.Buf[:res]); err != nil {
			res = ublk.Errno(err)
		}
	}
	r.Done(res)
}

// Resume implements ublk.Target; this one submits nothing.
func (t *target) Resume(r *ublk.Request, res int32) {
	panic(fmt.Sprintf("harddisk: result %d for %v", res, r.IO))
}

// Tick implements ublk.Timed: requests whose time has come end.
func (t *target) Tick() time.Duration {
	t.now()
	next, ok := t.world.Next()
	if !ok {
		return -1
	}
	return max(0, time.Duration(next)-time.Since(t.begun))
}
