package placement

import (
	"errors"
	"fmt"
	"math"
	"syscall"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// Cases that a review of the engine found.

// newRigOf makes a pool on one disk with a volatile cache.
func newRigOf(t *testing.T, cfg FormatConfig) *rig {
	t.Helper()
	w := simdisk.NewWorld(1)
	disk := w.NewDisk(simdisk.Config{Name: "disk", Size: 64 << 20, Volatile: true})
	s := disk.Sync()
	r := &rig{t: t, w: w, d: Disks{s, s}, disk: disk, capacity: disk}
	cfg.Rand = testOptions(w).Rand
	if err := Format(r.d, cfg); err != nil {
		t.Fatal(err)
	}
	r.open()
	return r
}

// reopen opens the rig's pool with changed options.
func (r *rig) reopen(change func(*Options)) {
	r.t.Helper()
	opt := testOptions(r.w)
	change(&opt)
	p, err := Open(r.d, opt)
	if err != nil {
		r.t.Fatal(err)
	}
	r.p = p
	r.drv = r.w.Drive(p.NextOp, p.Complete, r.disk, r.capacity)
}

// next waits for what must end: like a loop that calls Run only when something has happened, was
// asked for or is due.
func (r *rig) next(ended func() bool) {
	r.t.Helper()
	for range 100_000 {
		r.p.Tick(r.w.Now() + 1)
		more := r.p.Run()
		r.drv.Pump()
		if ended() {
			return
		}
		if more || r.w.Step() {
			continue
		}
		at := r.p.Deadline()
		if at == 0 {
			r.t.Fatal("nothing is due, but something has not ended")
		}
		r.w.Advance(at)
	}
	r.t.Fatal("never ended")
}

// strictly performs a request under the rules of next.
func (r *rig) strictly(q *Request) {
	r.t.Helper()
	r.p.Tick(r.w.Now() + 1)
	r.p.Submit(q)
	r.next(func() bool { return r.p.NextDone() != nil })
}

func blockWrite(v *Volume, block, n int64, value byte) *Request {
	buf := alignedBytes(int(n) * log.BlockSize)
	for i := range buf {
		buf[i] = value
	}
	return &Request{
		Kind: Write, Vol: v, Off: block * log.BlockSize, Len: n * log.BlockSize, Buf: buf,
	}
}

// What an open segment holds counts against the index until that is free; closing it later, with
// everything in the maps already, frees it without another checkpoint.
func TestReviewIndexRoomOfASegmentClosedLater(t *testing.T) {
	r := newRigOf(t, FormatConfig{LogSize: 16 * 512 << 12, SegmentBlocks: 512, MetaPages: 512})
	r.reopen(func(o *Options) { o.IndexEntries, o.Low, o.High = 2*maxBlocks, 950, 980 })
	v := r.create("a", 4<<20)
	r.strictly(blockWrite(v, 0, 128, 1))
	r.strictly(blockWrite(v, 200, 60, 1))
	r.must(&Control{Op: Drain})
	r.strictly(blockWrite(v, 400, 120, 2))
	r.expect(v, 500, 2, 0)
}

// A checkpoint begins although the guests' reads take every operation that they can get.
func TestReviewCheckpointWhileReadsTakeAllOps(t *testing.T) {
	r := newRig(t, 64<<20)
	r.reopen(func(o *Options) { o.Ops = 4 * maxBlocks })
	v := r.create("a", 1<<20)
	r.fill(v, 0, 1, 1)
	r.must(&Control{Op: Checkpoint})
	left := 0
	for range 2 * r.p.opt.Ops {
		left++
		r.p.Submit(&Request{
			Kind: Read, Vol: v, Len: log.BlockSize, Buf: alignedBytes(log.BlockSize),
		})
	}
	r.p.Control(&Control{Op: Checkpoint})
	r.p.Submit(blockWrite(v, 1, 1, 2))
	left += 2
	r.next(func() bool {
		for q := r.p.NextDone(); q != nil; q = r.p.NextDone() {
			if left--; q.Err != 0 {
				t.Fatal(q.Err)
			}
		}
		if r.p.NextControl() != nil {
			left--
		}
		return left == 0
	})
}

// A control operation whose mark is on its way into the log stays the pool's until that has ended,
// also when the pool becomes read-only meanwhile.
func TestReviewReadOnlyWhileAMarkIsUnderWay(t *testing.T) {
	r := newRig(t, 64<<20)
	c := &Control{Op: CreateVolume, Name: "a", Size: 1 << 20, QueueDepth: 8}
	r.p.Control(c)
	r.p.Run()
	r.drv.Pump()
	if r.disk.InFlight() == 0 {
		t.Fatal("the mark is not on its way")
	}
	r.p.setReadOnly(errors.New("test"))
	r.next(func() bool { return r.p.NextControl() == c })
	if r.disk.InFlight() > 0 {
		t.Error("the operation ended before its mark's write did")
	}
	r.open()
	if got := r.p.Volume("a") != nil; got != (c.Err == nil) {
		t.Errorf("volume exists: %v, the operation ended with %v", got, c.Err)
	}
}

// A log that cannot be written any more makes the pool read-only, and whoever waits is told.
func TestReviewDeadLaneMakesThePoolReadOnly(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 4<<20)
	r.fill(v, 0, 8, 1)
	l := r.p.label
	from := int64(l.LogOffset)
	for range 8 {
		r.disk.Inject(simdisk.Fault{
			Do: simdisk.FailWrite, From: from, To: from + int64(l.LogBlocks())*log.BlockSize,
		})
	}
	q := blockWrite(v, 20, 1, 2)
	if r.strictly(q); q.Err != eio {
		t.Errorf("write: %v, want %v", q.Err, eio)
	}
	if why := r.p.Status().ReadOnly; !errors.Is(why, log.ErrLaneDead) {
		t.Errorf("status says %v", why)
	}
	if q = blockWrite(v, 20, 1, 2); q.Err != erofs {
		if r.strictly(q); q.Err != erofs {
			t.Errorf("write: %v, want %v", q.Err, erofs)
		}
	}
	r.expect(v, 3, 1, 0)
}

// A failed flush of the fast device in a pool that depends on it does the same.
func TestReviewFailedLogFlush(t *testing.T) {
	r := newRigOf(t, FormatConfig{
		LogSize: 64 * 64 << 12, SegmentBlocks: 64, MetaPages: 512, Durability: DurabilityFlush,
	})
	v := r.create("a", 4<<20)
	r.strictly(blockWrite(v, 0, 8, 1))
	r.disk.Inject(simdisk.Fault{Do: simdisk.FailFlush})
	q := &Request{Kind: Flush, Vol: v}
	if r.strictly(q); q.Err != eio {
		t.Errorf("flush: %v, want %v", q.Err, eio)
	}
	if why := r.p.Status().ReadOnly; !errors.Is(why, log.ErrLaneDead) {
		t.Errorf("status says %v", why)
	}
	if err := r.control(&Control{Op: Drain}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("drain: %v", err)
	}
}

// One failed write of a long run is no reason to give up its blocks.
func TestReviewOneWriteOfALongRunFails(t *testing.T) {
	r, capacity := newPairRig(t)
	r.reopen(func(o *Options) { o.BatchBlocks = 1024 })
	v := r.create("a", 4<<20)
	r.fill(v, 0, 256, 8)
	z := r.p.label.Zones[0]
	capacity.Inject(simdisk.Fault{
		Do: simdisk.FailWrite, From: int64(z.Start) * log.BlockSize,
		To: int64(z.Start+z.Blocks) * log.BlockSize,
	})
	r.must(&Control{Op: Drain})
	if st := r.p.Status(); st.ReadOnly != nil || st.Stats.BadBlocks > 1 {
		t.Errorf("%d bad blocks, %v", st.Stats.BadBlocks, st.ReadOnly)
	}
	for b := range int64(256) {
		r.expect(v, b, 8, 0)
	}
	r.open()
	r.check()
}

// A deleted volume is freed although its map has empty pages: what had begun to use them was given
// up for want of something.
func TestReviewWalkOverEmptyPages(t *testing.T) {
	for _, leaf := range []bool{false, true} {
		r := newRig(t, 64<<20)
		free := r.p.Status().PagesFree
		v := r.create("a", 8<<20)
		if !leaf {
			r.p.dirtyLimit = r.p.cache.dirty + 1
		}
		for { // the bitmap page has to be read first
			_, err := r.p.own(&v.node.tree, 0, &r.p.back.waiter)
			if leaf && err == nil || !leaf && err == errTight {
				break
			}
			r.next(func() bool { return !r.p.back.waiting })
		}
		r.p.dirtyLimit = r.p.opt.dirtyLimit()
		if v.node.root.Flags == 0 {
			t.Fatal("no empty page")
		}
		r.must(&Control{Op: RemoveVolume, Name: "a"})
		r.next(func() bool { return !r.p.back.walking() })
		for range 3 {
			r.must(&Control{Op: Checkpoint})
		}
		r.check()
		if st := r.p.Status(); st.Nodes != 0 || st.PagesFree != free {
			t.Errorf("%d nodes, %d of %d pages free", st.Nodes, st.PagesFree, free)
		}
	}
}

// Volumes that come and go leave no pages behind in the catalogue.
func TestReviewCataloguePagesAreFreed(t *testing.T) {
	r := newRig(t, 64<<20)
	free := r.p.Status().PagesFree
	for range 100 {
		r.create("a", 1<<20)
		r.must(&Control{Op: RemoveVolume, Name: "a"})
	}
	for range 3 {
		r.must(&Control{Op: Checkpoint})
	}
	r.check()
	if st := r.p.Status(); st.Nodes != 0 || st.PagesFree != free {
		t.Errorf("%d nodes, %d of %d pages free", st.Nodes, st.PagesFree, free)
	}
}

// More changed nodes than the cache has room for are written by several checkpoints.
func TestReviewManyVolumesWithFewFrames(t *testing.T) {
	r := newRig(t, 64<<20)
	small := func(o *Options) { o.Frames = minFrames }
	r.reopen(small)
	for i := range 1200 {
		r.create(fmt.Sprintf("v%d", i), 1<<20)
	}
	r.must(&Control{Op: Checkpoint})
	r.reopen(small)
	for i := range 1200 {
		r.must(&Control{Op: RemoveVolume, Name: fmt.Sprintf("v%d", i)})
	}
	for range 20 {
		r.must(&Control{Op: Checkpoint})
	}
	r.check()
	if st := r.p.Status(); st.Nodes != 0 {
		t.Errorf("%d nodes are left", st.Nodes)
	}
}

// fillLeaves writes one block in each leaf of v until there is no space for more.
func (r *rig) fillLeaves(v *Volume) (n int64) {
	for ; ; n++ {
		q := blockWrite(v, n*leafBlocks, 1, 1)
		if r.strictly(q); q.Err != 0 {
			if q.Err != syscall.ENOSPC {
				r.t.Fatal(q.Err)
			}
			return n
		}
	}
}

// In a full metadata area everything may be overwritten, by a cold cache too, and destaged: a
// checkpoint has the pages that it needs.
func TestReviewOverwriteInAFullMetadataArea(t *testing.T) {
	r := newRig(t, 64<<20)
	full := func(o *Options) { o.OnFull, o.Frames = FullFails, 2048 }
	r.reopen(full)
	v := r.create("a", 4<<30)
	n := r.fillLeaves(v)
	r.must(&Control{Op: Drain})
	r.reopen(full)
	v = r.p.Volume("a")
	for i := range n {
		q := blockWrite(v, i*leafBlocks, 1, 2)
		if r.strictly(q); q.Err != 0 {
			t.Fatalf("block %d of %d: %v", i, n, q.Err)
		}
	}
	r.must(&Control{Op: Drain})
	r.check()
	for i := range n {
		r.expect(v, i*leafBlocks, 2, 0)
	}
	if err := r.control(&Control{
		Op: CreateVolume, Name: "b", Size: 1 << 20, QueueDepth: 1,
	}); !errors.Is(err, ErrFull) {
		t.Errorf("create: %v, want ErrFull", err)
	}
}

// A drain waits for what was there when it was asked for, not for a guest that goes on writing.
func TestReviewDrainUnderLoad(t *testing.T) {
	r := newRig(t, 64<<20)
	v := r.create("a", 8<<20)
	r.fill(v, 0, 8, 1)
	write := func(i int) {
		r.p.Submit(blockWrite(v, int64(i%2000), 1, byte(i)))
	}
	write(0)
	r.p.Control(&Control{Op: Drain})
	n := 0
	r.next(func() bool {
		for q := r.p.NextDone(); q != nil; q = r.p.NextDone() {
			n++
			write(n)
		}
		return r.p.NextControl() != nil
	})
}

// Where a log write may fail because of the flush behind it, it is not tried again.
func TestReviewFailedLogWriteWithoutFUA(t *testing.T) {
	r, _ := newPairRig(t)
	r.reopen(func(o *Options) { o.NoFUA = true })
	v := r.create("a", 4<<20)
	r.disk.Inject(simdisk.Fault{Do: simdisk.FailWrite})
	q := blockWrite(v, 0, 1, 2)
	if r.strictly(q); q.Err != eio {
		t.Errorf("write: %v, want %v", q.Err, eio)
	}
	if why := r.p.Status().ReadOnly; !errors.Is(why, log.ErrLaneDead) {
		t.Errorf("status says %v", why)
	}
}

// What cannot be is refused, whoever asks for it.
func TestReviewRefusals(t *testing.T) {
	r := newRig(t, 64<<20)
	for _, c := range []*Control{
		{Op: CreateVolume, Name: "a", Size: 1 << 20, QueueDepth: MaxQueueDepth + 1},
		{Op: CreateVolume, Name: "a", Size: 1 << 20, Attach: true, Device: -2},
	} {
		if err := r.control(c); !errors.Is(err, ErrConfig) {
			t.Errorf("create: %v, want ErrConfig", err)
		}
	}
	v := r.create("a", 4<<20)
	last := int64(math.MaxInt64 - SectorSize + 1)
	for _, q := range []*Request{
		{Kind: Discard, Vol: v, Off: last, Len: last},
		{Kind: Discard, Vol: v, Off: 4 << 20, Len: SectorSize},
		blockWrite(v, 0, int64(recordBlocks(64))+1, 1),
	} {
		if r.strictly(q); q.Err != einval {
			t.Errorf("%s at %d, %d bytes: %v", q.Kind, q.Off, q.Len, q.Err)
		}
	}
	r.must(&Control{Op: RemoveVolume, Name: "a"})
	q := blockWrite(v, 0, 1, 1)
	if r.strictly(q); q.Err != eio {
		t.Errorf("write to a deleted volume: %v", q.Err)
	}
}

// A checkpoint has room to remember the pages that it frees, however many a discard has freed.
func TestReviewDiscardOfScatteredPages(t *testing.T) {
	r := newRig(t, 64<<20)
	few := func(o *Options) { o.FreedRuns, o.Low, o.High = minFrames, 900, 950 }
	r.reopen(few)
	v := r.create("a", 256<<20)
	const leaves, stride = 200, 67 // the pages are not freed in the order of their addresses
	for i := range int64(leaves) {
		r.strictly(blockWrite(v, i*stride%leaves*leafBlocks, 1, 1))
		r.must(&Control{Op: Drain})
	}
	r.strictly(&Request{Kind: Discard, Vol: v, Len: 256 << 20})
	r.must(&Control{Op: Drain})
	r.check()
}

// The segment that is being filled and the one that is planned are no reason to destage: a small
// log is not emptied after each write.
func TestReviewSmallestLogIsUsed(t *testing.T) {
	r := newRigOf(t, FormatConfig{
		LogSize: minSegments * 256 << 12, SegmentBlocks: 256, MetaPages: 512,
	})
	v := r.create("a", 4<<20)
	for b := range int64(200) {
		r.strictly(blockWrite(v, b, 1, 1))
	}
	if n := r.p.Status().Stats.Checkpoints; n > 2 {
		t.Errorf("%d checkpoints for 200 blocks", n)
	}
}

// Writes that wait in the log for a free segment end when no segment will ever be freed again.
func TestReviewReadOnlyWithAFullLog(t *testing.T) {
	r := newRigOf(t, FormatConfig{
		LogSize: minSegments * 64 << 12, SegmentBlocks: 64, MetaPages: 512,
	})
	v := r.create("a", 4<<20)
	r.p.back.over = true // nothing is destaged
	left := 600
	for b := range int64(left) {
		r.p.Submit(blockWrite(v, b, 1, 1))
	}
	ended := func() {
		for q := r.p.NextDone(); q != nil; q = r.p.NextDone() {
			left--
		}
	}
	r.next(func() bool {
		ended()
		return r.p.anyStalledLane() && r.disk.InFlight() == 0
	})
	if left == 0 {
		t.Fatal("nothing waits")
	}
	r.p.back.over = false
	r.p.setReadOnly(errors.New("test"))
	r.next(func() bool {
		ended()
		return left == 0
	})
	r.expect(v, 0, 1, 0)
	r.open()
	r.check()
}
