package ublk

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"unblend/uring"

	"golang.org/x/sys/unix"
)

// ControlPath is the control device of the driver.
const ControlPath = "/dev/ublk-control"

const (
	ctrlSlots   = 32   // commands under way at once; more wait
	ctrlBufSize = 1024 // holds a mask of 8192 CPUs, the largest buffer of any command
	cancelGrace = time.Second

	wakeData   = 1 << 63 // user_data of the waker
	cancelData = 1 << 62 // user_data of a cancellation, whose outcome does not matter
)

// Control sends control commands. It owns a thread with a ring of 128-byte entries, since commands
// may block for long and are carried out by kernel workers. Any goroutine may use it, also several
// at once.
type Control struct {
	fd    int
	waker *uring.Waker
	ended chan struct{} // closed when the thread has ended

	mu     sync.Mutex // guards what follows
	queue  []order
	closed bool
}

// order is what a goroutine asks of the thread: to submit a command, or to cancel it.
type order struct {
	cmd    *command
	cancel bool
}

// command is one control command. Its owner is the goroutine that runs it until it is queued, and
// the control thread from then until done is closed. One that timed out stays the thread's.
type command struct {
	name  string
	since string // the kernel version that introduced it, if later than 6.5
	op    uint32
	hdr   ctrlCmd
	buf   []byte // sent to and returned by the kernel at hdr.addr

	res  int32
	done chan struct{}
	slot int // while under way, else -1
}

// newCommand returns a command for a device as a whole.
func newCommand(name string, op, dev uint32) *command {
	return &command{
		name: name, op: op, slot: -1, done: make(chan struct{}),
		hdr: ctrlCmd{devID: dev, queueID: noQueue},
	}
}

// with gives the command a buffer, which holds v's bytes on the way in and back.
func with[T any](c *command, v *T) *command {
	c.buf = unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
	return c
}

func (c *command) wrap(err error) error {
	if c.hdr.devID == anyDevice {
		return fmt.Errorf("ublk %s: %w", c.name, err)
	}
	return fmt.Errorf("ublk %s of device %d: %w", c.name, c.hdr.devID, err)
}

// OpenControl opens the control device and starts the thread. Errors wrap ErrNoDriver,
// ErrPermission or uring.ErrDisabled where the system is the reason.
func OpenControl() (*Control, error) {
	fd, err := unix.Open(ControlPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == unix.ENXIO, err == unix.ENODEV:
		return nil, fmt.Errorf("%w (%w)", ErrNoDriver, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open %s: %w: %w", ControlPath, ErrPermission, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", ControlPath, err)
	}
	c := &Control{fd: fd, ended: make(chan struct{})}
	started := make(chan error)
	go c.thread(started)
	if err := <-started; err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return c, nil
}

// Close ends the thread. Commands under way are given up. Devices are not affected.
func (c *Control) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	err := c.waker.Wake()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	<-c.ended
	return errors.Join(c.waker.Close(), unix.Close(c.fd))
}

// run sends cmd and waits for its end, for at most timeout. The result is that of the kernel.
func (c *Control) run(cmd *command, timeout time.Duration) error {
	if err := c.enqueue(cmd, false); err != nil {
		return cmd.wrap(err)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	late := false
	select {
	case <-cmd.done:
	case <-timer.C:
		late = true
		if err := c.enqueue(cmd, true); err != nil {
			return cmd.wrap(err)
		}
		timer.Reset(cancelGrace)
		select {
		case <-cmd.done:
		case <-timer.C:
			return cmd.wrap(&TimeoutError{cmd.name, cmd.hdr.devID, timeout, true})
		}
	}
	if cmd.res >= 0 {
		return nil
	}
	errno := syscall.Errno(-cmd.res)
	switch {
	case late && (errno == syscall.EINTR || errno == syscall.ECANCELED):
		return cmd.wrap(&TimeoutError{cmd.name, cmd.hdr.devID, timeout, false})
	case errno == syscall.ECANCELED:
		return cmd.wrap(ErrClosed)
	}
	return commandError(cmd, errno)
}

// enqueue hands cmd to the thread, to be submitted or cancelled.
func (c *Control) enqueue(cmd *command, cancel bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.queue = append(c.queue, order{cmd, cancel})
	return c.waker.Wake()
}

// thread owns the ring.
func (c *Control) thread(started chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	defer close(c.ended)
	t := &ctrlThread{c: c}
	if err := t.init(); err != nil {
		started <- err
		return
	}
	started <- nil
	t.loop()
}

// ctrlThread is what belongs to the control thread alone.
type ctrlThread struct {
	c     *Control
	ring  *uring.Ring
	arena *uring.Arena
	slots [ctrlSlots]*command
	wait  []*command // for a slot
}

func (t *ctrlThread) init() (err error) {
	if t.arena, err = uring.NewArena(ctrlSlots * ctrlBufSize); err != nil {
		return err
	}
	t.ring, err = uring.New(uring.Options{Entries: 2 * ctrlSlots, SQE128: true, RawWait: -1})
	if err != nil {
		return errors.Join(err, t.arena.Free())
	}
	if t.c.waker, err = uring.NewWaker(t.ring, wakeData); err != nil {
		return errors.Join(err, t.ring.Close(), t.arena.Free())
	}
	t.ring.LimitWorkers(ctrlSlots, ctrlSlots) // best effort: a bound, not a need
	t.c.waker.Arm()
	return nil
}

// loop serves commands until Close. The arena is not freed when commands are still with the
// kernel, which may yet write to it.
func (t *ctrlThread) loop() {
	var out [2 * ctrlSlots]uring.CQE
	for t.take() {
		if err := t.ring.SubmitAndWait(1, -1); err != nil && !errors.Is(err, uring.ErrBusy) {
			break
		}
		for _, cqe := range out[:t.ring.Reap(out[:])] {
			t.complete(cqe)
		}
	}
	t.end()
}

// take moves what other goroutines queued into the ring; it returns false after Close.
func (t *ctrlThread) take() bool {
	t.c.mu.Lock()
	queue, closed := t.c.queue, t.c.closed
	t.c.queue = nil
	t.c.mu.Unlock()
	for _, o := range queue {
		switch i := slices.Index(t.wait, o.cmd); {
		case !o.cancel:
			t.wait = append(t.wait, o.cmd)
		case i >= 0: // it timed out before there was a slot
			t.wait = slices.Delete(t.wait, i, i+1)
			t.finish(o.cmd, -int32(syscall.ECANCELED))
		case o.cmd.slot >= 0:
			t.ring.Cancel(cancelData, uint64(o.cmd.slot))
		}
	}
	for i := range t.slots {
		if t.slots[i] == nil && len(t.wait) > 0 {
			t.submit(i, t.wait[0])
			t.wait = t.wait[1:]
		}
	}
	return !closed
}

// submit sends cmd from slot i.
func (t *ctrlThread) submit(i int, cmd *command) {
	cmd.slot, t.slots[i] = i, cmd
	if len(cmd.buf) > 0 {
		mem := t.buf(i)
		copy(mem, cmd.buf)
		cmd.hdr.addr = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
		cmd.hdr.len = uint16(len(cmd.buf))
	}
	var bytes [80]byte
	*(*ctrlCmd)(unsafe.Pointer(&bytes)) = cmd.hdr
	if !t.ring.UringCmd128(uint64(i), uring.FD(t.c.fd), cmd.op, &bytes) {
		panic("ublk: control ring smaller than its slots")
	}
}

func (t *ctrlThread) buf(i int) []byte {
	return t.arena.Bytes()[i*ctrlBufSize : (i+1)*ctrlBufSize]
}

// complete handles one completion.
func (t *ctrlThread) complete(cqe uring.CQE) {
	switch cqe.UserData {
	case wakeData:
		t.c.waker.Woken()
		t.c.waker.Arm()
	case cancelData:
	default:
		i := int(cqe.UserData)
		cmd := t.slots[i]
		t.slots[i], cmd.slot = nil, -1
		copy(cmd.buf, t.buf(i))
		t.finish(cmd, cqe.Res)
	}
}

func (t *ctrlThread) finish(cmd *command, res int32) {
	cmd.res = res
	close(cmd.done)
}

// end closes the ring and tells whoever still waits.
func (t *ctrlThread) end() {
	idle := true
	for _, cmd := range t.slots {
		if cmd != nil {
			idle = false
			t.wait = append(t.wait, cmd)
		}
	}
	_ = t.ring.Close() // what it could not undo ends with the thread
	t.c.mu.Lock()
	t.c.closed = true
	queue := t.c.queue
	t.c.queue = nil
	t.c.mu.Unlock()
	for _, o := range queue {
		if !o.cancel {
			t.wait = append(t.wait, o.cmd)
		}
	}
	for _, cmd := range t.wait {
		t.finish(cmd, -int32(syscall.ECANCELED))
	}
	if idle {
		_ = t.arena.Free()
	}
}
