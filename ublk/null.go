package ublk

import (
	"fmt"

	"unblend/uring"
)

// Null is a target that forgets what is written and reads as zeros. It measures the path to a
// server and back: with Copy, the bytes of writes are fetched as a real target would.
type Null struct {
	Size int64 // bytes
	Copy bool

	zeros *uring.Arena
}

// NewNull makes a null target of size bytes.
func NewNull(size int64) (*Null, error) {
	z, err := uring.NewArena(PoolMaxRun)
	if err != nil {
		return nil, fmt.Errorf("null target: %w", err)
	}
	return &Null{Size: size, zeros: z}, nil
}

// Close frees the zeros; the server must have been stopped.
func (n *Null) Close() error { return n.zeros.Free() }

// Params implements Target.
func (n *Null) Params() Params {
	return Params{
		Size: n.Size, DiscardGranularity: 4096, MaxDiscard: 1 << 30, MaxWriteZeroes: 1 << 30,
	}
}

// Begin implements Target.
func (n *Null) Begin(r *Request) {
	var err error
	switch {
	case r.Op == Read:
		err = r.CopyOut(n.zeros.Bytes()[:r.Len])
	case r.Op == Write && n.Copy:
		err = r.CopyIn()
	}
	if err != nil {
		r.Done(Errno(err))
		return
	}
	r.Done(moved(r))
}

// Resume implements Target; a null target submits nothing.
func (n *Null) Resume(r *Request, res int32) {
	panic(fmt.Sprintf("ublk: null target got result %d for %v", res, r.IO))
}

// moved is the answer of a request that was carried out whole.
func moved(r *Request) int32 {
	if r.Op == Read || r.Op == Write {
		return int32(r.Len)
	}
	return 0
}
