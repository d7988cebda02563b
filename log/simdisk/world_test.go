package simdisk

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"unblend/log"
)

// page returns blocks filled with the given bytes, one after the other.
func page(values ...byte) []byte {
	p := Buffer(len(values) * log.BlockSize)
	for i := range p {
		p[i] = values[i/log.BlockSize]
	}
	return p
}

func TestSyncViewReadsWhatItWrote(t *testing.T) {
	w := NewWorld(1)
	d := w.NewDisk(Config{Name: "a", Size: 1 << 40, Volatile: true, Timing: Random{1000, 2000}})
	s := d.Sync()
	if s.Size() != 1<<40 {
		t.Fatalf("size %d", s.Size())
	}
	want := page(7, 9)
	want[5000] = 1
	if err := s.WriteAt(want, 1<<39); err != nil {
		t.Fatal(err)
	}
	got := Buffer(4 * log.BlockSize)
	if err := s.ReadAt(got, 1<<39-log.BlockSize); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[4096:12288], want) || !bytes.Equal(got[:4096], page(0)) {
		t.Fatal("read differs from what was written")
	}
	if w.Now() < 2000 || w.Now() > 4000 {
		t.Fatalf("two operations took %d ns", w.Now())
	}
	if !strings.Contains(s.ReadAt(got, 1<<40).Error(), "a: read of 16384 bytes at 1099511627776") {
		t.Error("an error does not name disk, operation and place")
	}
}

// engine keeps operations on two disks in flight through a log.Ops, as an engine does, and checks
// what it reads against what it wrote.
type engine struct {
	t     *testing.T
	w     *World
	ops   *log.Ops
	data  map[int64]byte // what each block of either device holds; looked up only
	busy  map[int64]bool
	left  int
	ended int
}

func (e *engine) OpDone(op *log.Op, err error) {
	e.ended++
	key := op.Off | int64(op.Dev)
	if op.Kind != log.Flush {
		e.busy[key] = false
	}
	switch {
	case err != nil:
		e.t.Fatalf("%s: %v", op, err)
	case op.Kind == log.Write:
		e.data[key] = byte(op.Arg)
	case op.Kind == log.Read && !bytes.Equal(op.Bufs[0], page(e.data[key])):
		e.t.Fatalf("%s: got %d, want %d", op, op.Bufs[0][0], e.data[key])
	}
}

// submit makes one operation of a random kind, on a block where none is in flight.
func (e *engine) submit() bool {
	rng := e.w.Rand()
	dev, kind := log.Dev(rng.IntN(2)), log.Kind(rng.IntN(3))
	off := rng.Int64N(64) * log.BlockSize
	key := off | int64(dev)
	if e.left == 0 || kind != log.Flush && e.busy[key] {
		return false
	}
	op := e.ops.NewOp(e, dev, kind, off)
	if op == nil {
		return false
	}
	e.left--
	op.FUA = kind == log.Write && rng.IntN(2) == 0
	op.Arg = rng.Uint64()
	if kind != log.Flush {
		e.busy[key] = true
		op.Bufs = append(op.Bufs, page(byte(op.Arg)))
	}
	e.ops.Submit(op)
	return true
}

// run drives n operations through two disks and returns the world's hash.
func run(t *testing.T, seed uint64, n int) uint64 {
	t.Helper()
	w := NewWorld(seed)
	e := &engine{
		t: t, w: w, ops: log.NewOps(32), data: map[int64]byte{}, busy: map[int64]bool{}, left: n,
	}
	fast := w.NewDisk(Config{Name: "fast", Size: 1 << 30, Volatile: true, Timing: CacheFlash()})
	capacity := w.NewDisk(Config{Name: "capacity", Size: 1 << 40, Timing: UltrastarHC580()})
	drv := w.Drive(e.ops.Next, e.ops.Complete, fast, capacity)
	for e.ended < n {
		for e.submit() {
		}
		drv.Pump()
		if !w.Step() && e.left == 0 {
			break
		}
	}
	if s, c := fast.Stats(), capacity.Stats(); e.ended != n || s.Ops()+c.Ops() != uint64(n) ||
		s.Overlaps+c.Overlaps != 0 || s.MaxInFlight < 2 {
		t.Fatalf("%d of %d operations ended; fast %+v, capacity %+v", e.ended, n, s, c)
	}
	w.Crash(nil)
	return w.Hash()
}

func TestSameSeedSameHash(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(20) {
		a, b := run(t, seed, 500), run(t, seed, 500)
		if a != b {
			t.Fatalf("seed %d: hash %#x, then %#x", seed, a, b)
		}
		if seen[a] {
			t.Fatalf("seed %d has the hash of another", seed)
		}
		seen[a] = true
	}
}

func TestHashSeesContentAndResults(t *testing.T) {
	hash := func(value byte, fail bool) uint64 {
		w := NewWorld(1)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1, 9}})
		if fail {
			d.Inject(Fault{Do: FailFlush})
		}
		s := d.Sync()
		if err := s.WriteAt(page(value), 0); err != nil {
			t.Fatal(err)
		}
		_ = s.Flush() // may fail
		return w.Hash()
	}
	if hash(1, false) == hash(2, false) {
		t.Error("the hash does not see what is written")
	}
	if hash(1, false) == hash(1, true) {
		t.Error("the hash does not see how an operation ends")
	}
}

// panics calls f and fails the test unless it panics with a message that contains want.
func panics(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got, _ := recover().(string); !strings.Contains(got, want) {
			t.Errorf("panic %q, want one about %q", got, want)
		}
	}()
	f()
}

func TestWhatNoDriverLetsPass(t *testing.T) {
	w := NewWorld(1)
	d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1000, 1000}})
	none := func(log.Token, int32) {}
	submit := func(kind log.Kind, off int64, bufs ...[]byte) func() {
		return func() { d.Submit(&log.Op{Kind: kind, Off: off, Bufs: bufs}, none) }
	}
	panics(t, "not aligned", submit(log.Write, 0, Buffer(8192)[512:512+4096]))
	panics(t, "not aligned", submit(log.Write, 0, Buffer(512)))
	panics(t, "at 512", submit(log.Read, 512, page(0)))
	panics(t, "at -4096", submit(log.Read, -4096, page(0)))
	panics(t, "flush with buffers", submit(log.Flush, 0, page(0)))
	panics(t, "size 100", func() { w.NewDisk(Config{Size: 100}) })
	panics(t, "sector size", func() { w.NewDisk(Config{Size: 4096, SectorSize: 1024}) })
}

func TestBufferChangedInFlightPanics(t *testing.T) {
	for _, at := range []int{0, 70, 4095, 8191} {
		w := NewWorld(1)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1000, 1000}})
		buf := page(0, 3)
		d.Submit(&log.Op{Kind: log.Write, Bufs: [][]byte{buf}}, func(log.Token, int32) {})
		buf[at]++
		panics(t, "changed in flight", func() { w.Step() })
	}
}

func TestReadBufferIsGarbageUntilTheEnd(t *testing.T) {
	early := 0
	for seed := range uint64(20) {
		w := NewWorld(seed)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1000, 1000}})
		buf := page(1)
		d.Submit(&log.Op{Kind: log.Read, Bufs: [][]byte{buf}}, func(log.Token, int32) {})
		switch buf[0] {
		case 0:
			early++
		case poisonByte:
		default:
			t.Fatal("the buffer of a read in flight holds what it held before")
		}
		w.Step()
		if buf[0] != 0 {
			t.Fatal("a block never written does not read as zeros")
		}
	}
	if early == 0 || early == 20 {
		t.Errorf("%d of 20 reads were answered from the moment of submission", early)
	}
}

func TestReadDuringAWriteIsTorn(t *testing.T) {
	torn := 0
	for seed := range uint64(50) {
		w := NewWorld(seed)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1000, 2000}})
		got := page(9)
		d.Submit(&log.Op{Kind: log.Write, Bufs: [][]byte{page(1)}}, func(log.Token, int32) {})
		d.Submit(&log.Op{Kind: log.Read, Bufs: [][]byte{got}}, func(log.Token, int32) {})
		for w.Step() {
		}
		for at := 0; at < len(got); at += 512 {
			if !bytes.Equal(got[at:at+512], page(0)[:512]) && !bytes.Equal(got[at:at+512], page(1)[:512]) {
				t.Fatal("a sector is neither old nor new")
			}
		}
		if n := bytes.Count(got, []byte{1}); n > 0 && n < len(got) {
			torn++
		}
	}
	if torn == 0 {
		t.Error("no read met a write half way")
	}
}

func TestClockAndTimers(t *testing.T) {
	w := NewWorld(1)
	var order []int64
	for _, at := range []int64{500, 100, 300, 100} {
		w.At(at, func() { order = append(order, w.Now()) })
	}
	if at, ok := w.Next(); !ok || at != 100 {
		t.Errorf("next event at %d, %v", at, ok)
	}
	w.Advance(350)
	if len(order) != 3 || order[2] != 300 || w.Now() != 350 {
		t.Errorf("by %d timers fired at %v", w.Now(), order)
	}
	w.At(0, func() { order = append(order, w.Now()) })
	w.Step()
	if order[3] != 350 {
		t.Errorf("a timer in the past fired at %d", order[3])
	}
	w.Advance(1000)
	if _, ok := w.Next(); ok || w.Step() || w.Now() != 1000 {
		t.Error("an event is left over")
	}
}

func TestEventsOfOneInstantKeepTheirOrder(t *testing.T) {
	w := NewWorld(1)
	d := w.NewDisk(Config{Name: "d", Size: 1 << 20})
	var order []log.Token
	for i := range log.Token(40) {
		d.Submit(&log.Op{Token: i, Kind: log.Flush}, func(tok log.Token, _ int32) {
			order = append(order, tok)
		})
	}
	for w.Step() {
	}
	if len(order) != 40 || !slices.IsSorted(order) {
		t.Errorf("instant operations ended in the order %v", order)
	}
}

func TestObserverSeesSubmissionsAndEnds(t *testing.T) {
	w := NewWorld(1)
	d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{5, 5}})
	var seen []Event
	w.Observe(func(e Event) { seen = append(seen, e) })
	if err := d.Sync().WriteAt(page(1), 4096); err != nil {
		t.Fatal(err)
	}
	want := Event{Time: 0, Disk: d, Kind: log.Write, Off: 4096, Len: 4096}
	done := want
	done.Time, done.Done, done.Res = 5, true, 4096
	if len(seen) != 2 || seen[0] != want || seen[1] != done {
		t.Errorf("observed %+v", seen)
	}
}
