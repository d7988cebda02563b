package placement

import (
	"math/rand/v2"
	"testing"

	"unblend/log"
)

// workload is what guests do to one volume, and what must come of it: it knows of each sector
// whether it is zero, and of each block whether its newest content is in the log.
type workload struct {
	r      *rig
	v      *Volume
	filled []bool          // sectors
	inLog  map[uint64]bool // blocks with data
	frozen uint64          // likewise, of snapshots
	want   Flow            // without Placed, Runs and Ages
}

func newWorkload(r *rig, name string, size int64) *workload {
	return &workload{
		r: r, v: r.create(name, size), filled: make([]bool, size/SectorSize), inLog: map[uint64]bool{},
	}
}

// do does a request; a write is of zeros or of what is none.
func (w *workload) do(kind Kind, off, n int64, zeros bool) {
	w.r.t.Helper()
	q := &Request{Kind: kind, Vol: w.v, Off: off, Len: n, Buf: alignedBytes(int(Span(off, n)))}
	for i := range q.Buf {
		q.Buf[i] = 1
	}
	if zeros {
		clear(q.Buf)
	}
	w.r.do(q)
	if q.Err != 0 {
		w.r.t.Fatalf("%s at %d, %d bytes: %v", kind, off, n, q.Err)
	}
	w.expect(kind, off, n, zeros)
}

// expect does to the model what do does to the pool.
func (w *workload) expect(kind Kind, off, n int64, zeros bool) {
	const perBlock = log.BlockSize / SectorSize
	first, end := off/log.BlockSize, (off+n+log.BlockSize-1)/log.BlockSize
	if kind == Discard { // of whole blocks only
		first, end = (off+log.BlockSize-1)/log.BlockSize, (off+n)/log.BlockSize
		off, n = first*log.BlockSize, max(end-first, 0)*log.BlockSize
	}
	for s := off / SectorSize; s < (off+n)/SectorSize; s++ {
		w.filled[s] = kind == Write && !zeros
	}
	logged := uint64(0)
	for b := first; b < end; b++ {
		data := false
		for _, f := range w.filled[b*perBlock : (b+1)*perBlock] {
			data = data || f
		}
		switch had := w.inLog[uint64(b)]; {
		case data:
			logged++
			if had {
				w.want.Absorbed++
			}
			w.inLog[uint64(b)] = true
		case had:
			w.want.Dropped++
			delete(w.inLog, uint64(b))
		}
	}
	w.want.Logged += logged
	if kind == Write {
		all := uint64(end-first) * log.BlockSize
		w.want.WriteBytes += uint64(n)
		w.want.MergeBytes += all - uint64(n)
		w.want.ZeroBytes += all - logged*log.BlockSize
	} else {
		w.want.MergeBytes += logged * log.BlockSize
	}
}

// random does a random request.
func (w *workload) random(rng *rand.Rand) {
	w.r.t.Helper()
	size := int64(len(w.filled)) * SectorSize
	off := rng.Int64N(size/SectorSize) * SectorSize
	n := min(rng.Int64N(64)+1, (size-off)/SectorSize) * SectorSize
	kind := []Kind{Write, Write, Write, Discard, WriteZeroes}[rng.IntN(5)]
	if kind != Write && rng.IntN(2) == 0 { // long enough for an extent
		off, n = off/2, min(n*40, size-off/2/SectorSize*SectorSize)
		off = off / SectorSize * SectorSize
	}
	w.do(kind, off, n, rng.IntN(4) == 0)
}

// drained notes that all has been moved.
func (w *workload) drained() {
	w.want.Destaged += uint64(len(w.inLog)) + w.frozen
	w.frozen = 0
	clear(w.inLog)
}

// snapshot freezes what is in the log.
func (w *workload) snapshot(name string) {
	w.r.t.Helper()
	w.r.must(&Control{Op: SnapshotVolume, Names: []string{w.v.Name()}, To: name})
	w.frozen += uint64(len(w.inLog))
	clear(w.inLog)
}

// judge compares the counters with what the workload was.
func (w *workload) judge() {
	w.r.t.Helper()
	w.want.Live = uint64(len(w.inLog)) + w.frozen
	page, _ := w.r.p.FlowsAfter(0, make([]VolumeFlow, 0, 64))
	for _, f := range page {
		if f.Name == w.v.Name() {
			f.Flow.Runs, f.Flow.Ages, f.Flow.Placed = Lengths{}, Ages{}, 0
			if f.Flow != w.want {
				w.r.t.Fatalf("volume %s:\n got %+v\nwant %+v", f.Name, f.Flow, w.want)
			}
			return
		}
	}
	w.r.t.Fatalf("nothing is told of volume %s", w.v.Name())
}

// balanced fails the test unless the identity holds, for the pool and for each volume.
func (r *rig) balanced() {
	r.t.Helper()
	page, _ := r.p.FlowsAfter(0, make([]VolumeFlow, 0, 64))
	for _, f := range append(page, VolumeFlow{Flow: r.p.Status().Flow}) {
		if x := f.Flow; x.Began+x.Logged != x.Absorbed+x.Dropped+x.Destaged+x.Lost+x.Live {
			r.t.Fatalf("%q: what has entered the log is not what has left it and what is there: %+v",
				f.Name, x)
		}
	}
}

// TestFlow does random requests to two volumes, with snapshots, a rollback and a removal, and compares
// every counter with what the requests were.
func TestFlow(t *testing.T) {
	r := newRig(t, 64<<20)
	rng := rand.New(rand.NewPCG(7, 1))
	a, b := newWorkload(r, "a", 4<<20), newWorkload(r, "b", 2<<20)
	for round := range 21 {
		for range 60 {
			a.random(rng)
			b.random(rng)
			a.judge()
			b.judge()
		}
		switch {
		case round%2 == 0:
			a.snapshot(string(rune('a' + round)))
		default:
			r.must(&Control{Op: Drain})
			a.drained()
			b.drained()
		}
		r.balanced()
	}
	all := r.p.Status().Flow
	if all.Logged != a.want.Logged+b.want.Logged || all.WriteBytes != a.want.WriteBytes+b.want.WriteBytes ||
		all.Absorbed != a.want.Absorbed+b.want.Absorbed || all.Dropped != a.want.Dropped+b.want.Dropped ||
		all.Absorbed == 0 || all.Dropped == 0 || all.MergeBytes == 0 || all.ZeroBytes == 0 {
		t.Errorf("of the pool: %+v", all)
	}
	// What a volume had in the log is dropped with it; a restart begins to count anew.
	left := b.want.Live
	r.must(&Control{Op: RemoveVolume, Name: "b"})
	r.must(&Control{Op: Drain})
	a.drained()
	a.judge()
	r.balanced()
	if got := r.p.Status().Flow.Dropped - all.Dropped; got != left || left == 0 {
		t.Errorf("%d blocks dropped with their volume, want %d", got, left)
	}
	a.do(Write, 0, 64<<10, false)
	r.open()
	r.balanced()
	if f := r.p.Status().Flow; f.Began != 16 || f.Live != 16 || f.Logged != 0 {
		t.Errorf("after a restart: %+v", f)
	}
}

// TestFlowAfterRollback: a volume that was rolled back is counted from then on.
func TestFlowAfterRollback(t *testing.T) {
	r := newRig(t, 64<<20)
	w := newWorkload(r, "a", 1<<20)
	w.do(Write, 0, 64<<10, false)
	w.snapshot("s")
	w.do(Write, 0, 32<<10, false)
	r.must(&Control{Op: RollbackVolume, Name: "a@s", Attach: true})
	r.balanced()
	w.want, w.frozen = Flow{}, 0
	clear(w.inLog)
	w.v = r.p.Volume("a")
	w.do(Write, 0, 16<<10, false)
	w.judge()
	r.must(&Control{Op: Drain})
	r.balanced()
	if f := r.p.Status().Flow; f.Live != 0 || f.Dropped != 8 || f.Destaged != 20 {
		t.Errorf("in the end: %+v", f)
	}
}

// TestFlowUnderLoad keeps many writes under way while the log is emptied, so that blocks are
// overwritten on their way: the identity holds after every turn.
func TestFlowUnderLoad(t *testing.T) {
	r := newRig(t, 64<<20)
	const size, blocks = 8 << 20, 8 << 20 / log.BlockSize
	v := r.create("a", size)
	rng := rand.New(rand.NewPCG(7, 2))
	var free []*Request
	for range 16 {
		free = append(free, &Request{Vol: v, Buf: alignedBytes(8 * log.BlockSize)})
	}
	for i := range free {
		for k := range free[i].Buf {
			free[i].Buf[k] = 1
		}
	}
	for writes := 0; writes < 6000; {
		r.p.Tick(r.w.Now() + 1)
		for len(free) > 0 {
			q := free[len(free)-1]
			free = free[:len(free)-1]
			q.Kind, q.Off, q.Len = Write, rng.Int64N(blocks-8)*log.BlockSize, (1+rng.Int64N(8))*log.BlockSize
			r.p.Submit(q)
			writes++
		}
		r.turn()
		for q := r.p.NextDone(); q != nil; q = r.p.NextDone() {
			free = append(free, q)
		}
		r.balanced()
	}
	f, st := r.p.Status().Flow, r.p.Status().Stats
	if f.Destaged == 0 || f.Absorbed == 0 || f.Destaged > f.Placed || f.Placed > st.DestagedBlocks {
		t.Errorf("%+v, %+v", f, st)
	}
	sum := uint64(0)
	for _, n := range f.Ages {
		sum += n
	}
	if sum != f.Destaged {
		t.Errorf("%d blocks have an age, %d were destaged", sum, f.Destaged)
	}
}

// TestHotSet rewrites a hot set over and over, and empties the log after each round: what was
// absorbed, and what was written for each byte, must be what the writes themselves say.
func TestHotSet(t *testing.T) {
	r := newRig(t, 64<<20)
	const size, hot, rounds, writes = 8 << 20, 150, 20, 400
	w := newWorkload(r, "a", size)
	rng := rand.New(rand.NewPCG(7, 3))
	before, begin := r.disk.Stats().WrittenBytes, r.p.Status()
	distinct := uint64(0)
	for range rounds {
		touched := map[int64]bool{}
		for range writes {
			block := rng.Int64N(hot)
			touched[block] = true
			w.do(Write, block*log.BlockSize, log.BlockSize, false)
		}
		distinct += uint64(len(touched))
		r.must(&Control{Op: Drain})
		w.drained()
		w.judge()
	}
	written := r.disk.Stats().WrittenBytes - before
	now := r.p.Status()
	f := now.Flow
	if f.Absorbed != rounds*writes-distinct || f.Destaged != distinct ||
		now.Stats.DestagedBlocks-begin.Stats.DestagedBlocks != distinct {
		t.Errorf("%d absorbed, %d destaged; by the writes %d and %d", f.Absorbed, f.Destaged,
			rounds*writes-distinct, distinct)
	}
	// A write at a time: each has a record of its own, whose header is a block. Then there are pages,
	// a header and a summary in each segment of 64 blocks, and the roots.
	absorbed := float64(f.Absorbed) / float64(f.Absorbed+f.Destaged)
	amp, floor := float64(written)/float64(f.WriteBytes), 1+(1-absorbed)
	pages := float64(now.Stats.PageWrites-begin.Stats.PageWrites) / (rounds * writes)
	t.Logf("absorbed %.3f, write amplification %.3f: floor %.3f, headers 1, pages %.3f", absorbed, amp,
		floor, pages)
	if least := floor + 1 + pages; amp < least || amp > least+2*2./64+0.02 {
		t.Errorf("write amplification %.3f, want at least %.3f and little more", amp, least)
	}
}

func TestAges(t *testing.T) {
	for _, x := range []struct {
		nanos int64
		index int
	}{
		{0, 0},
		{999_999, 0},
		{1_000_000, 1},
		{1_249_999, 1},
		{1_250_000, 2},
		{1_999_999, 4},
		{2_000_000, 5},
		{1_000_000_000, 40},
		{1 << 61, 128},
	} {
		if got := ageIndex(x.nanos); got != x.index {
			t.Errorf("%d ns: element %d, want %d", x.nanos, got, x.index)
		}
	}
	for i := 1; i < len(Ages{}); i++ {
		if from := AgeFrom(i); ageIndex(from) != i || ageIndex(from-1) != i-1 {
			t.Errorf("element %d is said to count from %d ns", i, from)
		}
	}
	var l Lengths
	for _, n := range []int{1, 2, 3, 4, 2048, 1 << 20} {
		l.add(n)
	}
	if l != (Lengths{1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2}) {
		t.Errorf("%v", l)
	}
}
