package ublk

import (
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func newPool(t testing.TB, size int) *Pool {
	t.Helper()
	p, err := NewPool(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// blockOf returns the index of b's first block.
func blockOf(p *Pool, b []byte) int {
	return int(uintptr(unsafe.Pointer(&b[0]))-uintptr(unsafe.Pointer(&p.mem[0]))) / PoolBlock
}

// The model is a bitmap of used blocks. An Alloc may fail only when the bitmap has no free aligned
// power of two of blocks that is large enough.
func TestPoolAgainstBitmap(t *testing.T) {
	p := newPool(t, 4<<20)
	rapid.Check(t, func(t *rapid.T) {
		used := make([]bool, p.Size()/PoolBlock)
		var held [][]byte
		alloc := func(t *rapid.T) {
			n := rapid.OneOf(rapid.IntRange(1, 3*PoolBlock), rapid.IntRange(1, PoolMaxRun)).
				Draw(t, "bytes")
			b := p.Alloc(n)
			blocks := (n + PoolBlock - 1) / PoolBlock
			if b == nil {
				if at := fit(used, blocks); at >= 0 {
					t.Fatalf("no %d blocks, but %d is free", blocks, at)
				}
				return
			}
			i := blockOf(p, b)
			if len(b) != n || cap(b) != blocks*PoolBlock ||
				uintptr(unsafe.Pointer(&b[0]))%PoolBlock != 0 {
				t.Fatalf("length %d, capacity %d, at %p for %d bytes", len(b), cap(b), &b[0], n)
			}
			mark(t, used[i:i+blocks], true)
			held = append(held, b)
		}
		t.Repeat(map[string]func(*rapid.T){
			"alloc": alloc,
			"again": alloc,
			"free": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip("nothing to free")
				}
				k := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				i := blockOf(p, held[k])
				mark(t, used[i:i+cap(held[k])/PoolBlock], false)
				p.Free(held[k][:1])
				held[k] = held[len(held)-1]
				held = held[:len(held)-1]
			},
			"": func(t *rapid.T) {
				free := 0
				for _, u := range used {
					if !u {
						free += PoolBlock
					}
				}
				if p.Available() != free {
					t.Fatalf("%d bytes available, want %d", p.Available(), free)
				}
			},
		})
		for _, b := range held {
			p.Free(b)
		}
		if p.some != 1<<(poolOrders-1) || p.Available() != p.Size() {
			t.Fatalf("after everything was freed: orders %b, %d bytes", p.some, p.Available())
		}
	})
}

// mark sets blocks that must all be the other way.
func mark(t *rapid.T, used []bool, to bool) {
	for i := range used {
		if used[i] == to {
			t.Fatalf("block %d of the run is %v already", i, to)
		}
		used[i] = to
	}
}

// fit returns where blocks fit by the buddy rule, or -1.
func fit(used []bool, blocks int) int {
	size := 1
	for size < blocks {
		size *= 2
	}
next:
	for at := 0; at < len(used); at += size {
		for _, u := range used[at : at+size] {
			if u {
				continue next
			}
		}
		return at
	}
	return -1
}

func TestPoolRunsAreWrittenWithoutTouchingOthers(t *testing.T) {
	p := newPool(t, 2<<20)
	sizes := []int{1, 4096, 4097, 12 << 10, 100 << 10, 132 << 10, 512 << 10, 1 << 20}
	var runs [][]byte
	for i, n := range sizes {
		b := p.Alloc(n)
		if b == nil {
			break // 2 MiB are not enough for the last
		}
		for j := range b[:cap(b)] {
			b[:cap(b)][j] = byte(i + 1)
		}
		runs = append(runs, b)
	}
	if len(runs) < 7 {
		t.Fatalf("%d runs fit into 2 MiB, want 7", len(runs))
	}
	for i, b := range runs {
		for j, c := range b[:cap(b)] {
			if c != byte(i+1) {
				t.Fatalf("byte %d of run %d was overwritten by run %d", j, i, c-1)
			}
		}
		p.Free(b)
	}
}

func TestPoolRefusesWhatItDidNotHandOut(t *testing.T) {
	p := newPool(t, 1<<20)
	b := p.Alloc(3 * PoolBlock)
	for name, f := range map[string]func(){
		"twice":       func() { p.Free(b); p.Free(b) },
		"inside":      func() { p.Free(b[PoolBlock:]) },
		"foreign":     func() { p.Free(make([]byte, PoolBlock)) },
		"too large":   func() { p.Alloc(PoolMaxRun + 1) },
		"nothing":     func() { p.Alloc(0) },
		"not aligned": func() { p.Free(p.Alloc(PoolBlock)[100:]) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			f()
		}()
	}
}

func TestPoolDoesNotAllocate(t *testing.T) {
	p := newPool(t, DefaultPoolSize)
	var held [8][]byte
	if n := testing.AllocsPerRun(1000, func() {
		for i := range held {
			held[i] = p.Alloc(4096 << (i % 5))
		}
		for _, b := range held {
			p.Free(b)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPool4K(b *testing.B) {
	p := newPool(b, DefaultPoolSize)
	var held [32][]byte
	for i := 0; i < b.N; i += len(held) {
		for j := range held {
			held[j] = p.Alloc(4096)
		}
		for _, r := range held {
			p.Free(r)
		}
	}
}
