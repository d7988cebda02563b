package uring

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

// All registration goes through giouring's Ring.Register, the plain system call: its own wrappers
// pass 8-byte descriptors where the kernel reads 4, and drop errors. The structs below live in the
// ring's arena while the kernel reads them; arguments are copied there.

const registerRingAny = ^uint32(0) // "the kernel chooses the index"

// filesUpdate is struct io_uring_files_update.
type filesUpdate struct {
	offset uint32
	resv   uint32
	fds    uint64
}

// register performs one registration call on the ring, retrying EINTR. arg points into an arena.
func (r *Ring) register(what string, op uint32, arg unsafe.Pointer, n int) (uint, error) {
	for {
		res, errno := r.g.Register(r.fd, op, arg, uint32(n))
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, fmt.Errorf("register io_uring %s: %w", what, errno)
		}
		return res, nil
	}
}

// argument returns the ring's memory for one registration's struct.
func argument[T any](r *Ring) *T {
	var z T
	if unsafe.Sizeof(z) > uintptr(len(r.regArg)) {
		panic("uring: registration argument too large")
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(r.regArg)))
}

// joinFree frees a and returns err, or else what went wrong with that.
func joinFree(err error, a *Arena) error { return errors.Join(err, a.Free()) }

// descriptors copies fds to memory of the kernel's type: 32 bits each.
func descriptors(fds []int) (*Arena, unsafe.Pointer, error) {
	a, err := NewArena(4*len(fds) + 64)
	if err != nil {
		return nil, nil, err
	}
	b := a.Alloc(4*len(fds), 8)
	p := unsafe.Pointer(unsafe.SliceData(b))
	for i, fd := range fds {
		unsafe.Slice((*int32)(p), len(fds))[i] = int32(fd)
	}
	return a, p, nil
}

// RegisterFiles makes fds addressable as Fixed(0), Fixed(1) and so on; -1 leaves a place empty.
// A ring has one table of files.
//
// Until 6.12 the kernel lets go of a replaced or removed file only when every operation on any
// fixed file of this ring that was submitted earlier has ended. So files whose operations stay
// under way for long, such as /dev/ublkcN, do not belong into this table.
func (r *Ring) RegisterFiles(fds []int) error {
	if len(fds) == 0 {
		return fmt.Errorf("register io_uring files: %w", syscall.EINVAL)
	}
	a, p, err := descriptors(fds)
	if err != nil {
		return err
	}
	_, err = r.register("files", giouring.RegisterFiles, p, len(fds))
	return joinFree(err, a)
}

// RegisterFilesSparse makes a table of n empty places, to be filled by UpdateFiles.
func (r *Ring) RegisterFilesSparse(n int) error {
	reg := argument[giouring.RsrcRegister](r)
	*reg = giouring.RsrcRegister{Nr: uint32(n), Flags: giouring.RsrcRegisterSparse}
	_, err := r.register("sparse files", giouring.RegisterFiles2, unsafe.Pointer(reg),
		int(unsafe.Sizeof(*reg)))
	return err
}

// UpdateFiles replaces the files from index first on; -1 empties a place.
func (r *Ring) UpdateFiles(first int, fds []int) error {
	a, p, err := descriptors(fds)
	if err != nil {
		return err
	}
	up := place[filesUpdate](a)
	up.offset, up.fds = uint32(first), uint64(uintptr(p))
	n, err := r.register("files update", giouring.RegisterFilesUpdate, unsafe.Pointer(up), len(fds))
	if err == nil && int(n) != len(fds) {
		err = fmt.Errorf("register io_uring files update: %d of %d places", n, len(fds))
	}
	return joinFree(err, a)
}

// UnregisterFiles drops the table of files.
func (r *Ring) UnregisterFiles() error {
	_, err := r.register("no files", giouring.UnregisterFiles, nil, 0)
	return err
}

// RegisterBuffers pins bufs, for ReadFixed and WriteFixed with their index. They must stay mapped
// until UnregisterBuffers or Close; parts of arenas, as a rule.
func (r *Ring) RegisterBuffers(bufs [][]byte) error {
	if len(bufs) == 0 {
		return fmt.Errorf("register io_uring buffers: %w", syscall.EINVAL)
	}
	a, err := NewArena(16 * len(bufs))
	if err != nil {
		return err
	}
	p := unsafe.Pointer(unsafe.SliceData(a.Alloc(16*len(bufs), 16)))
	for i, b := range bufs {
		unsafe.Slice((*scratch)(p), len(bufs))[i] = scratch{a: address(b), b: uint64(len(b))}
	}
	_, err = r.register("buffers", giouring.RegisterBuffers, p, len(bufs))
	return joinFree(err, a)
}

// UnregisterBuffers drops the table of buffers.
func (r *Ring) UnregisterBuffers() error {
	_, err := r.register("no buffers", giouring.UnregisterBuffers, nil, 0)
	return err
}

// LimitWorkers sets how many kernel workers of each kind may run for operations of this thread's
// rings that would block: bounded for files and block devices, unbounded for the rest; 0 leaves a
// limit as it is. It returns the limits from before.
func (r *Ring) LimitWorkers(bounded, unbounded uint32) (wasBounded, wasUnbounded uint32,
	err error,
) {
	val := argument[[2]uint32](r)
	*val = [2]uint32{bounded, unbounded}
	_, err = r.register("worker limits", giouring.RegisterIOWQMaxWorkers, unsafe.Pointer(val), 2)
	return val[0], val[1], err
}

// registerRing registers the ring's descriptor with this thread, which spares a lookup per call.
func (r *Ring) registerRing() error {
	up := argument[giouring.RsrcUpdate](r)
	*up = giouring.RsrcUpdate{Offset: registerRingAny, Data: uint64(r.fd)}
	n, err := r.register("ring descriptor", giouring.RegisterRingFDs, unsafe.Pointer(up), 1)
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("register io_uring ring descriptor: %d registered", n)
	}
	r.enterFd, r.enterFlags = uintptr(up.Offset), uintptr(giouring.EnterRegisteredRing)
	return nil
}

// unregisterRing undoes registerRing; a thread has 16 places only.
func (r *Ring) unregisterRing() error {
	up := argument[giouring.RsrcUpdate](r)
	*up = giouring.RsrcUpdate{Offset: uint32(r.enterFd)}
	n, err := r.register("no ring descriptor", giouring.UnregisterRingFDs, unsafe.Pointer(up), 1)
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("register io_uring no ring descriptor: %d unregistered", n)
	}
	r.enterFd, r.enterFlags = uintptr(r.fd), 0
	return nil
}
