package placement

import (
	"errors"
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// layoutAll returns the whole layout of a volume or snapshot, and how many operations that took.
func (r *rig) layoutAll(name string, pic *Picture) (l *VolumeLayout, ops int) {
	r.t.Helper()
	for l = (&VolumeLayout{Picture: pic}); !l.Done; ops++ {
		if err := r.control(&Control{Op: LayoutVolume, Name: name, Layout: l}); err != nil {
			r.t.Fatal(err)
		}
	}
	return l, ops
}

// The layout is what a look at every block finds.
func TestLayout(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.NoReplacement = true })
	v := r.create("v", 3<<20)
	r.scatter(v, rand.New(rand.NewPCG(7, 7)), 600)
	if err := r.control(&Control{Op: SnapshotVolume, Names: []string{"v"}, To: "s"}); err != nil {
		t.Fatal(err)
	}
	r.scatter(v, rand.New(rand.NewPCG(8, 8)), 100)
	r.idle()
	for _, name := range []string{"v", "v@s"} {
		n := r.p.names[name]
		r.layoutOf(name) // brings the pages in
		var want VolumeLayout
		prev, classes := Entry{}, [RunClasses]uint64{}
		length := 0
		for b := range n.blocks() {
			e, err := r.p.find(&r.p.mapOf(n).tree, b, nil)
			if err != nil {
				t.Fatal(err)
			}
			if e.Flags == 0 || e.Addr != prev.Addr+1 || prev.Flags == 0 {
				if length > 0 {
					classes[log2(length)]++
					want.Runs++
				}
				length = 0
			}
			if prev = e; e.Flags == 0 {
				continue
			}
			length++
			want.Blocks++
			if e.Addr%chunkUnits == b%chunkUnits {
				want.Home++
			}
			if !n.owns(e, b+1) {
				want.Shared++
			}
		}
		if length > 0 {
			classes[log2(length)]++
			want.Runs++
		}
		got, _ := r.layoutAll(name, nil)
		if got.Blocks != want.Blocks || got.Runs != want.Runs || got.Home != want.Home ||
			got.Shared != want.Shared || want.Runs < 20 {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		var sum uint64
		for i, c := range got.Lengths {
			if c.Runs != classes[i] {
				t.Errorf("%s: %d runs of class %d, want %d", name, c.Runs, i, classes[i])
			}
			sum += c.Blocks
		}
		if sum != got.Blocks {
			t.Errorf("%s: runs of %d blocks, of %d", name, sum, got.Blocks)
		}
		pic := &Picture{Width: 40, Height: 20, From: got.First, To: got.Last, Cells: make([]uint32, 800)}
		r.layoutAll(name, pic)
		sum = 0
		for _, c := range pic.Cells {
			sum += uint64(c)
		}
		if sum != got.Blocks {
			t.Errorf("%s: %d blocks in the picture, of %d", name, sum, got.Blocks)
		}
	}
}

func log2(n int) (l int) {
	for ; n > 1; n /= 2 {
		l++
	}
	return l
}

// A big map takes several operations; others get their turn between them.
func TestLayoutOfABigMap(t *testing.T) {
	r := newRig(t, 256<<20)
	v := r.create("v", 64<<30)
	buf := simdisk.Buffer(log.BlockSize)
	buf[0] = 1
	const leaves = 3 * layoutLoads
	for i := range int64(leaves) {
		req := &Request{Kind: Write, Vol: v, Off: i * 5 << 20, Len: log.BlockSize, Buf: buf}
		if r.do(req); req.Err != 0 {
			t.Fatal(req.Err)
		}
	}
	if err := r.control(&Control{Op: Drain}); err != nil {
		t.Fatal(err)
	}
	r.restart(func(*Options) {}) // nothing is in memory
	l, ops := r.layoutAll("v", nil)
	if l.Blocks != leaves || l.Runs != leaves || ops < 3 {
		t.Errorf("%d blocks in %d runs with %d operations", l.Blocks, l.Runs, ops)
	}
}

func TestLayoutRefuses(t *testing.T) {
	r := newRig(t, 64<<20)
	r.create("v", 1<<20)
	for _, x := range []struct {
		c    Control
		want error
	}{
		{Control{Name: "v"}, ErrConfig},
		{Control{Name: "w", Layout: &VolumeLayout{}}, ErrNoVolume},
		{Control{Name: "v", Layout: &VolumeLayout{Picture: &Picture{Width: 2, Height: 2}}}, ErrConfig},
	} {
		x.c.Op = LayoutVolume
		if err := r.control(&x.c); !errors.Is(err, x.want) {
			t.Errorf("%+v: %v", x.c, err)
		}
	}
	if l, _ := r.layoutAll("v", nil); l.Blocks != 0 || l.MeanRun() != 0 {
		t.Errorf("an empty volume: %+v", l)
	}
	r.p.setReadOnly(errors.New("test"))
	r.layoutAll("v", nil)
}
