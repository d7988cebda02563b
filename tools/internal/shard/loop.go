package shard

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"unblend/log"
	"unblend/placement"
	"unblend/ublk"
	"unblend/uring"
)

// ErrStopped is returned for work that is sent to a shard whose loop has ended.
var ErrStopped = errors.New("the shard has stopped")

// Config is what a shard is made of.
type Config struct {
	Pool  *placement.Pool
	Files [log.Devs]int // descriptors opened for direct I/O; one device: the same twice

	// MaxBlocks is how many blocks a device takes in one request; 0: any number. What is longer
	// goes out in several.
	MaxBlocks [log.Devs]int

	Memory int         // bytes for requests under way; 0: ublk.DefaultPoolSize
	CPUs   []int       // the CPUs to run on; empty: any
	Fault  func(error) // told, on the loop's thread, what went wrong with a single device

	LogStart, LogEnd int64 // the log's bytes on the fast device, for the counters
}

const (
	ringEntries = 4096
	ringIovecs  = 16384
	reapMax     = 512
	maxWait     = time.Second

	// user_data: the kind of completion in the top bits.
	kindShift = 62
	kindQueue = 1 // bits 16..61: device slot; 0..15: tag
	kindOp    = 2 // bits 0..31: slot of the pool's operation
	slotShift = 16
	slotMask  = 1<<(kindShift-slotShift) - 1
)

// Shard is the loop. Its exported methods may be called from any goroutine.
type Shard struct {
	cfg   Config
	pool  *placement.Pool
	ring  *uring.Ring
	waker *uring.Waker
	start time.Time

	ops      []transfer // under way, by slot
	piece    [][]byte   // for submitOp
	busy     int        // how many
	undone   []*log.Op  // to be submitted again
	owed     []answer   // to be given again
	devices  []*device  // by slot; nil: free
	reqs     []request
	classes  [classes]class
	cqes     []uring.CQE
	controls map[*placement.Control]func() // what to do when one has ended
	diffs    map[*placement.Diff]func()    // likewise, of pages of comparisons
	stats    Stats
	more     bool // the pool has work that waits for nothing

	mail    mailbox
	stop    bool // no operation is begun any more
	done    chan struct{}
	started chan error
	err     error // why the loop ended; read after done
}

// Start makes the loop's thread. When it returns, the loop runs, or err says why it cannot.
func Start(cfg Config) (*Shard, error) {
	if cfg.Memory == 0 {
		cfg.Memory = ublk.DefaultPoolSize
	}
	s := &Shard{
		cfg: cfg, pool: cfg.Pool, start: time.Now(), cqes: make([]uring.CQE, reapMax),
		controls: map[*placement.Control]func(){}, diffs: map[*placement.Diff]func(){}, done: make(chan struct{}),
		started: make(chan error),
	}
	if err := s.newClasses(); err != nil {
		return nil, err
	}
	go s.thread()
	if err := <-s.started; err != nil {
		return nil, errors.Join(fmt.Errorf("shard: %w", err), s.closeClasses())
	}
	return s, nil
}

// thread is the loop's goroutine. The OS thread it is on must not end while a device lives, and
// does not even after an error: the process has to.
func (s *Shard) thread() {
	runtime.LockOSThread()
	err := s.open()
	s.started <- err
	if err != nil {
		return
	}
	for s.err == nil && !(s.stop && s.quiet()) {
		s.turn()
	}
	s.mail.close()
	stay := s.err != nil || s.serving()
	if !stay {
		s.err = errors.Join(s.waker.Close(), s.ring.Close(), s.closeClasses())
	}
	close(s.done)
	if stay {
		select {}
	}
}

// open makes what belongs to the thread.
func (s *Shard) open() error {
	if len(s.cfg.CPUs) > 0 {
		var set unix.CPUSet
		for _, cpu := range s.cfg.CPUs {
			set.Set(cpu)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("run on CPUs %v: %w", s.cfg.CPUs, err)
		}
	}
	var err error
	s.ring, err = uring.New(uring.Options{Entries: ringEntries, Iovecs: ringIovecs})
	if err != nil {
		return err
	}
	if s.waker, err = uring.NewWaker(s.ring, 0); err != nil {
		return errors.Join(err, s.ring.Close())
	}
	s.waker.Arm()
	s.mail.waker = s.waker
	return nil
}

// turn is one turn of the loop.
func (s *Shard) turn() {
	n := s.ring.Reap(s.cqes)
	s.pool.Tick(s.now())
	s.redo()
	for _, c := range s.cqes[:n] {
		s.completion(c)
	}
	s.answerAll()
	s.admitWaiting()
	s.more = s.pool.Run()
	s.answerAll()
	s.submitOps()
	wait, timeout := s.patience()
	s.check(s.ring.SubmitAndWait(wait, timeout))
}

// check notes an error of the ring, which ends the loop. That the kernel is short of memory for the
// moment is none.
func (s *Shard) check(err error) {
	if err != nil && !errors.Is(err, uring.ErrBusy) && s.err == nil {
		s.err = err
	}
}

// now is the pool's clock. It never is 0.
func (s *Shard) now() int64 { return int64(time.Since(s.start)) + 1 }

// patience returns for how many completions to wait, and how long.
func (s *Shard) patience() (uint32, time.Duration) {
	switch {
	case s.more, s.stop && s.quiet(), len(s.undone) > 0, len(s.owed) > 0, s.mayAdmit(),
		s.ring.Ready() > 0:
		return 0, 0
	}
	at := s.pool.Deadline()
	if at == 0 || s.stop {
		return 1, maxWait
	}
	return 1, min(maxWait, max(0, time.Duration(at-s.now())))
}

// completion hands one completion to whom it belongs.
func (s *Shard) completion(c uring.CQE) {
	switch c.UserData >> kindShift {
	case kindOp:
		s.opDone(uint32(c.UserData), c.Res)
	case kindQueue:
		s.queueEvent(s.devices[c.UserData>>slotShift&slotMask], c)
	default:
		s.waker.Woken()
		for !s.waker.Arm() && s.err == nil {
			s.check(s.ring.Submit())
		}
		s.mail.run()
	}
}

// quiet says that nothing is under way on the devices.
func (s *Shard) quiet() bool { return s.busy == 0 }

// serving says that the thread still owes something to a device.
func (s *Shard) serving() bool {
	for _, d := range s.devices {
		if d != nil {
			return true
		}
	}
	return false
}

// Stop ends the loop: no device operation is begun any more, and when those under way have ended
// the loop has too. Devices that are still served stay, with what was asked of them and not
// answered, for the next daemon: the process must end then.
func (s *Shard) Stop() error {
	if err := s.mail.send(func() { s.stop = true }); err != nil {
		return err
	}
	<-s.done
	return s.err
}

// Done is closed when the loop has ended; Err then says why.
func (s *Shard) Done() <-chan struct{} { return s.done }

// Err returns why the loop ended: nil after Stop. Only valid after Done.
func (s *Shard) Err() error { return s.err }

// mailbox is how other threads have something done on the loop's.
type mailbox struct {
	waker  *uring.Waker
	mu     sync.Mutex
	list   []func() // guarded by mu
	closed bool     // guarded by mu
	spare  []func() // the loop's own
}

// send has f run on the loop's thread soon.
func (m *mailbox) send(f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrStopped
	}
	m.list = append(m.list, f)
	return m.waker.Wake()
}

// run runs what was sent.
func (m *mailbox) run() {
	m.mu.Lock()
	list := m.list
	m.list = m.spare[:0]
	m.mu.Unlock()
	for i, f := range list {
		f()
		list[i] = nil
	}
	m.spare = list
}

// close runs what is left and accepts nothing more.
func (m *mailbox) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.run()
}

// Do runs f on the loop's thread and waits until it has run.
func (s *Shard) Do(f func()) error {
	ran := make(chan struct{})
	if err := s.mail.send(func() { f(); close(ran) }); err != nil {
		return err
	}
	<-ran
	return nil
}
