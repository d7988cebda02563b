package shard

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/uring"

	"golang.org/x/sys/unix"
)

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

// Shard is one of the threads: a loop with a ring, the devices that it serves and the requests of these.
type Shard struct {
	engine *engine
	id     int
	cfg    Config
	ring   *uring.Ring
	waker  *uring.Waker

	ops     []transfer // under way, by slot
	piece   [][]byte   // for submitOp
	busy    int        // how many
	undone  []*log.Op  // to be submitted again
	owed    []answer   // to be given again
	devices []*device  // by slot; nil: free
	reqs    []request
	classes [classes]class
	cqes    []uring.CQE
	served  uint64 // requests answered

	// Between the thread and the pool: what a turn brings to it, and takes.
	in       []*placement.Request
	ended    []outcome
	letters  []letter
	out      []*placement.Request
	todo     []*log.Op
	inbox    []*placement.Request // what others' turns have ended; of the engine
	more     bool                 // the pool has work that waits for nothing
	deadline int64                // of the pool; 0: none
	stop     bool                 // as the engine says

	mail    mailbox
	done    chan struct{}
	started chan error
	err     error // why the loop ended; read after done
}

// outcome is that of a device operation.
type outcome struct {
	op  *log.Op
	res int32
}

func newShard(cfg Config, e *engine, id int) *Shard {
	cfg.CPUs = partOf(cfg.CPUs, id, cfg.Shards)
	if cfg.Shards > 1 {
		cfg.Memory = max(cfg.Memory/cfg.Shards, minMemory)
	}
	return &Shard{
		engine: e, id: id, cfg: cfg, cqes: make([]uring.CQE, reapMax), done: make(chan struct{}),
		started: make(chan error),
	}
}

// partOf returns the CPUs that a shard runs on: a part of its own while there are enough, else one.
func partOf(cpus []int, id, shards int) []int {
	n := len(cpus)
	if n >= shards || n == 0 {
		return cpus[n*id/shards : n*(id+1)/shards]
	}
	return cpus[id%n : id%n+1]
}

// launch starts the thread.
func (s *Shard) launch() error {
	go s.thread()
	return <-s.started
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
	s.letters = s.mail.close()
	s.readLetters(false)
	s.engine.lock.lock()
	s.readLetters(true)
	s.engine.unlock()
	stay := s.err != nil || s.serving()
	if !stay {
		s.err = errors.Join(s.waker.Close(), s.ring.Close(), s.closeClasses())
	}
	close(s.done)
	if stay {
		select {}
	}
}

// open makes what belongs to the thread, its memory near the CPUs that it runs on.
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
	err := s.newClasses()
	if err == nil {
		s.ring, err = uring.New(uring.Options{Entries: ringEntries, Iovecs: ringIovecs})
	}
	if err != nil {
		return errors.Join(err, s.closeClasses())
	}
	if s.waker, err = uring.NewWaker(s.ring, 0); err != nil {
		return errors.Join(err, s.ring.Close(), s.closeClasses())
	}
	s.waker.Arm()
	s.mail.waker = s.waker
	return nil
}

// turn is one turn of the loop.
func (s *Shard) turn() {
	n := s.ring.Reap(s.cqes)
	s.redo()
	for _, c := range s.cqes[:n] {
		s.completion(c)
	}
	s.admitWaiting()
	s.drive()
	s.answerAll()
	s.submitOps()
	wait, timeout := s.patience()
	s.check(s.ring.SubmitAndWait(wait, timeout))
}

// drive is the part of a turn in which the shard holds the pool: it hands over what has come, and takes
// what is to be done. Copies from and to the guests' memory, and system calls, come before and after.
func (s *Shard) drive() {
	e := s.engine
	s.readLetters(false)
	e.lock.lock()
	e.pool.Tick(int64(time.Since(e.start)) + 1) // never 0
	for _, o := range s.ended {
		e.countDone(o.op, o.res)
		e.pool.Complete(o.op.Token, o.res)
	}
	for _, r := range s.in {
		e.pool.Submit(r)
	}
	s.readLetters(true)
	more, wake := e.pool.RunShard(s.id, len(e.all))
	wake |= s.takeDone()
	s.stop = e.stop
	for op := e.next(); op != nil; op = e.next() {
		s.todo = append(s.todo, op)
	}
	if s.more = more; !more {
		s.deadline = e.pool.Deadline()
	}
	e.unlock()
	s.ended, s.in = s.ended[:0], s.in[:0]
	if wake != 0 {
		s.check(e.wake(wake))
	}
}

// next returns the next device operation of the pool, unless the end has begun.
func (e *engine) next() *log.Op {
	if e.stop {
		return nil
	}
	return e.pool.NextOp()
}

// takeDone takes what has ended: requests of its own, and of others into their boxes; it returns whom to
// wake because of that.
func (s *Shard) takeDone() (wake uint64) {
	e := s.engine
	s.out = append(s.out, s.inbox...)
	s.inbox = s.inbox[:0]
	for r := e.pool.NextDone(); r != nil; r = e.pool.NextDone() {
		if owner := e.all[r.Tag>>tagShard]; owner == s {
			s.out = append(s.out, r)
		} else {
			owner.inbox = append(owner.inbox, r)
			wake |= 1 << owner.id
		}
	}
	for c := e.pool.NextControl(); c != nil; c = e.pool.NextControl() {
		f := e.controls[c]
		delete(e.controls, c)
		f()
	}
	for d := e.pool.NextDiff(); d != nil; d = e.pool.NextDiff() {
		f := e.diffs[d]
		delete(e.diffs, d)
		f()
	}
	return wake
}

// readLetters does what was sent: what needs the pool while the shard holds it, the rest before.
func (s *Shard) readLetters(pool bool) {
	for _, l := range s.letters {
		if l.pool == pool {
			l.f()
		}
	}
	if pool {
		s.letters = s.letters[:0]
	}
}

// check notes an error of the ring, which ends the loop. That the kernel is short of memory for the
// moment is none.
func (s *Shard) check(err error) {
	if err != nil && !errors.Is(err, uring.ErrBusy) && s.err == nil {
		s.err = err
	}
}

// patience returns for how many completions to wait, and how long.
func (s *Shard) patience() (uint32, time.Duration) {
	switch {
	case s.more, s.stop && s.quiet(), len(s.undone) > 0, len(s.owed) > 0, s.mayAdmit(),
		s.ring.Ready() > 0:
		return 0, 0
	}
	if s.deadline == 0 || s.stop {
		return 1, maxWait
	}
	now := int64(time.Since(s.engine.start)) + 1
	return 1, min(maxWait, max(0, time.Duration(s.deadline-now)))
}

// completion takes one completion.
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
		s.letters = append(s.letters, s.mail.take()...)
	}
}

// quiet says that nothing is under way on the devices.
func (s *Shard) quiet() bool { return s.busy == 0 && len(s.ended) == 0 }

// serving says that the thread still owes something to a device.
func (s *Shard) serving() bool {
	for _, d := range s.devices {
		if d != nil {
			return true
		}
	}
	return false
}
