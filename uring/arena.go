package uring

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Arena is anonymous memory outside of Go's heap: the garbage collector neither scans nor moves it,
// so its addresses may be given to the kernel. It is page-aligned, resident and zero at first.
// Buffers cut from it are valid until Free.
type Arena struct {
	mem  []byte
	used int
}

// NewArena maps an arena of at least size bytes, rounded up to whole pages.
func NewArena(size int) (*Arena, error) {
	page := unix.Getpagesize()
	size = (size + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map arena of %d bytes: %w", size, err)
	}
	return &Arena{mem: mem}, nil
}

// Bytes returns all of the arena.
func (a *Arena) Bytes() []byte { return a.mem }

// Alloc cuts the next n bytes off, aligned to align (a power of two). There is no way to give them
// back one by one: an arena is filled once, at setup. It panics when the arena is too small, which
// is an error of the caller's arithmetic.
func (a *Arena) Alloc(n, align int) []byte {
	start := (a.used + align - 1) &^ (align - 1)
	if start+n > len(a.mem) {
		panic(fmt.Sprintf("uring: no room for %d bytes at %d of %d", n, start, len(a.mem)))
	}
	a.used = start + n
	return a.mem[start : start+n : start+n]
}

// Free unmaps the arena. Nothing cut from it may be under way in the kernel or used again.
func (a *Arena) Free() error {
	mem := a.mem
	a.mem, a.used = nil, 0
	if mem == nil {
		return nil
	}
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("unmap arena: %w", err)
	}
	return nil
}

// place cuts a zeroed T off the arena. T must hold no Go pointers.
func place[T any](a *Arena) *T {
	var z T
	b := a.Alloc(int(unsafe.Sizeof(z)), int(unsafe.Alignof(z)))
	return (*T)(unsafe.Pointer(unsafe.SliceData(b)))
}

var (
	never      bool // is never set; the compiler does not know
	escapeSink atomic.Pointer[byte]
)

// address returns where b starts. It makes b escape, so that a small buffer of the caller's is
// never on a stack, which moves when it grows. An empty b has address 0.
func address(b []byte) uint64 {
	p := unsafe.SliceData(b)
	if never {
		escapeSink.Store(p)
	}
	if len(b) == 0 {
		return 0
	}
	return uint64(uintptr(unsafe.Pointer(p)))
}
