package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// indexModel does what an index does, with a map and slices.
type indexModel struct {
	blocks map[uint64]dirty
	order  [][]uint64 // keys by segment, in the order of insertion
}

const (
	testSegments = 7
	testSegSize  = 50
)

func (m *indexModel) remove(k uint64) (dirty, bool) {
	d, ok := m.blocks[k]
	if ok {
		s := &m.order[d.loc/testSegSize]
		*s = slices.DeleteFunc(*s, func(o uint64) bool { return o == k })
		delete(m.blocks, k)
	}
	return d, ok
}

func (m *indexModel) put(k uint64, d dirty) (dirty, bool) {
	old, had := m.remove(k)
	m.blocks[k] = d
	m.order[d.loc/testSegSize] = append(m.order[d.loc/testSegSize], k)
	return old, had
}

func (m *indexModel) removeRange(node uint32, from, to uint64) (removed, data int) {
	for b := from; b < to; b++ {
		if d, ok := m.remove(indexKey(node, b)); ok {
			removed++
			data += d.hasData()
		}
	}
	return removed, data
}

func (m *indexModel) live(node uint32) (n uint64) {
	for k := range m.blocks {
		if uint32(k>>blockBits) == node {
			n++
		}
	}
	return n
}

// compare checks everything that x says about its content.
func (m *indexModel) compare(t *testing.T, x *index) {
	t.Helper()
	if x.len() != len(m.blocks) || x.len()+x.free() != len(x.entries)-1 {
		t.Fatalf("len %d, free %d, want %d blocks", x.len(), x.free(), len(m.blocks))
	}
	for seg, want := range m.order {
		if x.segCount(seg) != len(want) {
			t.Fatalf("segment %d: count %d, want %d", seg, x.segCount(seg), len(want))
		}
		e := x.segHead(seg)
		for _, k := range want {
			node, block, d := x.entry(e)
			if indexKey(node, block) != k || d != m.blocks[k] {
				t.Fatalf("segment %d: node %d, block %d, %+v; want key %#x, %+v",
					seg, node, block, d, k, m.blocks[k])
			}
			if got, ok := x.get(node, node, block); !ok || got != d {
				t.Fatalf("node %d, block %d: got %+v, %v", node, block, got, ok)
			}
			e = x.segNext(e)
		}
		if e != noEntry {
			t.Fatalf("segment %d: the list goes on", seg)
		}
	}
}

// TestIndexModel does random operations on an index and a model of it, on few blocks so that all
// of them meet.
func TestIndexModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runIndexModel(t, seed, 30_000) })
	}
}

func runIndexModel(t *testing.T, seed uint64, ops int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := newIndex(100, testSegments, testSegSize)
	m := &indexModel{blocks: map[uint64]dirty{}, order: make([][]uint64, testSegments)}
	nodes := []uint32{1, 2, MaxNode}
	bases := []uint64{0, 1<<blockBits - 40}
	for i := range ops {
		node, base := nodes[rng.IntN(3)], bases[rng.IntN(2)]
		block := base + rng.Uint64N(40)
		k := indexKey(node, block)
		d := dirty{rng.Uint32N(testSegments * testSegSize), rng.Uint32(), uint8(rng.IntN(3))}
		var got, want string
		switch op := rng.IntN(10); {
		case op < 5:
			if _, had := m.blocks[k]; !had && x.free() == 0 {
				continue
			}
			a, b := x.put(node, node, block, d.crc, d.loc, d.flags)
			c, e := m.put(k, d)
			got, want = fmt.Sprint(a, b), fmt.Sprint(c, e)
		case op < 7:
			if old, ok := m.blocks[k]; ok && op == 5 {
				d.loc = old.loc
			}
			same := m.blocks[k].loc == d.loc
			if same {
				_, same = m.remove(k)
			}
			got, want = fmt.Sprint(x.removeIf(node, node, block, d.loc)), fmt.Sprint(same)
		case op < 9:
			a, b := x.remove(node, node, block)
			c, e := m.remove(k)
			got, want = fmt.Sprint(a, b), fmt.Sprint(c, e)
		default:
			to := block + rng.Uint64N(base+40-block+1)
			if rng.IntN(4) == 0 {
				to = min(block+1<<20, 1<<blockBits)
			}
			a, b := x.removeRange(node, node, block, to, m.live(node))
			c, e := m.removeRange(node, block, min(to, base+40))
			got, want = fmt.Sprint(a, b), fmt.Sprint(c, e)
		}
		if got != want {
			t.Fatalf("operation %d: got %s, want %s", i, got, want)
		}
		if i%100 == 0 {
			m.compare(t, x)
		}
	}
	m.compare(t, x)
}

// TestIndexRemoveRangeBothWays removes the same range by looking up blocks and by going through
// all entries.
func TestIndexRemoveRangeBothWays(t *testing.T) {
	for _, entries := range []int{100, 100_000} { // the second: lookups are less work
		x := newIndex(entries+2, 1, 1<<20)
		for b := range uint64(entries) {
			x.put(5, 5, 2*b, 0, uint32(b), uint8(b%3))
		}
		x.put(4, 4, 100, 0, 0, 0)
		x.put(6, 6, 100, 0, 0, 0)
		if removed, data := x.removeRange(5, 5, 50, 150, uint64(entries)); removed != 50 || data != 16 {
			t.Errorf("%d entries: removed %d, with data %d", entries, removed, data)
		}
		if x.len() != entries+2-50 {
			t.Errorf("%d entries: %d are left", entries, x.len())
		}
		for _, b := range []uint64{48, 150} {
			if _, ok := x.get(5, 5, b); !ok {
				t.Errorf("%d entries: block %d is gone", entries, b)
			}
		}
	}
}

func TestIndexFull(t *testing.T) {
	x := newIndex(3, 1, 10)
	for b := range uint64(3) {
		x.put(1, 1, b, 0, 0, 0)
	}
	x.put(1, 1, 2, 0, 1, 0) // a block that is there needs no room
	x.remove(1, 1, 1)
	x.put(1, 1, 9, 0, 0, 0)
	defer func() {
		if recover() == nil {
			t.Error("a fourth block of three was accepted")
		}
	}()
	x.put(1, 1, 10, 0, 0, 0)
}

func TestIndexEntrySize(t *testing.T) {
	if n := unsafe.Sizeof(indexEntry{}); n != 32 {
		t.Errorf("an entry takes %d bytes", n)
	}
}

// TestIndexStrides puts blocks at the distances guests like: chains stay short.
func TestIndexStrides(t *testing.T) {
	const n = 1 << 16
	for bit := range uint(blockBits - 16 + 1) {
		x := newIndex(n, 1, 1<<20)
		for i := range uint64(n) {
			x.put(uint32(i%3+1), uint32(i%3+1), i<<bit, 0, 0, 0)
		}
		longest := 0
		for _, e := range x.buckets {
			k := 0
			for ; e != noEntry; e = x.entries[e].chain {
				k++
			}
			longest = max(longest, k)
		}
		if longest > 16 {
			t.Errorf("stride 1<<%d: a chain of %d entries", bit, longest)
		}
	}
}

func TestIndexDoesNotAllocate(t *testing.T) {
	x := newIndex(1000, 4, 100)
	b := uint64(0)
	n := testing.AllocsPerRun(1000, func() {
		b++
		x.put(1, 1, b%500, 7, uint32(b%400), 0)
		x.put(1, 1, b%500, 7, uint32(b%300), 0)
		x.get(1, 1, b%500)
		x.removeIf(1, 1, b%500-1, 3)
		x.removeRange(1, 1, b%500-20, b%500-10, 500)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

const benchEntries = 1 << 20

// benchIndex returns a full index of random blocks, and their numbers.
func benchIndex(b *testing.B) (*index, []uint64) {
	rng := rand.New(rand.NewPCG(1, 1))
	x := newIndex(benchEntries, 256, 4096)
	blocks := make([]uint64, benchEntries)
	for i := range blocks {
		blocks[i] = rng.Uint64N(1 << 28)
		x.put(1, 1, blocks[i], 0, uint32(i), 0)
	}
	size := len(x.entries)*int(unsafe.Sizeof(indexEntry{})) + 4*len(x.buckets)
	b.ReportMetric(float64(size)/benchEntries, "bytes/entry")
	b.ResetTimer()
	return x, blocks
}

func BenchmarkIndexGet(b *testing.B) {
	x, blocks := benchIndex(b)
	for i := range b.N {
		if _, ok := x.get(1, 1, blocks[i*7919%benchEntries]); !ok {
			b.Fatal("a block is missing")
		}
	}
}

func BenchmarkIndexGetMissing(b *testing.B) {
	x, blocks := benchIndex(b)
	for i := range b.N {
		if _, ok := x.get(2, 2, blocks[i*7919%benchEntries]); ok {
			b.Fatal("a block too many")
		}
	}
}

func BenchmarkIndexPut(b *testing.B) {
	x, blocks := benchIndex(b)
	for i := range b.N {
		x.put(1, 1, blocks[i*7919%benchEntries], 1, uint32(i%benchEntries), 0)
	}
}

// BenchmarkIndexInsertRemove is a block's whole life.
func BenchmarkIndexInsertRemove(b *testing.B) {
	x, blocks := benchIndex(b)
	for i := range b.N {
		j := i * 7919 % benchEntries
		if d, ok := x.remove(1, 1, blocks[j]); ok {
			x.put(1, 1, blocks[j], 1, d.loc, 0)
		}
	}
}

func BenchmarkIndexRemoveRangeScan(b *testing.B) {
	x, _ := benchIndex(b)
	for range b.N {
		x.removeRange(2, 2, 0, 1<<blockBits, 1)
	}
}

// TestIndexVersions: of the versions of a block that the nodes of a line have, the newest up to a
// given node is found, in whatever order others are put and removed.
func TestIndexVersions(t *testing.T) {
	const line, blocks, nodes = 9, 8, 40
	rng := rand.New(rand.NewPCG(3, 3))
	x := newIndex(blocks*nodes+8, testSegments, testSegSize)
	var has [nodes + 1][blocks]bool
	for head := uint32(1); head <= nodes; head++ {
		for range blocks {
			b := rng.Uint64N(blocks)
			x.put(line, head, b, head, rng.Uint32N(testSegments*testSegSize), 0)
			has[head][b] = true
			x.put(line+1, head, b, 0, 0, 0) // another line
			old, gone := 1+rng.Uint32N(head), rng.Uint64N(blocks)
			if _, had := x.remove(line, old, gone); had != has[old][gone] {
				t.Fatalf("node %d, block %d: removed %v, want %v", old, gone, had, has[old][gone])
			}
			has[old][gone] = false
			x.remove(line+1, head, b)
		}
		for b := range uint64(blocks) {
			for upto := uint32(0); upto <= nodes; upto++ {
				want := min(upto, head)
				for want > 0 && !has[want][b] {
					want--
				}
				if d, got := x.newest(line, upto, b); got != want || got > 0 && d.crc != want {
					t.Fatalf("block %d up to node %d: node %d, %+v; want %d", b, upto, got, d, want)
				}
			}
		}
	}
}
