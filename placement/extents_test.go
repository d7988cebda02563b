package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// extentModel says for every block of a few nodes whether it is zeroed; the extents that should be
// there are its runs. seqs holds the lowest number of each run's past, kept by run.
type extentModel struct {
	blocks [3][64]bool
	seqs   [3][64]uint64 // of the block's run
}

func (m *extentModel) list() (l []extent) {
	for node := range m.blocks {
		for b := uint64(0); b < 64; b++ {
			if !m.blocks[node][b] {
				continue
			}
			if n := len(l); b > 0 && m.blocks[node][b-1] {
				l[n-1].end++
			} else {
				l = append(l, extent{uint32(node), b, b + 1, m.seqs[node][b]})
			}
		}
	}
	return l
}

// add sets the blocks, and gives the whole run around them its lowest number.
func (m *extentModel) add(node uint32, start, end, seq uint64) {
	in, seqs := &m.blocks[node], &m.seqs[node]
	for b := start; b < end; b++ {
		if !in[b] {
			in[b], seqs[b] = true, seq
		}
	}
	for start > 0 && in[start-1] {
		start--
	}
	for end < 64 && in[end] {
		end++
	}
	for b := start; b < end; b++ {
		seq = min(seq, seqs[b])
	}
	for b := start; b < end; b++ {
		seqs[b] = seq
	}
}

// applied clears the blocks up to upto of the run that begins at start.
func (m *extentModel) applied(node uint32, start, upto uint64) {
	if start > 0 && m.blocks[node][start-1] {
		return
	}
	for b := start; b < upto && b < 64 && m.blocks[node][b]; b++ {
		m.blocks[node][b] = false
	}
}

func (m *extentModel) compare(t *testing.T, x *extents) {
	t.Helper()
	want := m.list()
	if !slices.Equal(x.list, want) {
		t.Fatalf("got %v, want %v", x.list, want)
	}
	lowest := ^uint64(0)
	for _, e := range want {
		lowest = min(lowest, e.seq)
	}
	if x.len() != len(want) || x.minSeq() != lowest {
		t.Fatalf("len %d, lowest number %d, want %d, %d", x.len(), x.minSeq(), len(want), lowest)
	}
}

// TestExtentsModel does random operations on extents and a model of them.
func TestExtentsModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runExtentsModel(t, seed, 30_000) })
	}
}

func runExtentsModel(t *testing.T, seed uint64, ops int) {
	rng := rand.New(rand.NewPCG(seed, 2))
	x, m := newExtents(3*32), &extentModel{}
	for i := range ops {
		node := rng.Uint32N(3)
		from := rng.Uint64N(64)
		to := from + 1 + rng.Uint64N(min(64-from, 1+rng.Uint64N(16)))
		seq := uint64(i) + rng.Uint64N(100)
		switch op := rng.IntN(20); {
		case op < 8:
			x.add(node, from, to, seq)
			m.add(node, from, to, seq)
		case op < 12:
			x.applied(node, from, to)
			if m.blocks[node][from] {
				m.applied(node, from, to)
			}
		case op < 15:
			e, ok := firstUpTo(x, seq-50)
			l := slices.DeleteFunc(m.list(), func(e extent) bool { return e.seq > seq-50 })
			if ok != (len(l) > 0) || ok && e != l[0] {
				t.Fatalf("first up to %d: %v, %v, want of %v", seq-50, e, ok, l)
			}
			if ok {
				x.applied(e.node, e.start, e.end)
				m.applied(e.node, e.start, e.end)
			}
		case op < 19:
			if got, want := x.overlaps(node, from, to),
				slices.Contains(m.blocks[node][from:to], true); got != want {
				t.Fatalf("node %d, [%d, %d): overlaps %v", node, from, to, got)
			}
			if got, want := x.covers(node, from), m.blocks[node][from]; got != want {
				t.Fatalf("node %d, %d: covered %v", node, from, got)
			}
		case rng.IntN(10) == 0:
			had := len(x.list)
			m.blocks[node] = [64]bool{}
			if n := x.removeNode(node); n != had-len(m.list()) {
				t.Fatalf("node %d: removed %d of %d", node, n, had)
			}
		}
		m.compare(t, x)
	}
}

// TestExtentsAppliedAfterMerge: an extent that grew downwards while it was applied is not split.
func TestExtentsAppliedAfterMerge(t *testing.T) {
	x := newExtents(1)
	x.add(1, 100, 200, 5)
	x.add(1, 50, 100, 9)
	x.applied(1, 100, 150)
	if want := []extent{{1, 50, 200, 5}}; !slices.Equal(x.list, want) {
		t.Errorf("got %v, want %v", x.list, want)
	}
	x.applied(1, 50, 120)
	if want := []extent{{1, 120, 200, 5}}; !slices.Equal(x.list, want) {
		t.Errorf("got %v, want %v", x.list, want)
	}
	x.applied(1, 120, 120) // nothing was done
	x.applied(1, 120, 1<<40)
	if x.len() != 0 {
		t.Errorf("left: %v", x.list)
	}
}

// TestExtentsPass goes through random extents as the back end does, while others come and merge: all
// that were to be applied are, each step looks at little, and what may not be applied stays.
func TestExtentsPass(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		const nodes, upto = 8, 1000
		x := newExtents(4096)
		for range 1 + rng.IntN(600) {
			from := rng.Uint64N(4000)
			x.add(rng.Uint32N(nodes), from, from+1+rng.Uint64N(8), rng.Uint64N(2*upto))
		}
		want := []extent{}
		for _, e := range x.list {
			if e.seq <= upto && e.node%3 != 1 {
				want = append(want, e)
			}
		}
		asked, found, node, block := 0, 0, uint32(0), uint64(0)
		for {
			e, ok := x.next(node, block, upto, func(n uint32) bool { asked++; return n%3 != 1 })
			if !ok {
				break
			}
			found++
			node, block = e.node, e.start
			x.applied(e.node, e.start, min(e.end, e.start+1+rng.Uint64N(8)))
			if rng.IntN(4) == 0 {
				from := rng.Uint64N(4000)
				x.add(rng.Uint32N(nodes), from, from+1+rng.Uint64N(40), 2*upto+rng.Uint64N(upto))
			}
		}
		if asked > found+nodes {
			t.Fatalf("seed %d: asked %d times for %d steps", seed, asked, found)
		}
		for _, e := range want {
			for _, left := range x.list {
				if left.node == e.node && left.seq <= upto && left.start < e.end && e.start < left.end {
					t.Fatalf("seed %d: %v is left of %v", seed, left, e)
				}
			}
		}
	}
}

// The lowest number is looked for again only after it has gone.
func TestExtentsLowestIsKept(t *testing.T) {
	x := newExtents(100)
	for i := range uint64(50) {
		x.add(1, i*10, i*10+5, 100+i)
	}
	for i := range uint64(49) {
		if x.applied(1, (49-i)*10, (49-i)*10+5); !x.known || x.minSeq() != 100 {
			t.Fatalf("known %v, lowest %d", x.known, x.lowest)
		}
	}
	if x.applied(1, 0, 5); x.known || x.minSeq() != ^uint64(0) {
		t.Errorf("known %v, lowest %d", x.known, x.lowest)
	}
}

func TestExtentsFull(t *testing.T) {
	x := newExtents(2)
	x.add(1, 0, 10, 1)
	x.add(1, 20, 30, 1)
	if x.room(1) || !x.room(0) {
		t.Error("room for a third of two")
	}
	x.add(1, 10, 20, 1) // merges: needs no room
	if !x.room(1) || x.room(2) {
		t.Errorf("%d extents of two", x.len())
	}
	x.add(1, 31, 40, 1)
	defer func() {
		if recover() == nil {
			t.Error("a third extent of two was accepted")
		}
	}()
	x.add(2, 0, 10, 1)
}

func TestExtentsDoNotAllocate(t *testing.T) {
	x := newExtents(2000)
	i := uint64(0)
	n := testing.AllocsPerRun(1000, func() {
		i++
		x.add(uint32(i%7), i*37%997*10, i*37%997*10+5, i)
		x.covers(uint32(i%7), i)
		x.overlaps(uint32(i%7), i, i+100)
		if e, ok := firstUpTo(x, i/2); ok {
			x.applied(e.node, e.start, e.end-1)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkExtentsCovers(b *testing.B) {
	x := newExtents(4096)
	for i := range uint64(4096) {
		x.add(uint32(i%50), i*1000, i*1000+500, i)
	}
	for i := range b.N {
		x.covers(uint32(i%50), uint64(i)*7919%4_096_000)
	}
}

// firstUpTo returns the first extent, by node and start, with a sequence number of at most seq.
func firstUpTo(x *extents, seq uint64) (extent, bool) {
	for _, e := range x.list {
		if e.seq <= seq {
			return e, true
		}
	}
	return extent{}, false
}
