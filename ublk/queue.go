package ublk

import (
	"fmt"
	"syscall"
	"unsafe"

	"unblend/uring"

	"golang.org/x/sys/unix"
)

// Op is what a request asks for (UBLK_IO_OP_).
type Op uint8

// The operations a device of this package gets.
const (
	Read        Op = 0
	Write       Op = 1
	Flush       Op = 2
	Discard     Op = 3
	WriteZeroes Op = 5
)

func (o Op) String() string {
	names := [...]string{"read", "write", "flush", "discard", "write-same", "write-zeroes"}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("operation %d", uint8(o))
}

// Flags of a request (UBLK_IO_F_), at their places in the descriptor's first word.
const (
	FlagMeta    = 1 << 11 // metadata of a file system
	FlagFUA     = 1 << 13 // durable before it is answered
	FlagNoUnmap = 1 << 15 // write-zeroes: keep the space allocated
	FlagSwap    = 1 << 16
)

// IO is one request. The kernel keeps it within the disk and its limits.
type IO struct {
	Tag   uint16
	Op    Op
	Flags uint32
	Off   int64 // bytes; 0 for a flush
	Len   int64 // bytes; 0 for a flush
}

func (io IO) String() string {
	return fmt.Sprintf("%v tag=%d off=%d len=%d", io.Op, io.Tag, io.Off, io.Len)
}

// tagState says who has a tag.
type tagState uint8

const (
	tagUnused tagState = iota // not fetched yet
	tagKernel                 // waits for a request
	tagServer                 // carries one that is being served
	tagGone                   // given back for good, with -ENODEV or an error
)

// Queue is one queue of a device, driven by the thread that owns ring; all methods are for that
// thread alone. A loop that drives several queues and other operations on the ring tells their
// completions apart by user_data:
//
//	bits 63-16  the caller's, as given to NewQueue: which queue, and that it is one
//	bits 15-0   the tag
//
// Queues use the plain descriptor of /dev/ublkcN: until 6.12 a file registered with a ring is let
// go of only when no older operation on any registered file is under way, and a fetch may be under
// way for ever. So closing one device would wait for requests to all others.
type Queue struct {
	ring  *uring.Ring
	dev   *Device
	id    uint16
	depth int
	base  uint64 // user_data without the tag
	file  uring.File

	mem   []byte // the descriptors, one per tag, written by the kernel
	tags  []tagState
	serve int // how many tags are tagServer
	gone  int // and tagGone
}

// TagOf returns the tag in a queue's user_data.
func TagOf(userData uint64) uint16 { return uint16(userData) }

// NewQueue returns queue id of a device, to be driven on ring, whose submission queue must have as
// many entries as the device has tags. userData is put on all its operations, with the tag in the
// low 16 bits, which must be 0.
func NewQueue(ring *uring.Ring, dev *Device, id int, userData uint64) (*Queue, error) {
	if userData&0xffff != 0 {
		panic("ublk: user_data of a queue in the bits of its tags")
	}
	q := &Queue{
		ring: ring, dev: dev, id: uint16(id), depth: dev.Info.Depth, base: userData,
		file: uring.FD(dev.fd), tags: make([]tagState, dev.Info.Depth),
	}
	if id < 0 || id >= dev.Info.Queues {
		return nil, q.wrap("open", fmt.Errorf("the device has %d queues", dev.Info.Queues))
	}
	if n := int(ring.SQEntries()); n < q.depth {
		return nil, q.wrap("open", fmt.Errorf("a ring of %d entries for %d tags", n, q.depth))
	}
	return q, nil
}

// Device returns the device the queue belongs to.
func (q *Queue) Device() *Device { return q.dev }

// Fetch offers all tags to the kernel, and maps the memory in which it describes requests. From
// then on the thread belongs to the device until Drained. If Fetch fails, stop or delete the
// device, and drain the queue all the same unless no tag was offered.
//
// The order is what makes a recovery on 6.12 safe from the death of its server at any moment: the
// kernel forgets a dead server's mapping only when all tags had been offered, and does not cancel
// offers when some had not. So all are made in one system call, which completes even if the process
// is killed in it, and the mapping comes after.
func (q *Queue) Fetch() error {
	if int(q.ring.Room()) < q.depth {
		if err := q.ring.Submit(); err != nil {
			return q.wrap("fetch", err)
		}
	}
	for tag := range q.depth {
		if err := q.command(ioFetch, uint16(tag), 0); err != nil {
			return q.wrap("fetch", err)
		}
	}
	if err := q.ring.Submit(); err != nil {
		return q.wrap("fetch", err)
	}
	mem, err := unix.Mmap(q.dev.fd, descPos(int(q.id)), descLen(q.depth), unix.PROT_READ,
		unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return q.wrap("map requests", err)
	}
	q.mem = mem
	return nil
}

// command gives a tag to the kernel with the next submission.
func (q *Queue) command(op uint32, tag uint16, res int32) error {
	w0, w1 := ioCmd(q.id, tag, res)
	for !q.ring.UringCmd(q.base|uint64(tag), q.file, op, w0, w1) {
		if err := q.ring.Submit(); err != nil {
			return err
		}
	}
	q.tags[tag] = tagKernel
	return nil
}

func (q *Queue) wrap(what string, err error) error {
	return fmt.Errorf("%s queue %d: %s: %w", CharPath(q.dev.Info.ID), q.id, what, err)
}

// Next takes a completion with the queue's user_data. ok says that it brought a request, which must
// be answered by Commit. Otherwise the kernel gave the tag back: because the device ends, or with
// err, after which the tag is lost.
func (q *Queue) Next(cqe uring.CQE) (io IO, ok bool, err error) {
	tag := TagOf(cqe.UserData)
	if int(tag) >= q.depth || q.tags[tag] != tagKernel {
		panic(fmt.Sprintf("ublk: completion %+v for a tag that the kernel does not have", cqe))
	}
	if cqe.Res != 0 {
		q.tags[tag] = tagGone
		q.gone++
		if errno := cqe.Errno(); errno != syscall.ENODEV {
			return IO{}, false, q.wrap(fmt.Sprintf("tag %d", tag), errno)
		}
		return IO{}, false, nil
	}
	q.tags[tag] = tagServer
	q.serve++
	d := (*ioDesc)(unsafe.Pointer(&q.mem[int(tag)*descSize]))
	io = IO{Tag: tag, Op: Op(d.opFlags), Flags: d.opFlags &^ 0xff}
	if io.Op != Flush { // whose sector is -1
		io.Off = int64(d.startSector) << sectorShift
		io.Len = int64(d.nrSectors) << sectorShift
	}
	return io, true, nil
}

// Commit answers a request and offers its tag again, with the next submission. res is the bytes
// moved by a read or write, 0 for other operations, or a negative errno. A read or write that
// moved fewer bytes than it was to comes again for the rest.
func (q *Queue) Commit(tag uint16, res int32) error {
	if q.tags[tag] != tagServer {
		panic(fmt.Sprintf("ublk: answer to tag %d, which has no request", tag))
	}
	q.serve--
	if err := q.command(ioCommitAndFetch, tag, res); err != nil {
		q.serve++
		return q.wrap("commit", err)
	}
	return nil
}

// Serving returns how many requests were handed out and not yet answered.
func (q *Queue) Serving() int { return q.serve }

// Drained says that the kernel has given all tags back, after Stop: the thread is free again.
func (q *Queue) Drained() bool { return q.gone == q.depth }

// Close unmaps the descriptors. The queue must be drained, or never have been fetched.
func (q *Queue) Close() error {
	if q.gone != q.depth && q.tags[0] != tagUnused {
		return q.wrap("close", fmt.Errorf("%d of %d tags not given back", q.depth-q.gone, q.depth))
	}
	if q.mem == nil {
		return nil
	}
	if err := unix.Munmap(q.mem); err != nil {
		return q.wrap("unmap", err)
	}
	return nil
}
