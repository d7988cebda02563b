package placement

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// growRig is a rig whose writes fail when the pool is full, and whose devices can grow.
type growRig struct {
	*rig
	v *Volume
	n int64 // stretches of v that are written, each full of its number
}

// stretch is how many blocks the rig writes or reads at a time.
const stretch = 16

// growCase is a pool that grows.
type growCase struct {
	name     string
	one      bool
	fast     int64 // bytes; of two devices
	capacity int64
	add      int64
	growTo   int64
	options  func(*Options)
}

var growCases = []growCase{
	{name: "one device", one: true, capacity: 24 << 20, add: 16 << 20},
	{name: "pages on the fast device", fast: 48 << 20, capacity: 8 << 20, add: 16 << 20},
	{name: "no room behind the log", fast: (512 + 144 + 4096 + 50) << 12, capacity: 8 << 20, add: 16 << 20},
	{name: "two levels", one: true, capacity: 32 << 20, add: 256 << 20, growTo: 16 << 30},
	{
		name: "few frames", fast: 48 << 20, capacity: 8 << 20, add: 512 << 20,
		options: func(o *Options) { o.Frames = minFrames },
	},
}

func newGrowRig(t *testing.T, c growCase, seed uint64) *growRig {
	t.Helper()
	w := simdisk.NewWorld(seed)
	disk := func(name string, size int64) *simdisk.Disk {
		return w.NewDisk(simdisk.Config{
			Name: name, Size: size, Volatile: true, Timing: simdisk.Random{Min: 10_000, Max: 200_000},
		})
	}
	r := &rig{t: t, w: w}
	r.capacity = disk("capacity", c.capacity)
	r.disk = r.capacity
	s := r.capacity.Sync()
	r.d = Disks{s, s}
	if !c.one {
		r.disk = disk("fast", c.fast)
		r.d[log.Fast] = r.disk.Sync()
	}
	err := Format(r.d, FormatConfig{
		LogSize: 64 * 64 << 12, SegmentBlocks: 64, MetaPages: 512, GrowTo: c.growTo,
		Rand: testOptions(w).Rand,
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &growRig{rig: r}
	g.open(c)
	g.v = r.create("a", 1<<30)
	return g
}

func (g *growRig) open(c growCase) {
	g.t.Helper()
	g.reopen(func(o *Options) {
		o.OnFull = FullFails
		if c.options != nil {
			c.options(o)
		}
	})
	g.v = g.p.Volume("a")
}

// fillUp writes blocks until the pool is full, and returns how many it took.
func (g *growRig) fillUp() int64 {
	g.t.Helper()
	for before := g.n; ; g.n++ {
		q := g.next1(0)
		if g.do(q); q.Err == syscall.ENOSPC {
			return (g.n - before) * stretch
		}
		if q.Err != 0 {
			g.t.Fatalf("write %d: %v", g.n, q.Err)
		}
	}
}

// next1 returns the write of the stretch that is i behind those written.
func (g *growRig) next1(i int64) *Request {
	return blockWrite(g.v, (g.n+i)*stretch, stretch, byte((g.n+i)%251+1))
}

// some writes n stretches more.
func (g *growRig) some(n int64) {
	g.t.Helper()
	for range n {
		q := g.next1(0)
		if g.do(q); q.Err != 0 {
			g.t.Fatalf("write %d: %v", g.n, q.Err)
		}
		g.n++
	}
}

// checked fails the test for what check finds.
func (g *growRig) checked() {
	g.t.Helper()
	if rep, err := g.inspect(); err != nil || len(rep.Problems)+len(rep.Notes) > 0 {
		g.t.Fatalf("check: %v %v %v", err, rep.Problems, rep.Notes)
	}
}

// verify reads all that was written.
func (g *growRig) verify() {
	g.t.Helper()
	for i := range g.n {
		q := &Request{Kind: Read, Vol: g.v, Off: i * stretch * log.BlockSize, Len: stretch * log.BlockSize}
		q.Buf = alignedBytes(int(q.Len))
		want := bytes.Repeat([]byte{byte(i%251 + 1)}, int(q.Len))
		if g.do(q); q.Err != 0 || !bytes.Equal(q.Buf, want) {
			g.t.Fatalf("read %d: %v, got %d, want %d", i, q.Err, q.Buf[0], want[0])
		}
	}
}

// sizes returns what the devices have now.
func (g *growRig) sizes() [log.Devs]int64 {
	return [log.Devs]int64{g.disk.Size(), g.capacity.Size()}
}

// grow makes the capacity device larger by n bytes, and the pool with it.
func (g *growRig) grow(n int64) error {
	g.capacity.Grow(g.capacity.Size() + n)
	return g.control(&Control{Op: GrowPool, Sizes: g.sizes()})
}

// TestGrow fills a pool, makes it larger, fills that too, and again, with restarts between.
func TestGrow(t *testing.T) {
	for _, c := range growCases {
		t.Run(c.name, func(t *testing.T) {
			g := newGrowRig(t, c, 1)
			g.fillUp()
			for i := range 3 {
				before := g.p.Status()
				if err := g.grow(c.add); err != nil {
					t.Fatal(err)
				}
				after := g.p.Status()
				added := after.BlocksTotal - before.BlocksTotal
				if want := uint64(c.add/log.BlockSize) * 97 / 100; added < want ||
					after.BlocksFree-before.BlocksFree != added ||
					after.PagesTotal-before.PagesTotal != uint64(c.add/log.BlockSize/100) {
					t.Fatalf("growth %d: before %+v, after %+v", i, before, after)
				}
				if i == 1 {
					g.must(&Control{Op: Shutdown})
					g.open(c)
				}
				if added > 16<<10 {
					g.some(300)
				} else if n := g.fillUp(); n < int64(added)*9/10 {
					t.Fatalf("growth %d: %d blocks added, and place for %d", i, added, n)
				}
				g.verify()
			}
			g.must(&Control{Op: Drain})
			g.must(&Control{Op: Shutdown})
			g.checked()
			g.open(c)
			g.verify()
			if st := g.p.Status(); st.Stats.Mismatches > 0 {
				t.Errorf("%d mismatches", st.Stats.Mismatches)
			}
		})
	}
}

// TestGrowZones holds where the homes go on, and that what is said of the devices agrees.
func TestGrowZones(t *testing.T) {
	for _, c := range growCases[:3] {
		t.Run(c.name, func(t *testing.T) {
			g := newGrowRig(t, c, 1)
			if err := errors.Join(g.grow(c.add), g.grow(c.add)); err != nil {
				t.Fatal(err)
			}
			l := &g.p.label
			if l.Sequence != 3 || len(l.Zones) != 7 {
				t.Fatalf("%+v", l)
			}
			for i, z := range l.Zones {
				want := log.Capacity
				if z.Kind == ZonePagesA && (c.name != "no room behind the log" || i < 4) {
					want = log.Fast
				}
				if z.Dev != want {
					t.Errorf("%+v", z)
				}
			}
			for n := range l.pageCount() {
				a, b := l.locate(log.Fast, l.pageBlock(n)), l.locate(log.Capacity, l.pageBlock(n))
				if a.off >= int64(l.Sizes[a.dev]) || b.off >= int64(l.Sizes[b.dev]) {
					t.Fatalf("page %d of %d: %+v, %+v", n, l.pageCount(), a, b)
				}
			}
			if at := l.locate(log.Fast, l.pageBlock(l.pageCount())); at.off < 1<<60 {
				t.Errorf("behind the last page: %+v", at)
			}
			sum := map[string]int64{}
			for _, r := range g.p.Status().Regions {
				sum[r.Class] += r.End - r.Start
			}
			want := int64(2*(l.Home.Blocks+l.pageCount()-l.Home.PageCount)) * log.BlockSize
			if sum["metadata"] != want {
				t.Errorf("regions: %v, want %d of metadata", sum, want)
			}
		})
	}
}

// TestGrowLetsWaitingWritesGoOn: writes that wait because the pool is full go on when it has grown.
func TestGrowLetsWaitingWritesGoOn(t *testing.T) {
	for _, c := range growCases {
		t.Run(c.name, func(t *testing.T) {
			g := newGrowRig(t, c, 1)
			g.fillUp()
			g.reopen(func(o *Options) { o.OnFull = FullWaits })
			g.v = g.p.Volume("a")
			const waiting = 40
			for i := range int64(waiting) {
				g.p.Submit(g.next1(i))
			}
			for range 5_000 {
				g.turn()
			}
			done := 0
			for g.p.NextDone() != nil {
				done++
			}
			if st := g.p.Status(); st.Stalled != 1 || done == waiting {
				t.Fatalf("%d of %d writes were done before it grew: %+v", done, waiting, st)
			}
			g.capacity.Grow(g.capacity.Size() + c.add)
			g.p.Control(&Control{Op: GrowPool, Sizes: g.sizes()})
			g.next(func() bool {
				for g.p.NextDone() != nil {
					done++
				}
				return done == waiting
			})
			g.n += waiting
			g.next(func() bool { return g.p.NextControl() != nil })
			g.verify()
		})
	}
}

// TestGrowCrash cuts the power at every operation of a growth and of the checkpoint behind it, and
// again in the start after that: at each of its first operations, which mend the label, when the cut
// came between its copies. The pool opens, with one size or the other, with everything in it, and
// grows.
func TestGrowCrash(t *testing.T) {
	const mending = 14 // operations of a start
	for _, c := range growCases[:4] {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sizes := map[uint64]int{}
			for after := 1; growCrash(t, c, after, 0, sizes); after++ {
				if after > 3 {
					growCrash(t, c, after, 1+after%mending, sizes)
					continue
				}
				for again := 1; again <= mending; again++ {
					growCrash(t, c, after, again, sizes)
				}
			}
			if len(sizes) != 2 {
				t.Errorf("sizes after a crash: %v", sizes)
			}
		})
	}
}

// growCrash cuts the power after some operations, and unless again is 0 after so many of the next
// start. It reports false if all was done before.
func growCrash(t *testing.T, c growCase, after, again int, sizes map[uint64]int) bool {
	t.Helper()
	g := newGrowRig(t, c, uint64(after*1000+again))
	g.some(10)
	g.must(&Control{Op: Drain})
	g.some(3)
	g.capacity.Grow(g.capacity.Size() + c.add)
	g.w.CrashAfter(after, nil)
	g.p.Control(&Control{Op: GrowPool, Sizes: g.sizes()})
	g.p.Control(&Control{Op: Checkpoint})
	for ended := 0; !g.w.Off(); {
		g.turn()
		if g.p.NextControl() != nil {
			if ended++; ended == 2 {
				return false
			}
		}
	}
	g.w.Restart()
	if again > 0 {
		g.w.CrashAfter(again, nil)
		if _, err := Open(g.d, testOptions(g.w)); err != nil && !g.w.Off() {
			t.Fatalf("crash after %d: %v", after, err)
		}
		g.w.Restart()
		g.w.CrashAfter(0, nil)
	}
	g.after(c, fmt.Sprintf("crash after %d, then %d", after, again), sizes)
	return true
}

// inspect checks the pool's devices.
func (g *growRig) inspect() (*CheckReport, error) {
	rep, err := Check(g.d, CheckOptions{Data: true, entries: 1 << 13})
	if err == nil { // the segments that a start has cut off have no summaries
		rep.Notes = slices.DeleteFunc(rep.Notes, func(pr Problem) bool { return pr.Structure == "log" })
	}
	return rep, err
}

// after looks at a pool after a crash.
func (g *growRig) after(c growCase, when string, sizes map[uint64]int) {
	g.t.Helper()
	rep, err := g.inspect()
	if err != nil || rep.Damaged() {
		g.t.Fatalf("%s: check: %v %v", when, err, rep.Problems)
	}
	g.open(c)
	sizes[g.p.Status().BlocksTotal]++
	if err := g.control(&Control{Op: GrowPool, Sizes: g.sizes()}); err != nil {
		g.t.Fatalf("%s: grow: %v", when, err)
	}
	if want := uint64(g.capacity.Size()) / log.BlockSize; g.p.blocks.total != want {
		g.t.Fatalf("%s: %d blocks, want %d", when, g.p.blocks.total, want)
	}
	g.verify()
	g.some(30)
	g.must(&Control{Op: Drain})
	g.must(&Control{Op: Shutdown})
	g.checked()
	g.open(c)
	g.verify()
}

// TestGrowCopies damages the copies of the label one by one, after a growth whose checkpoint has been
// made: the pool opens as long as one is left that is looked at, and mends the others.
func TestGrowCopies(t *testing.T) {
	for _, c := range growCases[:3] {
		t.Run(c.name, func(t *testing.T) {
			g := newGrowRig(t, c, 1)
			if err := g.grow(c.add); err != nil {
				t.Fatal(err)
			}
			g.some(10)
			g.must(&Control{Op: Shutdown})
			for i, at := range g.p.label.copies() {
				disk := g.disk
				if at.dev == log.Capacity {
					disk = g.capacity
				}
				disk.Flip(at.off, 77)
				rep, err := g.inspect()
				found := append(rep.Problems, rep.Notes...)
				if err != nil || len(found) != 1 || found[0].Structure != "label" ||
					rep.Damaged() != (c.one || i > 0) {
					t.Errorf("%+v: check: %v %v, notes %v", at, err, rep.Problems, rep.Notes)
				}
				g.open(c)
				g.must(&Control{Op: Shutdown})
				g.checked()
			}
			if !c.one {
				g.d[log.Fast] = nil
				g.open(c)
				g.verify()
			}
		})
	}
}

// TestGrowOldLabel refuses to serve with a label that is older than the root: what the root knows
// beyond it would be overwritten.
func TestGrowOldLabel(t *testing.T) {
	g := newGrowRig(t, growCases[1], 1)
	old := [log.Devs][]byte{simdisk.Buffer(log.BlockSize), simdisk.Buffer(log.BlockSize)}
	for dev, b := range old {
		if err := g.d[dev].ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.grow(16 << 20); err != nil {
		t.Fatal(err)
	}
	g.must(&Control{Op: Shutdown})
	for dev, b := range old {
		if err := g.d[dev].WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(g.d, testOptions(g.w)); !errors.Is(err, ErrDamaged) {
		t.Errorf("open: %v", err)
	}
	if _, err := g.inspect(); !errors.Is(err, ErrDamaged) {
		t.Errorf("check: %v", err)
	}
}

// TestGrowRefusals asks for what cannot be, or does nothing.
func TestGrowRefusals(t *testing.T) {
	c := growCase{fast: 48 << 20, capacity: 8 << 20, growTo: 1 << 30}
	g := newGrowRig(t, c, 1)
	ask := func(fast, capacity int64) error {
		sizes := [log.Devs]int64{g.disk.Size() + fast, g.capacity.Size() + capacity}
		before := g.p.label
		can, err := g.p.CanGrow(sizes)
		err2 := g.control(&Control{Op: GrowPool, Sizes: sizes})
		if can || fmt.Sprint(err) != fmt.Sprint(err2) || g.p.label.Sequence != before.Sequence {
			t.Errorf("%d and %d bytes more: can %v, %v, then %v, %+v", fast, capacity, can, err, err2,
				g.p.label)
		}
		return err
	}
	for _, n := range []int64{0, 4096, minGrowth*log.BlockSize - 4096} {
		if err := errors.Join(ask(0, n), ask(1<<30, n)); err != nil {
			t.Error(err)
		}
	}
	if err := ask(-4096, 1<<20); !errors.Is(err, ErrTruncated) {
		t.Error(err)
	}
	if err := ask(0, -4096); !errors.Is(err, ErrTruncated) {
		t.Error(err)
	}
	if err := ask(0, 1<<30); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	times := 0
	for {
		if err := g.grow(minGrowth * log.BlockSize); errors.Is(err, ErrTooMany) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		times++
	}
	if times != (MaxZones-1)/3 {
		t.Errorf("it grew %d times", times)
	}
	g.some(100)
	g.must(&Control{Op: Shutdown})
	g.checked()
}

// TestGrowFails fails the writes of the copies of the label, one by one: the pool becomes read-only,
// and a restart finishes what began.
func TestGrowFails(t *testing.T) {
	for i := range 3 {
		g := newGrowRig(t, growCases[0], 1)
		g.some(5)
		g.capacity.Grow(g.capacity.Size() + 16<<20)
		l, err := g.p.label.grown(g.sizes())
		if err != nil {
			t.Fatal(err)
		}
		at := l.copies()[i]
		g.capacity.Inject(simdisk.Fault{Do: simdisk.FailWrite, From: at.off, To: at.off + log.BlockSize})
		if err := g.control(&Control{Op: GrowPool, Sizes: g.sizes()}); !errors.Is(err, ErrReadOnly) {
			t.Fatalf("copy %d: %v", i, err)
		}
		g.verify()
		g.open(growCases[0])
		if err := g.control(&Control{Op: GrowPool, Sizes: g.sizes()}); err != nil {
			t.Fatal(err)
		}
		g.some(5)
		g.must(&Control{Op: Shutdown})
		g.checked()
	}
}
