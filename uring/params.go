package uring

import (
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

// params is struct io_uring_params (linux/io_uring.h, unchanged from 5.1 to 7.3). giouring's type
// has the same layout but hides its fields, and with them the size of the completion queue, the
// flags the kernel granted and the offsets into the ring's memory.
type params struct {
	sqEntries    uint32
	cqEntries    uint32
	flags        uint32
	sqThreadCPU  uint32
	sqThreadIdle uint32
	features     uint32
	wqFd         uint32
	resv         [3]uint32
	sqOff        sqOffsets
	cqOff        cqOffsets
}

// sqOffsets is struct io_sqring_offsets: bytes from the start of the ring's mapping.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

// The two types must stay interchangeable; either line fails to compile when they are not.
const (
	_ = uint(unsafe.Sizeof(params{}) - unsafe.Sizeof(giouring.Params{}))
	_ = uint(unsafe.Sizeof(giouring.Params{}) - unsafe.Sizeof(params{}))
	_ = uint(unsafe.Sizeof(params{}) - 120)
)

func (p *params) giouring() *giouring.Params { return (*giouring.Params)(unsafe.Pointer(p)) }
