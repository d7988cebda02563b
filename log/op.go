package log

import (
	"fmt"
	"syscall"
)

// BlockSize is the unit of mapping, of checksums and of every device operation, in bytes.
const BlockSize = 4096

// Dev names one of a pool's devices.
type Dev uint8

// The devices of a pool. A pool on one device uses both names for it, with disjoint ranges.
const (
	Fast     Dev = iota // superblocks, log, first copy of the metadata
	Capacity            // data, second copy of the metadata
	Devs                // how many there are
)

func (d Dev) String() string { return [...]string{"fast", "capacity"}[d] }

// Kind is what a device operation does.
type Kind uint8

// The kinds of device operation.
const (
	Read Kind = iota
	Write
	Flush
)

func (k Kind) String() string { return [...]string{"read", "write", "flush"}[k] }

// Token identifies a device operation under way: slot index in the low 32 bits, the slot's
// generation above, so that a late or repeated completion is told from the present one.
type Token uint64

// Owner is told when a device operation it submitted has ended.
type Owner interface {
	// OpDone gets the operation and its outcome. The operation's slot is free again, and may
	// be reused by any NewOp, once OpDone returns.
	OpDone(op *Op, err error)
}

// Op is one device operation. The engine fills it, a driver (the shard loop, or a simulated disk)
// performs it; it and its buffers stay valid and unchanged until the driver calls Ops.Complete.
type Op struct {
	Token Token
	Dev   Dev
	Kind  Kind
	FUA   bool     // a write that is durable when it completes (RWF_DSYNC)
	Off   int64    // bytes from the start of the device, a multiple of BlockSize
	Bufs  [][]byte // each a multiple of BlockSize long and aligned to it; empty for a flush

	Owner Owner
	Arg   uint64 // for the owner
	Ref   any    // for the owner; holds a pointer
	Sums  bool   // of a read: the owner will ask for the checksums of its blocks
	busy  bool
	again bool
	sums  []uint32 // CRC-32C of its blocks, if Sum has computed them
}

// Sum computes the checksums of all blocks of a read with Sums that has ended well, ahead of Complete: a
// driver that shares the engine with others holds it for less time then.
func (op *Op) Sum() {
	op.sums = op.sums[:0]
	for _, b := range op.Bufs {
		for ; len(b) > 0; b = b[BlockSize:] {
			op.sums = append(op.sums, Checksum(b[:BlockSize]))
		}
	}
}

// BlockSum returns the CRC-32C of the i-th block of an operation, which is b.
func (op *Op) BlockSum(i int, b []byte) uint32 {
	if i < len(op.sums) {
		return op.sums[i]
	}
	return Checksum(b)
}

// Len returns the operation's length in bytes.
func (op *Op) Len() int64 {
	var n int64
	for _, b := range op.Bufs {
		n += int64(len(b))
	}
	return n
}

func (op *Op) String() string {
	fua := ""
	if op.FUA {
		fua = " FUA"
	}
	return fmt.Sprintf("%s %s%s off=%d len=%d", op.Dev, op.Kind, fua, op.Off, op.Len())
}

// Ops is the bounded table of the device operations of one engine. NewOp takes a slot, Submit
// queues it for the driver, Next hands it to the driver, Complete gives the outcome to its owner.
// Nothing allocates once the buffers' slices have grown to their working size.
type Ops struct {
	slots []Op
	free  []uint32
	queue []uint32 // ring of submitted slots, in submission order
	head  int
	n     int
	busy  int
}

// NewOps returns a table of size slots.
func NewOps(size int) *Ops {
	o := &Ops{slots: make([]Op, size), queue: make([]uint32, size)}
	for i := size - 1; i >= 0; i-- {
		o.slots[i].Token = Token(i)
		o.free = append(o.free, uint32(i))
	}
	return o
}

// Free returns how many operations may still be taken.
func (o *Ops) Free() int { return len(o.free) }

// Busy returns how many operations are under way: taken and not completed.
func (o *Ops) Busy() int { return o.busy }

// NewOp takes a slot, or returns nil when all are under way.
func (o *Ops) NewOp(owner Owner, dev Dev, kind Kind, off int64) *Op {
	if len(o.free) == 0 {
		return nil
	}
	i := o.free[len(o.free)-1]
	o.free = o.free[:len(o.free)-1]
	op := &o.slots[i]
	op.Dev, op.Kind, op.Off, op.Owner = dev, kind, off, owner
	op.FUA, op.Bufs, op.Arg, op.Ref, op.busy = false, op.Bufs[:0], 0, nil, true
	op.Sums, op.sums = false, op.sums[:0]
	o.busy++
	return op
}

// Submit queues a taken operation for the driver.
func (o *Ops) Submit(op *Op) {
	o.queue[(o.head+o.n)%len(o.queue)] = uint32(op.Token)
	o.n++
}

// Again submits op once more from within its OpDone, in the slot it has: a retry never lacks one.
// The owner may change the device, the offset and the buffers first.
func (o *Ops) Again(op *Op) { op.again = true }

// Next returns the next operation for the driver to perform, or nil.
func (o *Ops) Next() *Op {
	if o.n == 0 {
		return nil
	}
	op := &o.slots[o.queue[o.head]]
	o.head = (o.head + 1) % len(o.queue)
	o.n--
	return op
}

// Complete ends the operation that t names. res is the number of bytes moved or a negative errno,
// as io_uring reports it; a short transfer is an I/O error. An unknown token panics: the driver
// completed an operation twice.
func (o *Ops) Complete(t Token, res int32) {
	i := uint32(t)
	op := &o.slots[i]
	if !op.busy || op.Token != t {
		panic(fmt.Sprintf("log: completion of unknown operation %#x", uint64(t)))
	}
	var err error
	switch {
	case res < 0:
		err = syscall.Errno(-res)
	case op.Kind != Flush && int64(res) != op.Len():
		err = syscall.EIO
	}
	op.Token += 1 << 32
	op.Owner.OpDone(op, err)
	if op.again {
		op.again, op.sums = false, op.sums[:0]
		o.Submit(op)
		return
	}
	op.busy, op.Owner, op.Ref = false, nil, nil
	o.free = append(o.free, i)
	o.busy--
}
