package uring

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// Setup flags every ring has. SINGLE_ISSUER since 6.0, DEFER_TASKRUN since 6.1, COOP_TASKRUN since
// 5.19, SUBMIT_ALL since 5.18: one bad entry does not keep the ones after it from being submitted.
const setupFlags = giouring.SetupSingleIssuer | giouring.SetupDeferTaskrun |
	giouring.SetupCoopTaskrun | giouring.SetupSubmitAll

// Features every ring needs; all are older than DEFER_TASKRUN.
const needFeatures = giouring.FeatSingleMMap | giouring.FeatNoDrop |
	giouring.FeatSubmitStable | giouring.FeatExtArg

// MaxEntries is the largest submission queue the kernel gives (IORING_MAX_ENTRIES).
const MaxEntries = 32768

const (
	sqeSize        = 64
	defaultIovecs  = 1024
	defaultRawWait = time.Millisecond
)

// Options are the settings of a ring. The zero value of a field is its default.
type Options struct {
	// Entries is the size of the submission queue, rounded up to a power of two; default 64.
	Entries uint32
	// CQEntries is the size of the completion queue, rounded up likewise; default 2 x Entries.
	CQEntries uint32
	// SQE128 makes entries of 128 bytes, which UringCmd128 needs.
	SQE128 bool
	// Iovecs is how many buffers the vectored operations of one submission may name together,
	// and how many timeouts; default 1024.
	Iovecs int
	// RawWait is how long SubmitAndWait waits without telling Go's scheduler before it considers
	// the thread idle; default 1 ms, negative for never. It should exceed the usual pause between
	// requests of a busy device, or each of them costs a second system call.
	RawWait time.Duration
}

// Ring is one io_uring. See the package comment for who may use it.
type Ring struct {
	g       *giouring.Ring
	fd      int // the ring's descriptor
	entries uint32
	cqSize  uint32
	stride  uintptr // bytes per submission queue entry
	enterFd uintptr // index of the registered ring descriptor, or fd

	enterFlags uintptr        // IORING_ENTER_REGISTERED_RING or 0
	header     []byte         // the ring's first page, mapped once more: indices live there
	sqHead     *uint32        // the kernel's, how far it has consumed
	sqTail     *uint32        // ours, what the kernel may consume
	tail       uint32         // entries filled so far, published to sqTail by enter
	sqes       unsafe.Pointer // the entries' mapping

	arena   *Arena
	extArg  *getEventsArg
	ts      *timespec // of SubmitAndWait
	regArg  []byte    // of registrations
	scratch []scratch // iovecs and timespecs of entries not consumed yet
	used    int       // of scratch

	rawWait time.Duration
	idle    bool // the last wait had nothing to show for it
	batch   [64]*giouring.CompletionQueueEvent
	stats   Stats
}

// Stats counts what a ring did since New.
type Stats struct {
	Submitted uint64 // entries the kernel consumed
	Reaped    uint64 // completions handed out
	Enters    uint64 // calls of io_uring_enter, of any kind
	RawWaits  uint64 // of these: waits that Go's scheduler was not told of
	Waits     uint64 // of these: waits through Syscall, when idle
	EINTR     uint64 // of these: interrupted by a signal
}

// New creates a ring on the calling OS thread, to which the caller's goroutine must be locked for
// good. It submits one NOP and waits for it, so a ring that New returns works. Errors wrap
// ErrDisabled or an *UnsupportedError where the system is the reason.
func New(o Options) (*Ring, error) {
	o = o.withDefaults()
	r := &Ring{g: giouring.NewRing(), stride: sqeSize, rawWait: o.RawWait}
	p := &params{flags: setupFlags}
	if o.SQE128 {
		p.flags |= giouring.SetupSQE128
		r.stride = 2 * sqeSize
	}
	if o.CQEntries != 0 {
		p.flags |= giouring.SetupCQSize
		p.cqEntries = o.CQEntries
	}
	if err := r.g.QueueInitParams(o.Entries, p.giouring()); err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			err = setupError(errno)
		}
		return nil, fmt.Errorf("io_uring setup with %d entries: %w", o.Entries, err)
	}
	r.fd, r.entries, r.cqSize = r.g.RingFd(), p.sqEntries, p.cqEntries
	if err := r.init(p, o); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (o Options) withDefaults() Options {
	if o.Entries == 0 {
		o.Entries = 64
	}
	if o.Iovecs <= 0 {
		o.Iovecs = defaultIovecs
	}
	if o.RawWait == 0 {
		o.RawWait = defaultRawWait
	}
	return o
}

// init makes what lies around giouring's ring: the view of its indices, the arena, the registered
// descriptor; and tries the ring once.
func (r *Ring) init(p *params, o Options) error {
	if miss := needFeatures &^ p.features; miss != 0 {
		return &UnsupportedError{Name: fmt.Sprintf("io_uring features %#x", miss), Since: "5.11"}
	}
	page := unix.Getpagesize()
	if int(max(p.sqOff.head, p.sqOff.tail))+4 > page {
		return fmt.Errorf("io_uring setup: queue indices at %d and %d, beyond the first page",
			p.sqOff.head, p.sqOff.tail)
	}
	var err error
	r.header, err = unix.Mmap(r.fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map io_uring indices: %w", err)
	}
	r.sqHead = (*uint32)(unsafe.Pointer(&r.header[p.sqOff.head]))
	r.sqTail = (*uint32)(unsafe.Pointer(&r.header[p.sqOff.tail]))
	if r.arena, err = NewArena(4096 + o.Iovecs*int(unsafe.Sizeof(scratch{}))); err != nil {
		return err
	}
	r.extArg, r.ts = place[getEventsArg](r.arena), place[timespec](r.arena)
	r.regArg = r.arena.Alloc(64, 16)
	s := r.arena.Alloc(o.Iovecs*int(unsafe.Sizeof(scratch{})), 16)
	r.scratch = unsafe.Slice((*scratch)(unsafe.Pointer(unsafe.SliceData(s))), o.Iovecs)
	if err := r.registerRing(); err != nil {
		return err
	}
	return r.try()
}

// try sends a NOP around the ring, and learns from its entry where the entries are.
func (r *Ring) try() error {
	const mark = 0x6e6f70
	r.sqes = unsafe.Pointer(r.get(giouring.OpNop, mark))
	if err := r.SubmitAndWait(1, time.Second); err != nil {
		return err
	}
	var c [1]CQE
	if n := r.Reap(c[:]); n != 1 || c[0].UserData != mark || c[0].Res != 0 {
		return fmt.Errorf("io_uring NOP: got %d completions, %+v", n, c[0])
	}
	r.stats, r.idle = Stats{}, false
	return nil
}

// Close ends the ring; the kernel cancels what is under way, in its own time. Buffers of such
// operations must outlive them. Close must be called on the ring's thread.
func (r *Ring) Close() error {
	var errs []error
	if r.enterFlags != 0 {
		errs = append(errs, r.unregisterRing())
	}
	if r.header != nil {
		errs = append(errs, unix.Munmap(r.header))
		r.header, r.sqHead, r.sqTail = nil, nil, nil
	}
	r.g.QueueExit()
	if r.sqes != nil {
		errs = append(errs, r.unmapRest())
	}
	if r.arena != nil {
		errs = append(errs, r.arena.Free())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close io_uring: %w", err)
	}
	return nil
}

// unmapRest unmaps what giouring's QueueExit leaves of a ring with large entries: it takes every
// entry for 64 bytes.
func (r *Ring) unmapRest() error {
	page := uintptr(unix.Getpagesize())
	whole := (uintptr(r.entries)*r.stride + page - 1) / page * page
	gone := (uintptr(r.entries)*sqeSize + page - 1) / page * page
	if whole == gone {
		return nil
	}
	_, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, uintptr(r.sqes)+gone, whole-gone, 0)
	if errno != 0 {
		return fmt.Errorf("unmap submission queue entries: %w", errno)
	}
	return nil
}

// SQEntries returns the size of the submission queue.
func (r *Ring) SQEntries() uint32 { return r.entries }

// CQEntries returns the size of the completion queue.
func (r *Ring) CQEntries() uint32 { return r.cqSize }

// Room returns how many entries may still be filled before Submit.
func (r *Ring) Room() uint32 { return r.g.SQSpaceLeft() }

// Stats returns what the ring did so far.
func (r *Ring) Stats() Stats { return r.stats }
