package bpf

import (
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
)

// load puts the programs into the kernel for a test; nothing is attached.
func load(t testing.TB, guests []Guest, backing []Backing) *Analyzer {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	a, err := Load(len(guests))
	if err != nil {
		t.Fatalf("%+v", err) // with the verifier's log
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, g := range guests {
		if err := a.WatchGuest(g); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.WatchBacking(backing); err != nil {
		t.Fatal(err)
	}
	return a
}

func replay(t testing.TB, a *Analyzer, e Event) {
	t.Helper()
	if err := a.Replay(e); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, a *Analyzer, stream int) Counters {
	t.Helper()
	c, err := a.Read(stream)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// volumes returns the devices of n guests of the same size, in bytes.
func volumes(n int, size int64) []Guest {
	var gs []Guest
	for i := range n {
		gs = append(gs, Guest{
			Device: DeviceNumber(259, uint32(i)), Stream: FirstGuest + i, Base: int64(i) * size,
		})
	}
	return gs
}

// enough returns how much a test does, or, asked to be short, how much at least.
func enough(usually, short int) int {
	if testing.Short() {
		return short
	}
	return usually
}

// near fails the test unless two shares differ by less than two points.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	t.Logf("%s: %.4f, by the formula %.4f", what, got, want)
	if math.Abs(got-want) > 0.02 {
		t.Errorf("%s: %.4f, by the formula %.4f", what, got, want)
	}
}

func share(part, whole uint64) float64 { return float64(part) / float64(whole) }

// TestClosedForms replays n guests that each write in order, interleaved at random. By itself each is
// all sequential; a write continues the one before it in the merged stream if both are of the same
// guest, so with 1/n.
func TestClosedForms(t *testing.T) {
	const each = 8
	writes := enough(8000, 3000)
	for _, n := range []int{1, 4, 16, 2, 50}[:enough(5, 3)] {
		guests := volumes(n, 1<<40)
		a := load(t, guests, nil)
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		next := make([]uint64, n)
		for range writes {
			i := rng.IntN(n)
			replay(t, a, Event{Device: guests[i].Device, Op: OpWrite, Sector: next[i], Sectors: each})
			next[i] += each
		}
		for _, g := range guests {
			if c := read(t, a, g.Stream); c.Sequential != c.Writes-1 || c.Seeks != 0 {
				t.Errorf("%d guests: stream %d: %d of %d sequential, %d seeks", n, g.Stream,
					c.Sequential, c.Writes, c.Seeks)
			}
		}
		m := read(t, a, Merged)
		near(t, "merged", share(m.Sequential, m.Writes), 1/float64(n))
	}
}

// TestWindowedForm replays one guest with n threads that each write in order. A write continues one
// of the last W if its thread was among them.
func TestWindowedForm(t *testing.T) {
	const each = 8
	writes := enough(8000, 3000)
	for _, n := range []int{4, 16, 2, 50}[:enough(4, 2)] {
		guests := volumes(1, 1<<40)
		a := load(t, guests, nil)
		rng := rand.New(rand.NewPCG(2, uint64(n)))
		next := make([]uint64, n)
		for i := range next {
			next[i] = uint64(i) << 24
		}
		for range writes {
			i := rng.IntN(n)
			replay(t, a, Event{Device: guests[0].Device, Op: OpWrite, Sector: next[i], Sectors: each})
			next[i] += each
		}
		c := read(t, a, FirstGuest)
		near(t, "own", share(c.Sequential, c.Writes), 1/float64(n))
		near(t, "windowed", share(c.Recent, c.Writes), 1-math.Pow(1-1/float64(n), Window))
	}
}

// rig is a host to replay on: guests, one of them seen at the other hook, and two disks, one of
// which holds two of the three classes.
func rig() ([]Guest, []Backing) {
	guests := volumes(4, 200*SectorSize)
	guests[3].Hook = AtQueue
	const s = SectorSize
	return guests, []Backing{
		{
			Device: DeviceNumber(8, 0), Hook: AtQueue, Stream: FastDevice,
			Regions: []Region{{150 * s, 170 * s, Other}, {10 * s, 100 * s, Log}, {100 * s, 120 * s, Metadata}},
		},
		{
			Device: DeviceNumber(8, 16), Stream: CapacityDevice,
			Regions: []Region{{0, 50 * s, Data}, {50 * s, 60 * s, Metadata}, {60 * s, 300 * s, Data}},
		},
	}
}

// randomEvents returns requests of all kinds for the rig and for devices that are not watched. Sectors
// are few, so that requests often meet; half of them continue what the device had last.
func randomEvents(n int, seed uint64) []Event {
	rng := rand.New(rand.NewPCG(3, seed))
	devices := []Device{
		DeviceNumber(259, 0), DeviceNumber(259, 1), DeviceNumber(259, 2), DeviceNumber(259, 3),
		DeviceNumber(8, 0), DeviceNumber(8, 16), DeviceNumber(8, 32),
	}
	last := map[Device]uint64{}
	var es []Event
	for range n {
		e := Event{
			Device: devices[rng.IntN(len(devices))], Hook: Hook(rng.IntN(2)), Op: OpWrite,
			Sector: rng.Uint64N(200), Sectors: rng.Uint32N(20),
		}
		if rng.IntN(2) == 0 {
			e.Sector = last[e.Device] % 200
		}
		if rng.IntN(4) == 0 {
			e.Op = Op(rng.Uint32N(10))
		}
		last[e.Device] = e.Sector + uint64(e.Sectors)
		es = append(es, e)
	}
	return es
}

func TestAgainstModel(t *testing.T) {
	guests, backing := rig()
	for seed := range uint64(enough(8, 2)) {
		a, m := load(t, guests, backing), newModel(guests, backing)
		for i, e := range randomEvents(2000, seed) {
			replay(t, a, e)
			m.observe(e)
			if i%100 != 99 {
				continue
			}
			for stream := range FirstGuest + len(guests) {
				compare(t, a, m, stream)
			}
			if t.Failed() {
				t.Fatalf("seed %d, event %d", seed, i)
			}
		}
	}
}

// compare holds one stream's counters against the model.
func compare(t *testing.T, a *Analyzer, m *model, stream int) {
	t.Helper()
	got, want := read(t, a, stream), m.counters(stream)
	if stream >= FirstGuest {
		without := m.counters(Merged).Seeks - got.MergedSeeks + got.WithoutSeeks
		if w := m.seeksWithout(stream); without != w {
			t.Errorf("without stream %d: %d seeks, the model has %d", stream, without, w)
		}
	}
	got.MergedSeeks, got.WithoutSeeks = 0, 0
	if got != want {
		t.Errorf("stream %d:\n got %+v\nwant %+v", stream, got, want)
	}
}

// TestParallel replays on all CPUs at once: whatever the order, each write continues the one before
// it or is a seek, and nothing is forgotten.
func TestParallel(t *testing.T) {
	const threads, writes = 8, 1000
	guests := volumes(2, 1<<40)
	a := load(t, guests, nil)
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(4, uint64(i)))
			for range writes {
				e := Event{
					Device: guests[rng.IntN(2)].Device, Op: OpWrite, Sector: 8 * rng.Uint64N(4), Sectors: 8,
				}
				if err := a.Replay(e); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for stream, want := range map[int]uint64{
		Merged: threads * writes, FirstGuest: 0, FirstGuest + 1: 0,
	} {
		c := read(t, a, stream)
		if want != 0 && c.Writes != want || c.Sequential+c.Seeks+1 != c.Writes ||
			c.Bytes != c.Writes*8*SectorSize {
			t.Errorf("stream %d: %+v", stream, c)
		}
	}
}

// TestWatchedAnew holds that a stream begins at zero for its next volume, and that disks which are
// not named any more do not count.
func TestWatchedAnew(t *testing.T) {
	guests, backing := rig()
	a := load(t, guests, backing)
	es := randomEvents(500, 99)
	for _, e := range es {
		replay(t, a, e)
	}
	if err := a.ForgetGuest(guests[0].Device); err != nil {
		t.Fatal(err)
	}
	guests[0].Device = DeviceNumber(8, 32) // which the events have as well
	if err := a.WatchGuest(guests[0]); err != nil {
		t.Fatal(err)
	}
	if c := read(t, a, guests[0].Stream); c != (Counters{}) {
		t.Errorf("watched anew, the stream has %+v", c)
	}
	if err := a.WatchBacking(backing[1:]); err != nil {
		t.Fatal(err)
	}
	before := read(t, a, FastDevice)
	m := newModel(guests, backing[1:])
	for _, e := range es {
		replay(t, a, e)
		m.observe(e)
	}
	compare(t, a, m, guests[0].Stream)
	if c := read(t, a, FastDevice); c != before || c.Writes == 0 {
		t.Errorf("a disk that is not named any more counts: %+v, before %+v", c, before)
	}
}

func TestNoRoom(t *testing.T) {
	a := load(t, volumes(1, 1<<30), nil)
	if a.WatchGuest(Guest{Stream: FirstGuest + 1}) == nil || a.WatchGuest(Guest{Stream: Merged}) == nil {
		t.Error("a stream that is no guest's was accepted")
	}
	many := make([]Region, halfRegions+1)
	if err := a.WatchBacking([]Backing{{Regions: many}}); err != ErrTooManyRegions {
		t.Errorf("%d regions: %v", len(many), err)
	}
}

func TestMedian(t *testing.T) {
	var h Histogram
	if h.Median() != 0 {
		t.Error("an empty histogram has a median")
	}
	h[3], h[5], h[9] = 1, 1, 3
	if got := h.Median(); got != SectorSize<<9 {
		t.Errorf("median %d", got)
	}
}

// BenchmarkReplay includes the system call.
func BenchmarkReplay(b *testing.B) {
	guests := volumes(4, 1<<40)
	a := load(b, guests, nil)
	for i := 0; b.Loop(); i++ {
		replay(b, a, Event{
			Device: guests[i%4].Device, Op: OpWrite, Sector: uint64(i), Sectors: 8,
		})
	}
}
