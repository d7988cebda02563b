package placement

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// scrub runs a scrub to its end.
func (r *rig) scrub(rate int64) ScrubStatus {
	r.t.Helper()
	r.must(&Control{Op: StartScrub, Rate: rate})
	r.next(func() bool { return !r.p.back.scrub.Running })
	return r.p.Status().Scrub
}

// addressOf returns where a block of a volume lies on the capacity device.
func (r *rig) addressOf(v *Volume, block uint64) uint64 {
	r.t.Helper()
	for range 1000 {
		src, err := r.p.locate(v.node, block, nil)
		if err == nil && src.dev == log.Capacity && src.kind == fromDevice {
			return src.block
		}
		r.turn()
	}
	r.t.Fatalf("block %d has no place", block)
	return 0
}

func TestScrubFindsNothing(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 700, 1)
	r.must(&Control{Op: Drain})
	r.fill(v, 100, 50, 2) // newer, and in the log
	st := r.scrub(1 << 30)
	if st.Err != nil || st.Began == 0 || st.Ended == 0 || st.Running {
		t.Errorf("it has not come to its end: %+v", st)
	}
	if st.Damage() != 0 || st.Blocks != 650 || st.Pages < 10 {
		t.Errorf("650 blocks are to be read, and nothing is damaged: %+v", st)
	}
	if st.Done != (st.Blocks+st.Pages)*log.BlockSize || st.Total != st.Done {
		t.Errorf("%d bytes of %d, %d blocks and %d pages", st.Done, st.Total, st.Blocks, st.Pages)
	}
	if s := r.p.Status().Stats; s.Mismatches+s.ReadErrors+s.PageDamage > 0 {
		t.Errorf("%+v", s)
	}
}

// TestScrubNamesABadBlock: flipped bits and an unreadable sector are both found, named and counted;
// a later write heals the block.
func TestScrubNamesABadBlock(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 300, 1)
	r.must(&Control{Op: Drain})
	flipped, unreadable := r.addressOf(v, 17), r.addressOf(v, 280)
	capacity.Flip(int64(flipped)*log.BlockSize, 5)
	capacity.SetBad(int64(unreadable)*log.BlockSize, log.BlockSize, true)
	st := r.scrub(0)
	if st.BadBlocks != 2 || len(st.Found) != 2 || st.Damage() != 2 || st.Err != nil {
		t.Fatalf("two blocks are bad: %+v", st)
	}
	for i, want := range []BlockError{
		{Volume: "a", Block: 17, Device: "capacity", Address: flipped},
		{Volume: "a", Block: 280, Device: "capacity", Address: unreadable},
	} {
		got := st.Found[i]
		if got.Volume != want.Volume || got.Block != want.Block || got.Device != want.Device ||
			got.Address != want.Address || got.Err == nil {
			t.Errorf("found %v, want %v", &got, want)
		}
	}
	s := r.p.Status().Stats
	if s.ReadErrors != 2 || s.LastError == nil || s.LastError.Block != 280 {
		t.Errorf("%d read errors, last %v", s.ReadErrors, s.LastError)
	}
	r.expect(v, 17, 0, eio)
	r.fill(v, 17, 1, 2)
	r.fill(v, 280, 1, 2)
	r.must(&Control{Op: Drain})
	if st = r.scrub(0); st.Damage() != 0 || len(st.Found) != 0 || st.Blocks != 300 {
		t.Errorf("after both were written anew: %+v", st)
	}
}

// TestScrubReadsAgain: a read that fails once is no damage.
func TestScrubReadsAgain(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 300, 1)
	r.must(&Control{Op: Drain})
	from := int64(r.addressOf(v, 40)) * log.BlockSize
	capacity.Inject(simdisk.Fault{Do: simdisk.FailRead, From: from, To: from + log.BlockSize})
	if st := r.scrub(0); st.Damage() != 0 || st.Blocks != 300 {
		t.Errorf("%+v", st)
	}
	if s := r.p.Status().Stats; s.Mismatches != 1 || s.ReadErrors != 0 {
		t.Errorf("%d mismatches, %d read errors", s.Mismatches, s.ReadErrors)
	}
}

// TestScrubMendsCopies damages one copy of everything of which there are two, in either home: a scrub
// writes all of it anew, and check finds nothing.
func TestScrubMendsCopies(t *testing.T) {
	for _, home := range []log.Dev{log.Fast, log.Capacity} {
		t.Run(home.String(), func(t *testing.T) {
			r, _ := newPairRig(t)
			v := r.create("a", 600<<20) // three levels
			r.fill(v, 0, 300, 1)
			r.fill(v, 90_000, 3, 1)
			r.must(&Control{Op: Drain})
			disk := []*simdisk.Disk{r.disk, r.capacity}[home]
			l := &r.p.label
			start := int64(l.HomeStart(home)) * log.BlockSize
			for b := range int64(l.Home.Blocks) {
				disk.Flip(start+b*log.BlockSize, int(b)%8)
			}
			st := r.scrub(0)
			if st.BadCopies < 9 || st.Repaired != st.BadCopies || st.BadPages+st.BadBlocks > 0 ||
				st.Damage() != 0 || st.Blocks != 303 {
				t.Errorf("a whole home is bad: %+v", st)
			}
			if s := r.p.Status().Stats; s.PageRepairs != s.PageDamage || s.PageDamage != st.BadCopies {
				t.Errorf("%d copies were bad, %d repaired", s.PageDamage, s.PageRepairs)
			}
			r.check()
		})
	}
}

// TestScrubNamesABadPage: without a good copy, and not in memory, a page is lost, and what is below
// it is passed over.
func TestScrubNamesABadPage(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("a", 600<<20)
	r.fill(v, 0, 300, 1)
	r.fill(v, 90_000, 3, 1)
	r.must(&Control{Op: Drain})
	var leaf Entry
	for leaf.Flags == 0 {
		r.turn()
		if f, err := r.p.descend(&v.node.tree, 0, 2, nil); err == nil {
			leaf = entryAt(r.p.cache.page(f), 1)
		}
	}
	for home, disk := range []*simdisk.Disk{r.disk, capacity} {
		disk.Flip(r.p.label.locate(log.Dev(home), r.p.label.pageBlock(leaf.Addr)).off, 9)
	}
	f := r.p.cache.find(key(treePage, leaf.Addr))
	if f == noFrame {
		t.Fatal("the leaf is not in memory")
	}
	content := append([]byte{}, r.p.cache.page(f)...)
	r.p.cache.drop(f)
	st := r.scrub(0)
	if st.BadPages != 1 || st.BadCopies != 2 || st.Repaired != 0 || st.Damage() != 2 || st.Blocks != 259 {
		t.Errorf("a leaf with 44 blocks is lost: %+v", st)
	}
	if len(st.Found) != 1 || st.Found[0].Block != 256 || !errors.Is(&st.Found[0], ErrDamaged) ||
		!strings.Contains(st.Found[0].Error(), fmt.Sprintf("map page %d", leaf.Addr)) {
		t.Errorf("found %v", st.Found)
	}
	// What is in memory is as good as a copy.
	f = r.p.cache.take(key(treePage, leaf.Addr))
	copy(r.p.cache.page(f), content)
	r.p.cache.frames[f].crc = leaf.CRC
	if st = r.scrub(0); st.Repaired != 2 || st.BadPages != 0 || st.Blocks != 303 || st.Damage() != 0 {
		t.Errorf("the leaf is in memory: %+v", st)
	}
	r.check()
}

// TestScrubReadsSharedBlocksOnce: of an image with clones, each block is read once, also when the
// image has been removed and when a clone is all that is left of it.
func TestScrubReadsSharedBlocksOnce(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("image", 16<<20)
	r.fill(v, 0, 500, 1)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"image"}, To: "gold"})
	for i := range 20 {
		c := &Control{Op: CloneVolume, Name: "image@gold", To: fmt.Sprint("clone", i)}
		r.must(c)
		if i%2 == 0 {
			r.fill(c.Vol, int64(20*i), 3, 2)
		}
	}
	r.must(&Control{Op: Drain})
	const own = 10 * 3
	once := func(what string, want uint64) {
		t.Helper()
		reads := map[int64]int{}
		r.w.Observe(func(e simdisk.Event) {
			if e.Kind == log.Read && e.Done && e.Disk == capacity && r.p.IsData(log.Capacity, e.Off) {
				for off := e.Off; off < e.Off+e.Len; off += log.BlockSize {
					reads[off]++
				}
			}
		})
		st := r.scrub(0)
		r.w.Observe(nil)
		if st.Blocks != want || uint64(len(reads)) != want || st.Damage() != 0 {
			t.Errorf("%s: %d blocks, %d read from the device, want %d", what, st.Blocks, len(reads), want)
		}
		for off, n := range reads {
			if n != 1 {
				t.Fatalf("%s: block %d was read %d times", what, off/log.BlockSize, n)
			}
		}
	}
	once("an image with clones", 500+own)
	r.must(&Control{Op: RemoveVolume, Names: []string{"image", "image@gold"}})
	r.must(&Control{Op: Drain})
	once("a removed image", 500+own)
	for i := 1; i < 20; i++ {
		r.must(&Control{Op: RemoveVolume, Name: fmt.Sprint("clone", i)})
	}
	once("one clone is left", 500+3-3)
	r.check()
}

// TestFamilyScrubBesideAWalk: while a removed snapshot is merged into its volume, all of what that has is
// read, on both sides of the walker.
func TestFamilyScrubBesideAWalk(t *testing.T) {
	r := newRig(t, 96<<20)
	const leaves = 60
	_, h := r.halfWalked(leaves, 10, 50)
	if st := r.scrub(0); st.Blocks != 2*leaves || st.Damage() != 0 || st.Err != nil {
		t.Errorf("beside the walk: %+v", st)
	}
	h.fresh--
	r.next(func() bool { return !r.p.back.walking() })
	r.must(&Control{Op: Checkpoint})
	if st := r.scrub(0); st.Blocks != 2*leaves || st.Damage() != 0 {
		t.Errorf("after the walk: %+v", st)
	}
	r.check()
}

// TestFamilyScrubAfterACrash: what was written in place after the last checkpoint is not what the maps
// say until it is destaged again. That is no damage, also where a clone reads it through the map of a
// removed snapshot.
func TestFamilyScrubAfterACrash(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 40, 1)
	r.must(&Control{Op: Drain})
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	r.fill(v, 0, 20, 2)
	r.must(&Control{Op: Drain})
	never := int64(1e15)
	r.reopen(func(o *Options) { o.Idle, o.CheckpointEvery, o.Low, o.High = never, never, 1, 900 })
	v = r.p.Volume("a")
	r.fill(v, 5, 10, 3)
	r.next(func() bool { return !r.p.back.backlog() && r.p.back.phase == backIdle })
	if r.p.stats.Checkpoints > 0 {
		t.Fatal("there was a checkpoint")
	}
	r.reopen(func(o *Options) { o.Idle, o.CheckpointEvery, o.Low, o.High = never, never, 800, 900 })
	st := r.scrub(0)
	if st.Damage() != 0 || st.Blocks >= 60 || r.p.stats.Mismatches > 0 || r.p.index.len() == 0 {
		t.Errorf("%d blocks in the log: %+v", r.p.index.len(), st)
	}
	r.must(&Control{Op: Drain})
	if st := r.scrub(0); st.Damage() != 0 || st.Blocks != 60 {
		t.Errorf("%+v", st)
	}
	r.check()
}

// TestScrubStops: by an operator, when the pool becomes read-only, and when it is closed. One at a
// time is under way.
func TestScrubStops(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 600, 1)
	r.must(&Control{Op: Drain})
	if err := r.control(&Control{Op: StopScrub}); !errors.Is(err, ErrNoScrub) {
		t.Errorf("stop: %v, want ErrNoScrub", err)
	}
	r.must(&Control{Op: StartScrub, Rate: 1 << 20})
	if err := r.control(&Control{Op: StartScrub}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second one: %v, want ErrBusy", err)
	}
	r.next(func() bool { return r.p.back.scrub.Blocks > 0 })
	r.must(&Control{Op: StopScrub})
	st := r.p.Status().Scrub
	if st.Running || !errors.Is(st.Err, ErrStopped) || st.Blocks == 600 || st.Total <= st.Done {
		t.Errorf("after a stop: %+v", st)
	}
	r.must(&Control{Op: StartScrub, Rate: 1 << 20}) // while the last step of the other may be under way
	r.next(func() bool { return r.p.back.inScrub() })
	r.must(&Control{Op: StopScrub})
	if st := r.scrub(0); st.Blocks != 600 || st.Err != nil {
		t.Errorf("after a stop in the middle of a step: %+v", st)
	}
	r.must(&Control{Op: StartScrub, Rate: 1 << 20})
	r.fill(v, 0, 10, 2)
	capacity.Inject(simdisk.Fault{Do: simdisk.FailFlush})
	if err := r.control(&Control{Op: Drain}); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("drain: %v", err)
	}
	if st := r.p.Status().Scrub; st.Running || !errors.Is(st.Err, ErrReadOnly) {
		t.Errorf("of a pool that is read-only: %+v", st)
	}
	if err := r.control(&Control{Op: StartScrub}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("start: %v, want ErrReadOnly", err)
	}
	r.open()
	r.must(&Control{Op: StartScrub, Rate: 1 << 20})
	r.must(&Control{Op: Shutdown})
	if r.p.back.scrub.Running {
		t.Error("it goes on in a pool that is closed")
	}
	r.open()
	r.check()
}

// TestScrubKeepsItsRate: 16 MiB at 4 MiB a second take 4 s, and a volume that is removed meanwhile is
// passed over.
func TestScrubKeepsItsRate(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 32<<20)
	r.fill(v, 0, 4096, 1)
	r.must(&Control{Op: Drain})
	began := r.w.Now()
	if st := r.scrub(4 << 20); st.Blocks != 4096 {
		t.Fatalf("%+v", st)
	}
	if took := r.w.Now() - began; took < 3_700_000_000 || took > 4_500_000_000 {
		t.Errorf("it took %d ns", took)
	}
	r.must(&Control{Op: StartScrub, Rate: 4 << 20})
	r.next(func() bool { return r.p.back.scrub.Blocks > 1000 })
	r.must(&Control{Op: RemoveVolume, Name: "a"})
	r.next(func() bool { return !r.p.back.scrub.Running })
	if st := r.p.Status().Scrub; st.Blocks > 2048 || st.Damage() != 0 || st.Err != nil {
		t.Errorf("after the volume was removed: %+v", st)
	}
}

// TestScrubBesideGuests: with guests that never rest, and a log that is always on its way to its
// places, a scrub comes to its end, and hardly slows them.
func TestScrubBesideGuests(t *testing.T) {
	run := func(scrub bool) (took int64, st ScrubStatus) {
		r, _ := newPairRig(t)
		v := r.create("a", 16<<20)
		r.fill(v, 0, 2048, 1)
		r.must(&Control{Op: Drain})
		if scrub {
			r.must(&Control{Op: StartScrub})
		}
		began := r.w.Now()
		for i := range int64(6000) {
			r.do(blockWrite(v, i*7%2048, 1, byte(i)))
		}
		took, st = r.w.Now()-began, r.p.Status().Scrub
		r.must(&Control{Op: Drain})
		r.check()
		return took, st
	}
	alone, _ := run(false)
	beside, st := run(true)
	if st.Running || st.Err != nil || st.Damage() != 0 || st.Blocks == 0 {
		t.Errorf("%+v", st)
	}
	if beside > alone*11/10 {
		t.Errorf("6,000 writes took %d ns, beside a scrub %d ns", alone, beside)
	}
	t.Logf("6,000 writes took %d ns, beside a scrub %d ns", alone, beside)
}

// TestScrubOfADeviceThatIsGone: blocks of which no one can be read are not named one after the other.
func TestScrubOfADeviceThatIsGone(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 600, 1)
	r.must(&Control{Op: Drain})
	capacity.Vanish()
	st := r.scrub(0)
	var why *DeviceError
	if !errors.As(st.Err, &why) || why.Dev != log.Capacity || st.BadBlocks+st.BadCopies > 0 {
		t.Errorf("the data device cannot be read: %+v", st)
	}
}

// TestScrubSmallest: the smallest buffers there are.
func TestScrubSmallest(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 600, 1)
	r.must(&Control{Op: Drain})
	for _, batch := range []int{1, 8, 512} {
		r.reopen(func(o *Options) { o.BatchBlocks, o.NoReplacement, o.Frames = batch, true, minFrames })
		r.must(&Control{Op: Drain})
		if st := r.scrub(0); st.Blocks != 600 || st.Damage() != 0 || st.Err != nil {
			t.Errorf("batches of %d blocks: %+v", batch, st)
		}
	}
}
