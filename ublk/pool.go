package ublk

import (
	"fmt"
	"math/bits"
	"unsafe"

	"unblend/uring"
)

const (
	// PoolBlock is the unit of the pool, and the alignment of what it hands out, in bytes.
	PoolBlock = 4096
	// PoolMaxRun is the largest piece the pool hands out, in bytes.
	PoolMaxRun = 1 << 20
	// DefaultPoolSize is the memory of one thread's requests, in bytes.
	DefaultPoolSize = 16 << 20

	poolOrders = 9 // pieces of 1, 2, 4 .. 256 blocks
	noBlock    = -1
)

// Pool is the memory that the requests under way on one thread share: one arena, cut into runs of
// whole blocks. It is a buddy allocator whose runs have any length: what a run does not need of
// its power of two stays free. Alloc and Free take a few steps whatever the size and never
// allocate. When nothing fits, who waits for what is the caller's business.
type Pool struct {
	arena *uring.Arena
	mem   []byte

	heads [poolOrders]int32 // first free piece of each order
	some  uint32            // bit k: heads[k] is not empty
	next  []int32           // by first block: links of the free lists
	prev  []int32
	order []int8   // by block: order of the free piece that begins there, or -1
	runs  []uint16 // by block: length of the run that begins there, or 0
	free  int      // blocks
}

// NewPool makes a pool of size bytes, rounded up to whole MiB.
func NewPool(size int) (*Pool, error) {
	size = (size + PoolMaxRun - 1) / PoolMaxRun * PoolMaxRun
	arena, err := uring.NewArena(size)
	if err != nil {
		return nil, fmt.Errorf("request memory: %w", err)
	}
	n := size / PoolBlock
	p := &Pool{
		arena: arena, mem: arena.Bytes()[:size:size],
		next: make([]int32, n), prev: make([]int32, n),
		order: make([]int8, n), runs: make([]uint16, n),
	}
	for k := range p.heads {
		p.heads[k] = noBlock
	}
	for i := range p.order {
		p.order[i] = noBlock
	}
	const top = poolOrders - 1
	for i := n - 1<<top; i >= 0; i -= 1 << top {
		p.push(i, top)
	}
	p.free = n
	return p, nil
}

// Close unmaps the memory.
func (p *Pool) Close() error { return p.arena.Free() }

// Bytes returns all of the memory, to be registered with a ring.
func (p *Pool) Bytes() []byte { return p.mem }

// Size returns the pool's size in bytes, Available how many of them are free.
func (p *Pool) Size() int { return len(p.mem) }

// Available returns how many bytes are free. A run may not fit all the same.
func (p *Pool) Available() int { return p.free * PoolBlock }

// Alloc returns n bytes, 0 < n <= PoolMaxRun, that begin on a block and own it whole to the end of
// their capacity; or nil when there is no room. Their contents are whatever was there.
func (p *Pool) Alloc(n int) []byte {
	if n <= 0 || n > PoolMaxRun {
		panic(fmt.Sprintf("ublk: %d bytes of request memory asked for", n))
	}
	count := (n + PoolBlock - 1) / PoolBlock
	want := bits.Len(uint(count - 1))
	fits := p.some >> want << want
	if fits == 0 {
		return nil
	}
	k := bits.TrailingZeros32(fits)
	i := int(p.heads[k])
	p.remove(i, k)
	for ; k > want; k-- { // give back upper halves
		p.push(i+1<<(k-1), k-1)
	}
	for off := count; off < 1<<want; { // and the tail that is not needed
		o := bits.TrailingZeros(uint(off))
		p.push(i+off, o)
		off += 1 << o
	}
	p.runs[i] = uint16(count)
	p.free -= count
	start := i * PoolBlock
	return p.mem[start : start+n : start+count*PoolBlock]
}

// Free takes back what Alloc returned: b must begin where that began, at whatever length.
func (p *Pool) Free(b []byte) {
	off := uintptr(unsafe.Pointer(unsafe.SliceData(b))) -
		uintptr(unsafe.Pointer(unsafe.SliceData(p.mem)))
	i := int(off / PoolBlock)
	if off >= uintptr(len(p.mem)) || off%PoolBlock != 0 || p.runs[i] == 0 {
		panic(fmt.Sprintf("ublk: request memory at offset %#x freed that was not allocated", off))
	}
	left := int(p.runs[i])
	p.runs[i] = 0
	p.free += left
	for left > 0 {
		k := min(bits.TrailingZeros(uint(i|1<<(poolOrders-1))), bits.Len(uint(left))-1)
		p.release(i, k)
		i += 1 << k
		left -= 1 << k
	}
}

// release makes a piece free, joined with its buddy as long as that is free too.
func (p *Pool) release(i, k int) {
	for k < poolOrders-1 {
		buddy := i ^ 1<<k
		if int(p.order[buddy]) != k {
			break
		}
		p.remove(buddy, k)
		i &^= 1 << k
		k++
	}
	p.push(i, k)
}

// push puts a free piece in front of the list of its order.
func (p *Pool) push(i, k int) {
	head := p.heads[k]
	p.next[i], p.prev[i], p.order[i] = head, noBlock, int8(k)
	if head != noBlock {
		p.prev[head] = int32(i)
	}
	p.heads[k] = int32(i)
	p.some |= 1 << k
}

// remove takes a free piece out of its list.
func (p *Pool) remove(i, k int) {
	next, prev := p.next[i], p.prev[i]
	if prev != noBlock {
		p.next[prev] = next
	} else if p.heads[k] = next; next == noBlock {
		p.some &^= 1 << k
	}
	if next != noBlock {
		p.prev[next] = prev
	}
	p.order[i] = noBlock
}
