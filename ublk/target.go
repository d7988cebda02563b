package ublk

import (
	"syscall"
	"time"

	"unblend/uring"
)

// Target is what a device served by Serve holds. Its methods are called on the server's thread
// alone and must not block.
type Target interface {
	// Params describe the disk.
	Params() Params
	// Begin starts a request. The target calls Done on it, at once or in Resume.
	Begin(r *Request)
	// Resume continues a request with the result of the operation that the target submitted on
	// the ring with the request's UserData; a request has one such operation under way at most.
	Resume(r *Request, res int32)
}

// Timed is a Target that has things to do at times of its own, not only when the ring brings something.
type Timed interface {
	Target
	// Tick does what is due and returns how long the server may wait for the ring until it is called
	// again; negative: for as long as nothing comes. It is called before each wait.
	Tick() time.Duration
}

// Request is a request that a Target serves, from Begin until Done.
type Request struct {
	IO
	Buf  []byte // memory for a read or write: Len bytes, aligned to 4096; else nil
	Step int    // the target's, 0 at Begin

	server *Server
}

// opData marks operations of targets in user_data; the queue has queueData.
const (
	queueData = 1 << 16
	opData    = 2 << 16
)

// Ring returns the ring on which the target submits its operations.
func (r *Request) Ring() *uring.Ring { return r.server.ring }

// UserData is for the operation that Resume is to be called for.
func (r *Request) UserData() uint64 { return opData | uint64(r.Tag) }

// CopyIn fills Buf with what is to be written.
func (r *Request) CopyIn() error { return r.server.queue.CopyIn(r.Tag, 0, r.Buf) }

// CopyOut gives b to the reader as the request's first bytes.
func (r *Request) CopyOut(b []byte) error { return r.server.queue.CopyOut(r.Tag, 0, b) }

// Done answers the request; res as for Queue.Commit.
func (r *Request) Done(res int32) { r.server.done(r, res) }

// Errno returns what a request is answered with for err: its errno, or EIO.
func Errno(err error) int32 {
	if errno, ok := err.(syscall.Errno); ok {
		return -int32(errno)
	}
	return -int32(syscall.EIO)
}
