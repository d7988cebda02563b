package placement

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"unblend/log"
)

// storm is a pool with a golden image and clones of it.
type storm struct {
	*rig
	image  []byte
	clones []*Volume
}

const stormBlocks = 64 // of the image

func newStorm(t *testing.T, clones int) *storm {
	s := &storm{rig: newRig(t, 96<<20), image: alignedBytes(stormBlocks * log.BlockSize)}
	v := s.create("image", 1<<20)
	for i := range s.image {
		s.image[i] = byte(i/log.BlockSize*7 + i%251 + 1)
	}
	for at := int64(0); at < stormBlocks; at += 16 {
		w := s.request(v, at, 16)
		w.Kind = Write
		copy(w.Buf, s.image[w.Off:])
		if s.do(w); w.Err != 0 {
			t.Fatal(w.Err)
		}
	}
	s.must(&Control{Op: SnapshotVolume, Names: []string{"image"}, To: "gold"})
	s.must(&Control{Op: Drain})
	for i := range clones {
		c := &Control{Op: CloneVolume, Name: "image@gold", To: fmt.Sprint("clone", i)}
		s.must(c)
		s.clones = append(s.clones, c.Vol)
	}
	return s
}

func (s *storm) must(c *Control) {
	s.t.Helper()
	if err := s.control(c); err != nil {
		s.t.Fatal(err)
	}
}

// request asks for n blocks of a volume.
func (s *storm) request(v *Volume, at, n int64) *Request {
	return &Request{
		Vol: v, Off: at * log.BlockSize, Len: n * log.BlockSize, Buf: alignedBytes(int(n) * log.BlockSize),
	}
}

// read reads blocks of a volume, compares them with the image, and returns what that took in device
// operations.
func (s *storm) read(v *Volume, at, n int64) uint64 {
	s.t.Helper()
	before := s.disk.Stats().Reads
	r := s.request(v, at, n)
	s.do(r)
	s.compare(r)
	return s.disk.Stats().Reads - before
}

func (s *storm) compare(r *Request) {
	s.t.Helper()
	if r.Err != 0 || !bytes.Equal(r.Buf, s.image[r.Off:r.Off+r.Len]) {
		s.t.Fatalf("%s at %d: %v, or not what the image has", r.Vol.Name(), r.Off, r.Err)
	}
}

// TestSecondCloneReadsMemory: what one clone has read another one reads without the device; what a
// volume has for itself, or from its own snapshot, is not kept.
func TestSecondCloneReadsMemory(t *testing.T) {
	s := newStorm(t, 3)
	s.read(s.clones[0], 63, 1) // for the pages of the map
	for at := int64(0); at < stormBlocks-4; at += 4 {
		if n := s.read(s.clones[0], at, 4); n != 1 {
			t.Fatalf("the first read of a run took %d operations", n)
		}
	}
	for _, c := range s.clones {
		for at := int64(0); at < stormBlocks-4; at += 3 {
			if n := s.read(c, at, 3); n != 0 {
				t.Fatalf("%s: block %d again took %d operations", c.Name(), at, n)
			}
		}
	}
	image := s.p.Volume("image")
	shared := s.p.cache.shared
	for range 2 {
		if n := s.read(image, 40, 2); n != 1 {
			t.Errorf("reading what a snapshot of the volume itself has took %d operations", n)
		}
	}
	w := s.request(s.clones[1], 8, 1)
	copy(w.Buf, s.image[8*log.BlockSize:])
	w.Kind, w.Buf[0] = Write, 0xEE
	s.do(w)
	s.image[8*log.BlockSize] = 0xEE
	s.must(&Control{Op: Drain})
	for range 2 {
		if n := s.read(s.clones[1], 8, 1); n != 1 {
			t.Errorf("reading a block of its own took %d operations", n)
		}
	}
	if s.p.cache.shared != shared {
		t.Errorf("%d frames with shared blocks, were %d", s.p.cache.shared, shared)
	}
}

// TestReadersWaitForOne: clones that want a block at the same moment have it read once.
func TestReadersWaitForOne(t *testing.T) {
	s := newStorm(t, 20)
	s.read(s.clones[0], 63, 1)
	before := s.disk.Stats().Reads
	var reqs []*Request
	for _, c := range s.clones {
		reqs = append(reqs, s.request(c, 10, 16))
		s.p.Submit(reqs[len(reqs)-1])
	}
	for left := len(reqs); left > 0; {
		s.turn()
		for r := s.p.NextDone(); r != nil; r = s.p.NextDone() {
			s.compare(r)
			left--
		}
	}
	if n := s.disk.Stats().Reads - before; n != 1 {
		t.Errorf("%d operations, want 1", n)
	}
	if st := s.p.Status().Stats; st.SharedReads != 17 || st.SharedHits != 19*16 {
		t.Errorf("%d blocks read, %d from memory", st.SharedReads, st.SharedHits)
	}
}

// TestRunsStayWhole: a run of which the cache has a part is one operation.
func TestRunsStayWhole(t *testing.T) {
	s := newStorm(t, 2)
	for at := int64(0); at < stormBlocks; at += 2 {
		s.read(s.clones[0], at, 1)
	}
	if n := s.read(s.clones[1], 0, stormBlocks); n != 1 {
		t.Errorf("with every other block in memory a run took %d operations", n)
	}
	if n := s.read(s.clones[0], 0, stormBlocks); n != 0 {
		t.Errorf("with all of it in memory a run took %d operations", n)
	}
}

// TestFailedReadIsNotKept: readers that wait for one that fails get what they ask for nevertheless,
// or an error of their own.
func TestFailedReadIsNotKept(t *testing.T) {
	s := newStorm(t, 2)
	s.read(s.clones[0], 63, 1)
	e, err := s.p.find(&s.p.mapOf(s.clones[0].node).tree, 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.capacity.Flip(int64(e.Addr)*log.BlockSize, 9)
	for _, c := range s.clones {
		s.p.Submit(s.request(c, 4, 4))
	}
	for left := 2; left > 0; {
		s.turn()
		for r := s.p.NextDone(); r != nil; r = s.p.NextDone() {
			if left--; r.Err != eio {
				t.Errorf("reading a damaged block: %v", r.Err)
			}
		}
	}
	if c := s.p.cache; c.lent != 0 || c.loading != 0 || c.find(key(sharedBlock, e.Addr)) != noFrame {
		t.Errorf("%d frames lent, %d being loaded", c.lent, c.loading)
	}
	if n := s.read(s.clones[1], 4, 1); n != 0 {
		t.Errorf("the good block beside it took %d operations", n)
	}
}

// TestAddressUsedAgain: an address in the cache gets other content, by its only owner left in place,
// or after it was freed.
func TestAddressUsedAgain(t *testing.T) {
	s := newStorm(t, 2)
	for _, c := range s.clones {
		s.read(c, 0, stormBlocks)
	}
	s.must(&Control{Op: RemoveVolume, Names: []string{"image", "image@gold", "clone0"}})
	for range 20 { // the walker makes what was the image's that of the clone that is left
		s.must(&Control{Op: Drain})
		s.must(&Control{Op: Checkpoint})
	}
	c := s.clones[1]
	old, err := s.p.find(&c.node.tree, 3, nil)
	if err != nil || !c.node.owns(old, 4) {
		t.Fatalf("the clone does not own its block: %v", err)
	}
	if s.p.cache.find(key(sharedBlock, old.Addr)) == noFrame {
		t.Fatal("the block is not in memory")
	}
	w := s.request(c, 3, 1)
	w.Kind, w.Buf[0] = Write, 1
	s.do(w)
	copy(s.image[3*log.BlockSize:], w.Buf)
	s.must(&Control{Op: Drain})
	now, err := s.p.find(&c.node.tree, 3, nil)
	if err != nil || now.Addr != old.Addr {
		t.Fatalf("the block was not written in place: %v", err)
	}
	if s.p.cache.find(key(sharedBlock, old.Addr)) != noFrame {
		t.Error("the block is in memory although its address was written")
	}
	s.read(c, 0, stormBlocks)
}

// TestBlocksGiveWayToPages: in a cache full of shared blocks every page finds a frame, and with
// dirty pages the blocks have less.
func TestBlocksGiveWayToPages(t *testing.T) {
	s := newStorm(t, 1)
	c := s.p.cache
	block := alignedBytes(log.BlockSize)
	keep := func() {
		for i := range 4 * len(c.frames) {
			c.keepShared(&source{kind: fromDevice, shared: true, block: uint64(1<<30 + i)}, block)
		}
	}
	keep()
	if c.shared != len(c.frames)/2 {
		t.Fatalf("%d of %d frames have shared blocks", c.shared, len(c.frames))
	}
	for i := range len(c.frames) / 2 {
		f := c.take(key(treePage, uint64(1<<30+i)))
		if f == noFrame {
			t.Fatalf("no frame for page %d", i)
		}
		c.setDirty(f)
	}
	keep()
	if c.shared > len(c.frames)/2 || c.dirty < len(c.frames)/2 {
		t.Errorf("of %d frames %d are dirty and %d have shared blocks", len(c.frames), c.dirty, c.shared)
	}
	for i := range c.cutLimit() - c.dirty {
		f := c.take(key(pagePage, uint64(1<<30+i)))
		if f == noFrame {
			t.Fatalf("no frame for page %d of a cut", i)
		}
		c.setDirty(f)
	}
}

// TestScanLeavesWhatIsInUse: pages that are used again and again stay while ten times as many pages
// as there are frames are used once each, though several times in a row.
func TestScanLeavesWhatIsInUse(t *testing.T) {
	c := newRig(t, 64<<20).p.cache
	hot := len(c.frames) / 2
	lost := 0
	use := func(n uint64) {
		if c.lookup(key(treePage, n)) == noFrame {
			lost++
			c.take(key(treePage, n))
		}
	}
	for round := range 6 * hot {
		use(uint64(1<<20 + round%hot))
	}
	lost = 0
	for i := range 10 * len(c.frames) {
		c.take(key(treePage, uint64(1<<30+i)))
		for range 5 {
			c.lookup(key(treePage, uint64(1<<30+i)))
		}
		use(uint64(1<<20 + i%hot))
	}
	if lost > hot/10 {
		t.Errorf("a scan threw out %d of %d pages in use", lost, hot)
	}
}

// TestFamilyImages makes images, clones them, writes to clones, reads everything and removes it
// again, over and over, so that addresses of shared blocks get other content, shared again, while
// the cache still has the old one.
func TestFamilyImages(t *testing.T) {
	l := newLives(t, 1)
	hits, again := uint64(0), 0
	for round := range 60 {
		l.newVolume()
		v := fmt.Sprintf("v%d", l.names)
		for range 3 {
			l.change()
		}
		l.ask(&Control{Op: SnapshotVolume, Names: []string{v}, To: "gold"})
		l.model[v+"@gold"] = slices.Clone(l.model[v])
		for range 2 {
			l.clone(v + "@gold")
		}
		if l.rng.IntN(3) > 0 {
			l.ask(&Control{Op: Drain})
		}
		l.verifyAll()
		if l.rng.IntN(2) == 0 {
			l.rollback(v + "@gold")
		}
		for range 3 {
			l.change()
		}
		was := l.p.cache.shared
		l.ask(&Control{Op: Drain})
		again += was - l.p.cache.shared
		l.verifyAll()
		if l.rng.IntN(10) == 0 {
			hits += l.p.stats.SharedHits
			l.die()
		}
		if round%2 == 1 { // two generations, and one of them is left
			for _, name := range l.sorted(false)[1:] {
				l.removeVolume(name)
			}
			l.ask(&Control{Op: Checkpoint})
		}
	}
	hits += l.p.stats.SharedHits
	if t.Logf("%d blocks from memory, %d of their addresses written", hits, again); hits*uint64(again) == 0 {
		t.Error("nothing was read from memory, or no address was used again")
	}
	l.die()
	l.end()
}
