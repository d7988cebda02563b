package vmbench

import (
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/device"

	"golang.org/x/sys/unix"
)

const (
	// fullSize makes the log its default size, 4 GiB: an eighth of the device.
	fullSize    = 40 << 30
	fullVolumes = 4
	fullVolume  = 8 << 30 // bytes of each: few blocks are written twice
	fullDepth   = 32      // writes under way on each volume
	fullness    = 985     // thousandths of the log, or of the index
)

// engine drives a pool on real devices without a kernel's help, one operation at a time.
type engine struct {
	dev  *device.Pool
	pool *placement.Pool
}

// openEngine opens the pool at path as the daemon does.
func openEngine(path string, opt placement.Options) (*engine, error) {
	dev, err := device.OpenPool([]string{path}, device.PoolOptions{Wait: time.Minute})
	if err != nil {
		return nil, err
	}
	opt.Rand = func(p []byte) { rand.Read(p) }
	opt.Wall = func() int64 { return time.Now().Unix() }
	e := &engine{dev: dev}
	if err := dev.Devices[log.Fast].Flush(); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	if e.pool, err = placement.Open(dev.Disks(), opt); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return e, nil
}

// close gives the devices up, as a daemon that is killed does.
func (e *engine) close() error { return e.dev.Close() }

// turn runs the loop once.
func (e *engine) turn() {
	e.pool.Tick(time.Now().UnixNano())
	e.pool.Run()
	for op := e.pool.NextOp(); op != nil; op = e.pool.NextOp() {
		e.pool.Complete(op.Token, e.perform(op))
	}
}

// perform does one device operation.
func (e *engine) perform(op *log.Op) int32 {
	fd := e.dev.Devices[op.Dev].FD()
	var n int
	var err error
	switch op.Kind {
	case log.Read:
		n, err = unix.Preadv(fd, op.Bufs, op.Off)
	case log.Write:
		n, err = unix.Pwritev(fd, op.Bufs, op.Off)
	default:
		err = unix.Fdatasync(fd)
	}
	if err != nil {
		return -int32(unix.EIO)
	}
	return int32(n)
}

// control does one control operation.
func (e *engine) control(c *placement.Control) error {
	for e.pool.Control(c); e.pool.NextControl() == nil; {
		e.turn()
	}
	return c.Err
}

// request does one request.
func (e *engine) request(r *placement.Request) error {
	e.pool.Tick(time.Now().UnixNano())
	e.pool.Submit(r)
	for e.pool.NextDone() == nil {
		e.turn()
	}
	if r.Err != 0 {
		return fmt.Errorf("%s at %d: %w", r.Kind, r.Off, r.Err)
	}
	return nil
}

// makeFull makes a pool at path whose log is full of random writes of 4 KiB to four volumes that
// are attached, and leaves it as a killed daemon does. It returns how many blocks the log holds.
func makeFull(path string) (int, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(f.Truncate(fullSize), f.Close()); err != nil {
		return 0, err
	}
	dev, err := device.OpenForServe(path, 0, nil)
	if err != nil {
		return 0, err
	}
	cfg := placement.FormatConfig{Rand: func(p []byte) { rand.Read(p) }}
	err = placement.Format(placement.Disks{dev, dev}, cfg)
	if err := errors.Join(err, dev.Close()); err != nil {
		return 0, err
	}
	e, err := openEngine(path, placement.Options{Low: 990, High: 995, Idle: 1 << 62})
	if err != nil {
		return 0, err
	}
	blocks, err := e.fill()
	return blocks, errors.Join(err, e.close())
}

// fill writes until the log is full.
func (e *engine) fill() (int, error) {
	rng := mrand.New(mrand.NewPCG(1, 2))
	mem, err := unix.Mmap(-1, 0, fullVolumes*fullDepth*log.BlockSize,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return 0, err
	}
	rand.Read(mem)
	var reqs []placement.Request
	for i := range fullVolumes {
		c := &placement.Control{
			Op: placement.CreateVolume, Name: fmt.Sprintf("full%d", i), Size: fullVolume,
			QueueDepth: fullDepth, Attach: true, Device: int32(i),
		}
		if err := e.control(c); err != nil {
			return 0, err
		}
		for range fullDepth {
			at := len(reqs) * log.BlockSize
			reqs = append(reqs, placement.Request{
				Kind: placement.Write, Vol: c.Vol, Len: log.BlockSize,
				Buf: mem[at : at+log.BlockSize],
			})
		}
	}
	for {
		st := e.pool.Status()
		if st.Pressure >= fullness || st.IndexUsed >= st.IndexEntries*fullness/1000 {
			return st.IndexUsed, unix.Munmap(mem)
		}
		e.pool.Tick(time.Now().UnixNano())
		for i := range reqs {
			reqs[i].Off = rng.Int64N(fullVolume/log.BlockSize) * log.BlockSize
			e.pool.Submit(&reqs[i])
		}
		for left := len(reqs); left > 0; {
			e.turn()
			for r := e.pool.NextDone(); r != nil; r = e.pool.NextDone() {
				if r.Err != 0 {
					return 0, fmt.Errorf("write at %d: %w", r.Off, r.Err)
				}
				left--
			}
		}
	}
}
