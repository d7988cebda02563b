package placement

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// scatter writes the first blocks of a volume in an order, with drains between them now and then, so that the
// blocks of a leaf come to lie apart.
func (r *rig) scatter(v *Volume, rng *rand.Rand, blocks int) map[int64]byte {
	r.t.Helper()
	content := map[int64]byte{}
	buf := simdisk.Buffer(log.BlockSize)
	for i, b := range rng.Perm(blocks) {
		fill := byte(1 + rng.IntN(255))
		for j := range buf {
			buf[j] = fill
		}
		req := &Request{Kind: Write, Vol: v, Off: int64(b) * log.BlockSize, Len: log.BlockSize, Buf: buf}
		if r.do(req); req.Err != 0 {
			r.t.Fatal(req.Err)
		}
		content[req.Off] = fill
		if i%12 == 11 { // too few for a home
			if err := r.control(&Control{Op: Drain}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	return content
}

// verify reads back what scatter wrote.
func (r *rig) verify(v *Volume, content map[int64]byte) {
	r.t.Helper()
	buf := simdisk.Buffer(log.BlockSize)
	for off := int64(0); off < v.Size(); off += log.BlockSize {
		req := &Request{Kind: Read, Vol: v, Off: off, Len: log.BlockSize, Buf: buf}
		if r.do(req); req.Err != 0 {
			r.t.Fatalf("read at %d: %v", off, req.Err)
		}
		if want := bytes.Repeat([]byte{content[off]}, log.BlockSize); !bytes.Equal(buf, want) {
			r.t.Fatalf("at %d: %d, want %d", off, buf[0], want[0])
		}
	}
}

// idle lets time pass without requests until nothing is left to do.
func (r *rig) idle() {
	r.t.Helper()
	for i := 0; r.active(); i++ {
		if i == 1_000_000 {
			r.t.Fatal("the pool does not come to rest")
		}
	}
}

// active runs one turn of the loop, and reports whether there may be more to do without requests.
func (r *rig) active() bool {
	r.p.Tick(r.w.Now() + 1)
	if r.p.Run() || r.drv.Pump() > 0 || r.w.Step() {
		return true
	}
	at := r.p.Deadline()
	if at > 0 {
		r.w.Advance(at)
	}
	return at > 0
}

// pieces returns in how many pieces the own blocks of a volume lie, and how few they could be.
func (r *rig) pieces(v *Volume) (runs, least int) {
	r.t.Helper()
	n := v.node
	for leaf := range uint64(v.Size()) / (leafBlocks * log.BlockSize) {
		f, err := r.p.descend(&n.tree, leaf*leafBlocks, 1, nil)
		for ; err == errWait; f, err = r.p.descend(&n.tree, leaf*leafBlocks, 1, nil) {
			r.turn()
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if f != noFrame {
			s := r.p.shapeOf(n, f, leaf)
			runs, least = runs+s.runs, least+s.least
		}
	}
	return runs, least
}

// restart starts the pool anew, after an orderly end.
func (r *rig) restart(change func(*Options)) {
	r.t.Helper()
	r.must(&Control{Op: Shutdown})
	r.reopen(change)
}

// What was written in pieces lies in one piece for each leaf when guests have been idle; then the
// pool comes to rest, and looks at nothing again until it changes.
func TestReplace(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.NoReplacement = true })
	v := r.create("v", 4<<20)
	content := r.scatter(v, rand.New(rand.NewPCG(1, 1)), 1024)
	r.idle()
	before, least := r.pieces(v)
	if before < 100 || r.p.stats.ReplacedBlocks != 0 {
		t.Fatalf("%d pieces before, %d blocks moved although that is off", before, r.p.stats.ReplacedBlocks)
	}
	r.restart(func(*Options) {})
	v = r.p.Volume("v")
	r.verify(v, content)
	r.idle()
	after, _ := r.pieces(v)
	st := r.p.stats
	t.Logf("%d pieces, then %d, at least %d; %d blocks of %d leaves moved", before, after, least,
		st.ReplacedBlocks, st.ReplacedLeaves)
	if after != least {
		t.Errorf("%d pieces, want %d", after, least)
	}
	r.verify(v, content)
	r.idle()
	if got := r.p.stats; got.ReplacedBlocks != st.ReplacedBlocks || got.Mismatches+got.ReadErrors > 0 {
		t.Errorf("moved again: %d blocks, then %d; %d mismatches", st.ReplacedBlocks, got.ReplacedBlocks,
			got.Mismatches)
	}
	r.check()
}

// What a snapshot shares stays where it is; what the volume has written since is put in order.
func TestReplaceLeavesWhatIsShared(t *testing.T) {
	r := newRig(t, 64<<20)
	r.create("v", 2<<20)
	rng := rand.New(rand.NewPCG(2, 2))
	r.restart(func(o *Options) { o.NoReplacement = true })
	v := r.p.Volume("v")
	old := r.scatter(v, rng, 512)
	if err := r.control(&Control{Op: SnapshotVolume, Names: []string{"v"}, To: "s"}); err != nil {
		t.Fatal(err)
	}
	content := r.scatter(v, rng, 300)
	for off, b := range old {
		if _, ok := content[off]; !ok {
			content[off] = b
		}
	}
	r.idle()
	before := r.layoutOf("v@s")
	r.restart(func(*Options) {})
	v = r.p.Volume("v")
	r.idle()
	if r.p.stats.ReplacedBlocks == 0 {
		t.Error("nothing was moved")
	}
	if after := r.layoutOf("v@s"); after != before {
		t.Error("blocks of the snapshot moved")
	}
	runs, least := r.pieces(v)
	if runs != least {
		t.Errorf("%d pieces, want %d", runs, least)
	}
	r.verify(v, content)
	r.verify(r.p.Volume("v@s"), old)
	r.check()
}

// layoutOf returns where all blocks of a volume or snapshot lie.
func (r *rig) layoutOf(name string) string {
	r.t.Helper()
	n := r.p.names[name]
	var b bytes.Buffer
	for block := range n.blocks() {
		e, err := r.p.find(&r.p.mapOf(n).tree, block, nil)
		for ; err == errWait; e, err = r.p.find(&r.p.mapOf(n).tree, block, nil) {
			r.turn()
		}
		if err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintln(&b, e.Addr)
	}
	return b.String()
}

// A guest's request ends the job at once, and its write is what stays.
func TestReplaceYieldsToGuests(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.NoReplacement = true })
	v := r.create("v", 2<<20)
	content := r.scatter(v, rand.New(rand.NewPCG(3, 3)), 512)
	r.restart(func(*Options) {})
	v = r.p.Volume("v")
	buf := simdisk.Buffer(log.BlockSize)
	disturbed := 0
	for i := 0; r.active(); i++ {
		if i == 1_000_000 {
			t.Fatal("the pool does not come to rest")
		}
		b := &r.p.back
		if b.phase != replaceRead && b.phase != replaceWrite || b.pending == 0 || disturbed == 20 {
			continue
		}
		m := &b.moves[i%len(b.moves)]
		disturbed++
		for j := range buf {
			buf[j] = byte(disturbed)
		}
		moved, was := r.p.stats.ReplacedBlocks, b.phase
		req := &Request{
			Kind: Write, Vol: v, Off: int64(m.block) * log.BlockSize, Len: log.BlockSize, Buf: buf,
		}
		all := b.next == len(b.order)
		if r.do(req); req.Err != 0 {
			t.Fatal(req.Err)
		}
		content[req.Off] = byte(disturbed)
		for r.p.Status().Replacing {
			r.turn()
		}
		if moved != r.p.stats.ReplacedBlocks && !(all && was == replaceWrite) {
			t.Error("the job went on after a guest's request")
		}
	}
	if disturbed < 5 {
		t.Errorf("disturbed %d times", disturbed)
	}
	if runs, least := r.pieces(v); runs != least {
		t.Errorf("%d pieces, want %d", runs, least)
	}
	r.verify(v, content)
	r.check()
}

// A snapshot that is taken meanwhile makes the blocks shared: they stay.
func TestReplaceGivesUpOnASnapshot(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.NoReplacement = true })
	v := r.create("v", 1<<20)
	content := r.scatter(v, rand.New(rand.NewPCG(4, 4)), 256)
	r.restart(func(*Options) {})
	for i := 0; r.p.back.phase != replaceRead; i++ {
		if r.turn(); i == 1_000_000 {
			t.Fatal("nothing is moved")
		}
	}
	if err := r.control(&Control{Op: SnapshotVolume, Names: []string{"v"}, To: "s"}); err != nil {
		t.Fatal(err)
	}
	if !r.p.Status().Replacing {
		t.Fatal("the snapshot came too late to be in the way")
	}
	r.idle()
	if n := r.p.stats.ReplacedBlocks; n > 0 {
		t.Errorf("%d blocks of a snapshot were moved", n)
	}
	r.verify(r.p.Volume("v"), content)
	r.verify(r.p.Volume("v@s"), content)
	r.check()
}

// A block that cannot be read stays where it is and is reported; the others are moved.
func TestReplaceLeavesWhatIsUnreadable(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.NoReplacement = true })
	v := r.create("v", 1<<20)
	r.scatter(v, rand.New(rand.NewPCG(5, 5)), 256)
	r.idle()
	r.restart(func(*Options) {})
	n := r.p.names["v"]
	var e Entry
	bad := uint64(0)
	for r.layoutOf("v"); e.Addr%chunkUnits == bad; bad++ { // one that is not at home
		var err error
		if e, err = r.p.find(&n.tree, bad+1, nil); err != nil {
			t.Fatal(err)
		}
	}
	block := simdisk.Buffer(log.BlockSize)
	r.disk.Poke(block, int64(e.Addr)*log.BlockSize)
	r.idle()
	st := r.p.stats
	if st.ReplacedBlocks == 0 || st.ReadErrors != 1 || st.LastError == nil || st.LastError.Block != bad ||
		st.LastError.Volume != "v" {
		t.Errorf("%d blocks moved, %d errors, last %v", st.ReplacedBlocks, st.ReadErrors, st.LastError)
	}
	if now, _ := r.p.find(&n.tree, bad, nil); now != e {
		t.Errorf("the bad block's entry was %+v, is %+v", e, now)
	}
}

// Leaves are remembered once each and in order; when they are too many, all are looked at.
func TestScatteredRemembersWhatItCan(t *testing.T) {
	s := newScattered()
	s.skip(noScan)
	for i := range uint64(scatteredMax) {
		s.add(leafKey(3, i*7%scatteredMax))
		s.add(leafKey(3, i*7%scatteredMax))
	}
	if len(s.leaves) != scatteredMax || s.scan != noScan {
		t.Fatalf("%d leaves, scan %x", len(s.leaves), s.scan)
	}
	for i, key := range s.leaves {
		if key != leafKey(3, uint64(i)) {
			t.Fatalf("leaf %d is %x", i, key)
		}
	}
	if s.add(leafKey(4, 0)); s.scan != 0 {
		t.Error("one more, and not all leaves are looked at")
	}
	s.skip(leafKey(5, 0))
	s.add(leafKey(4, 1)) // behind the scan, and there is no room
	if s.skip(noScan); s.scan != 0 || s.again {
		t.Errorf("the scan does not begin anew: %x", s.scan)
	}
}
