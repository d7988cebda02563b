package ublk

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"unblend/uring"
)

// ServeConfig is how Serve makes a device.
type ServeConfig struct {
	Device   DeviceConfig
	PoolSize int           // bytes of request memory, default DefaultPoolSize
	Timeout  time.Duration // of each control command, default 10 s
	RawWait  time.Duration // as in uring.Options
	// Recover takes over the device Device.ID, whose server died, instead of adding one. The
	// device keeps its disk's parameters.
	Recover bool
}

// Server is a device with one queue, served by a Target on a thread of its own. It is for targets
// that need nothing but a ring; a pool with many devices has its own loop over Queues.
type Server struct {
	ctl     *Control
	cfg     ServeConfig
	info    Info
	dev     *Device
	target  Target
	stopped chan struct{} // closed when the thread has let go of the device
	err     error         // of the thread, once stopped is closed

	// What follows is the thread's.
	ring  *uring.Ring
	queue *Queue
	pool  *Pool
	reqs  []Request // by tag
	fifo  []uint16  // ring of tags that wait for memory
	first int
	waits int
}

// Serve makes a device, or takes over one, and serves it until Stop. If the process dies instead,
// the device waits for a Serve with Recover.
func Serve(ctl *Control, cfg ServeConfig, target Target) (*Server, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.PoolSize == 0 {
		cfg.PoolSize = DefaultPoolSize
	}
	s := &Server{ctl: ctl, cfg: cfg, target: target, stopped: make(chan struct{})}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	started := make(chan error)
	go s.thread(started)
	err := <-started
	if err == nil && cfg.Recover {
		err = ctl.EndRecovery(s.info.ID, cfg.Timeout)
	} else if err == nil {
		if err = ctl.Start(s.info.ID, cfg.Timeout); err == nil {
			err = TuneDisk(s.info)
		}
	}
	if err == nil {
		return s, nil
	}
	if cfg.Recover {
		return nil, err // the device stays, for another try by another process
	}
	return nil, errors.Join(err, s.Stop())
}

// prepare adds the device, or checks the one to take over.
func (s *Server) prepare() (err error) {
	c, d := s.ctl, s.cfg.Timeout
	if s.cfg.Recover {
		if s.info, err = c.Info(uint32(s.cfg.Device.ID), d); err != nil {
			return err
		}
		if err := s.info.Flags.Require(Required); err != nil {
			return fmt.Errorf("device %d was not added for recovery: %w", s.info.ID, err)
		}
		return c.StartRecovery(s.info.ID, d)
	}
	if s.cfg.Device.MaxIO > PoolMaxRun {
		return fmt.Errorf("requests of %d bytes: at most %d", s.cfg.Device.MaxIO, PoolMaxRun)
	}
	if s.info, err = c.Add(s.cfg.Device, d); err != nil {
		return err
	}
	if err := c.SetParams(s.info, s.target.Params(), d); err != nil {
		return errors.Join(err, c.Delete(s.info.ID, d))
	}
	return nil
}

// Info returns what the kernel granted.
func (s *Server) Info() Info { return s.info }

// Path returns the path of the disk.
func (s *Server) Path() string { return BlockPath(s.info.ID) }

// Stop removes the device: requests under way end, the thread ends, nothing is left. It fails with
// ErrTimeout as long as somebody has the disk open, after which the device goes by itself.
func (s *Server) Stop() error {
	err := s.ctl.Stop(s.info.ID, s.cfg.Timeout)
	select {
	case <-s.stopped:
		err = errors.Join(err, s.err)
	case <-time.After(s.cfg.Timeout):
		return errors.Join(err, fmt.Errorf("device %d: queue not drained: %w", s.info.ID, ErrBusy))
	}
	return errors.Join(err, s.ctl.Delete(s.info.ID, s.cfg.Timeout))
}

// thread serves the queue from first fetch to last abort.
func (s *Server) thread(started chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine, after the device
	defer close(s.stopped)
	if err := s.open(); err != nil {
		started <- err
		return
	}
	started <- nil
	s.loop()
	s.err = errors.Join(s.queue.Close(), s.ring.Close(), s.dev.Close(), s.pool.Close())
}

// open makes what the thread owns, and fetches.
func (s *Server) open() (err error) {
	depth := s.info.Depth
	if s.pool, err = NewPool(s.cfg.PoolSize); err != nil {
		return err
	}
	// A tag has at most its command and one operation of the target under way.
	s.ring, err = uring.New(uring.Options{Entries: uint32(2 * depth), RawWait: s.cfg.RawWait})
	if err != nil {
		return errors.Join(err, s.pool.Close())
	}
	s.reqs, s.fifo = make([]Request, depth), make([]uint16, depth)
	if s.dev, err = OpenDevice(s.info, s.cfg.Timeout); err != nil {
		return errors.Join(err, s.ring.Close(), s.pool.Close())
	}
	if s.queue, err = NewQueue(s.ring, s.dev, 0, queueData); err == nil {
		err = s.queue.Fetch()
	}
	if err != nil { // the end of the ring takes back what was offered
		return errors.Join(err, s.ring.Close(), s.dev.Close(), s.pool.Close())
	}
	return nil
}

// loop serves until the kernel has given every tag back. An error here cannot be reported to
// anybody who could mend it, and a thread that left its queue would leave the device hanging for
// ever: the process ends, and the kernel keeps the device for the next one.
func (s *Server) loop() {
	var out [64]uring.CQE
	for !s.queue.Drained() {
		if err := s.ring.SubmitAndWait(1, s.tick()); err != nil && !errors.Is(err, uring.ErrBusy) {
			panic(fmt.Sprintf("device %d: %v", s.info.ID, err))
		}
		for _, cqe := range out[:s.ring.Reap(out[:])] {
			if cqe.UserData&opData != 0 {
				r := &s.reqs[TagOf(cqe.UserData)]
				s.target.Resume(r, cqe.Res)
				continue
			}
			io, ok, err := s.queue.Next(cqe)
			if err != nil {
				panic(fmt.Sprintf("device %d: %v", s.info.ID, err))
			}
			if ok {
				s.begin(io)
			}
		}
		s.resumeWaiting()
	}
}

// tick lets a Timed target do what is due and returns how long to wait.
func (s *Server) tick() time.Duration {
	if t, ok := s.target.(Timed); ok {
		return t.Tick()
	}
	return -1
}

// begin hands a request to the target, or queues it until there is memory.
func (s *Server) begin(io IO) {
	r := &s.reqs[io.Tag]
	*r = Request{IO: io, server: s}
	if s.waits > 0 || !s.memory(r) {
		s.fifo[(s.first+s.waits)%len(s.fifo)] = io.Tag
		s.waits++
		return
	}
	s.target.Begin(r)
}

// memory gives r what it needs; it returns false when there is none now.
func (s *Server) memory(r *Request) bool {
	if r.Op != Read && r.Op != Write {
		return true
	}
	r.Buf = s.pool.Alloc(int(r.Len))
	return r.Buf != nil
}

// resumeWaiting begins requests that waited for memory, in the order of their arrival.
func (s *Server) resumeWaiting() {
	for s.waits > 0 {
		r := &s.reqs[s.fifo[s.first]]
		if !s.memory(r) {
			return
		}
		s.first = (s.first + 1) % len(s.fifo)
		s.waits--
		s.target.Begin(r)
	}
}

// done answers a request.
func (s *Server) done(r *Request, res int32) {
	if r.Buf != nil {
		s.pool.Free(r.Buf)
		r.Buf = nil
	}
	if err := s.queue.Commit(r.Tag, res); err != nil {
		panic(fmt.Sprintf("device %d: %v", s.info.ID, err))
	}
}
