package log

import "testing"

// nullRig is a ring whose operations end at once and whose sink only counts.
type nullRig struct {
	ring  *Ring
	ops   *Ops
	items []Item
	done  int
}

func (n *nullRig) Wrote(uint64, int, uint32, uint64, uint32, []uint32) {}
func (n *nullRig) Zeroed(uint64, int, uint32, uint64, uint64, uint32)  {}
func (n *nullRig) Marked(uint64, int, uint16, []byte, uint32)          {}
func (n *nullRig) ItemDone(*Item, error)                               { n.done++ }

func newNullRig(tb testing.TB, items int) *nullRig {
	geo := Geometry{
		SegmentBlocks: DefaultSegmentBlocks, Segments: 4,
		MaxRecordBlocks: DefaultRecordBlocks, Lanes: 1,
	}
	d := &sparseDisk{size: geo.Bytes()}
	ring, _, err := Recover(d, geo, RecoverParams{ReplayStart: 1}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	random := func(p []byte) { p[0]++ }
	if err := ring.Cut(d, random); err != nil {
		tb.Fatal(err)
	}
	n := &nullRig{ring: ring, ops: NewOps(8), items: make([]Item, items)}
	ring.Start(n.ops, Settings{Random: random}, n)
	mem := NewBlocks(items)
	for i := range n.items {
		n.items[i] = Item{
			Kind: ItemWrite, Node: 1, Block: uint64(i), Count: 1,
			Data: mem[i*BlockSize : (i+1)*BlockSize], CRCs: make([]uint32, 1),
		}
	}
	return n
}

// turn writes all items once.
func (n *nullRig) turn() {
	lane := n.ring.Lane(0)
	for i := range n.items {
		lane.Push(&n.items[i])
	}
	for {
		lane.Pump()
		op := n.ops.Next()
		if op == nil {
			break
		}
		for ; op != nil; op = n.ops.Next() {
			n.ops.Complete(op.Token, int32(op.Len()))
		}
	}
	n.ring.FreeBelow(n.ring.NextSeq())
}

// sparseDisk reads as zeros.
type sparseDisk struct{ size int64 }

func (d *sparseDisk) ReadAt(p []byte, _ int64) error { clear(p); return nil }
func (d *sparseDisk) WriteAt([]byte, int64) error    { return nil }
func (d *sparseDisk) Flush() error                   { return nil }
func (d *sparseDisk) Size() int64                    { return d.size }

func TestNothingIsAllocatedPerRecord(t *testing.T) {
	n := newNullRig(t, 32)
	for range 300 { // every slot's vectors have grown, every segment was used
		n.turn()
	}
	if allocs := testing.AllocsPerRun(1000, n.turn); allocs != 0 {
		t.Fatalf("%v allocations per turn", allocs)
	}
	if n.ring.Counters().Segments < 8 {
		t.Fatalf("%+v", n.ring.Counters())
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, items := range []int{1, 32, 256} {
		b.Run(map[int]string{1: "1 write", 32: "32 writes", 256: "256 writes"}[items],
			func(b *testing.B) {
				n := newNullRig(b, items)
				b.ReportAllocs()
				for b.Loop() {
					n.turn()
				}
				c := n.ring.Counters()
				b.ReportMetric(float64(c.Items)/b.Elapsed().Seconds(), "writes/s")
				b.ReportMetric(float64(c.Records)/b.Elapsed().Seconds(), "records/s")
			})
	}
}

// BenchmarkRecover reads a segment full of single 4 KiB writes, by its summary and without it.
func BenchmarkRecover(b *testing.B) {
	geo := Geometry{
		SegmentBlocks: DefaultSegmentBlocks, Segments: 4,
		MaxRecordBlocks: DefaultRecordBlocks, Lanes: 1,
	}
	r := newRig(b, geo, Settings{})
	for r.ring.Counters().Segments < 2 {
		for range 32 {
			r.push(r.newItem(0, ItemWrite, 1))
		}
		r.settle()
	}
	for _, scan := range []bool{false, true} {
		if scan {
			clear(r.d.now[r.summary(0):][:BlockSize])
		}
		b.Run(map[bool]string{false: "summary", true: "scan"}[scan], func(b *testing.B) {
			for b.Loop() {
				rec := &recovery{d: r.d, geo: geo, par: r.par, replay: ignored{}}
				if _, err := rec.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
