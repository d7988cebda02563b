package simdisk

import (
	"math"
	"testing"

	"unblend/log"
)

// bench keeps depth operations of size bytes in flight until n have ended and returns how many
// ended per second of virtual time. next says where each one goes.
func bench(w *World, d *Disk, kind log.Kind, fua bool, depth, n int, size int64,
	next func() int64,
) float64 {
	done, submitted, at := 0, 0, w.Now()
	ops := make([]log.Op, depth)
	var submit func(i int)
	reply := func(t log.Token, res int32) {
		if int64(res) != size {
			panic("a transfer failed")
		}
		done++
		submit(int(t))
	}
	submit = func(i int) {
		if submitted == n {
			return
		}
		submitted++
		ops[i].Off = next()
		d.Submit(&ops[i], reply)
	}
	for i := range ops {
		ops[i] = log.Op{Token: log.Token(i), Kind: kind, FUA: fua, Bufs: [][]byte{Buffer(int(size))}}
		submit(i)
	}
	for done < n && w.Step() {
	}
	return float64(n) / (float64(w.Now()-at) / 1e9)
}

// random returns places of size bytes all over the first span bytes.
func random(w *World, span, size int64) func() int64 {
	return func() int64 { return w.Rand().Int64N(span/size) * size }
}

// sequential returns one place after the other.
func sequential(at, size int64) func() int64 {
	return func() int64 { at += size; return at - size }
}

// near fails the test unless got is within 10 % of want: a published figure, or what follows from
// published ones.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	t.Logf("%-40s %10.1f, published %10.1f (%+.1f %%)", what, got, want, (got/want-1)*100)
	if math.Abs(got/want-1) > 0.10 {
		t.Errorf("%s: %.1f is not within 10 %% of %.1f", what, got, want)
	}
}

func newHDD(seed uint64, volatile bool) (*World, *Disk) {
	w := NewWorld(seed)
	h := UltrastarHC580()
	size := h.Capacity &^ (log.BlockSize - 1)
	return w, w.NewDisk(Config{Name: "hdd", Size: size, Volatile: volatile, Timing: h})
}

func TestHDDMatchesItsDataSheet(t *testing.T) {
	w, d := newHDD(1, false)
	near(t, "4 KiB random read, QD1, IOPS",
		bench(w, d, log.Read, false, 1, 2000, 4096, random(w, d.Size(), 4096)), 81)
	near(t, "4 KiB random read, QD32, IOPS",
		bench(w, d, log.Read, false, 32, 4000, 4096, random(w, d.Size(), 4096)), 212)
	const mib = 1 << 20
	near(t, "sequential read, outer edge, MB/s",
		bench(w, d, log.Read, false, 1, 500, mib, sequential(0, mib))*mib/1e6, 298)
	near(t, "sequential read, 128 KiB, QD4, MB/s",
		bench(w, d, log.Read, false, 4, 4000, mib/8, sequential(0, mib/8))*mib/8/1e6, 298)
	near(t, "sequential write, QD4, MB/s",
		bench(w, d, log.Write, true, 4, 500, mib, sequential(0, mib))*mib/1e6, 298)
	near(t, "sequential read, inner edge, MB/s",
		bench(w, d, log.Read, false, 1, 500, mib, sequential(d.Size()-600*mib, mib))*mib/1e6, 149)
}

func TestSequentialDurableWritesOneByOneMissATurnEach(t *testing.T) {
	w, d := newHDD(2, false)
	near(t, "4 KiB sequential FUA write, QD1, IOPS",
		bench(w, d, log.Write, true, 1, 500, 4096, sequential(0, 4096)), 7200/60)
}

func TestWriteCacheOfHDD(t *testing.T) {
	w, d := newHDD(3, true)
	s := d.Sync()
	at := w.Now()
	if err := s.WriteAt(page(1), 1<<30); err != nil {
		t.Fatal(err)
	}
	if took := w.Now() - at; took > 200e3 {
		t.Errorf("a cached write took %d ns", took)
	}
	at = w.Now()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if took := w.Now() - at; took < 1e6 || took > 25e6 {
		t.Errorf("the flush of one write took %d ns", took)
	}
	at = w.Now()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if took := w.Now() - at; took > 200e3 {
		t.Errorf("a flush of nothing took %d ns", took)
	}
	// Scattered writes are faster by cache than one by one, and cannot beat the platter for long.
	n := 40000
	if rate := bench(w, d, log.Write, false, 8, n, 4096, random(w, d.Size(), 4096)); rate < 200 ||
		rate > 1000 {
		t.Errorf("%d scattered cached writes: %.0f per second", n, rate)
	}
	w, d = newHDD(3, true)
	const mib = 1 << 20
	near(t, "sequential cached write, MB/s",
		bench(w, d, log.Write, false, 1, 2000, mib, sequential(0, mib))*mib/1e6, 298)
}

func TestReadAheadSurvivesAPause(t *testing.T) {
	w, d := newHDD(4, false)
	s := d.Sync()
	p := Buffer(1 << 20)
	if err := s.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	w.Advance(w.Now() + 1e9)
	at := w.Now()
	if err := s.ReadAt(p, 1<<20); err != nil { // in the drive's buffer by now
		t.Fatal(err)
	}
	if took := w.Now() - at; took > 2e6 {
		t.Errorf("a read of what was read ahead took %d ns", took)
	}
	if err := s.ReadAt(p, 2<<20); err != nil { // likewise
		t.Fatal(err)
	}
	// Where the drive had to stop it waits for the platter: half a turn and the transfer.
	const n = 40
	p = Buffer(2 << 20)
	total := int64(0)
	for i := range int64(n) {
		w.Advance(w.Now() + 1e9 + i*777777)
		if err := s.ReadAt(p[:1<<20], i<<30); err != nil {
			t.Fatal(err)
		}
		w.Advance(w.Now() + 1e9 + i*777777)
		at := w.Now()
		if err := s.ReadAt(p, i<<30+2<<20); err != nil {
			t.Fatal(err)
		}
		total += w.Now() - at
	}
	if mean := total / n; mean < 6e6 || mean > 10e6 {
		t.Errorf("a read half of which was read ahead took %d ns", mean)
	}
}

func TestFlushWaitsForWhatWasCachedBeforeIt(t *testing.T) {
	w, d := newHDD(6, true)
	var ended [102]int64
	reply := func(tok log.Token, _ int32) { ended[tok] = w.Now() }
	write := func(tok log.Token, off int64) {
		d.Submit(&log.Op{Token: tok, Kind: log.Write, Off: off, Bufs: [][]byte{page(1)}}, reply)
	}
	write(0, d.Size()/2) // starts at once
	write(2, d.Size()-1<<20)
	d.Submit(&log.Op{Token: 1, Kind: log.Flush}, reply)
	for i := range int64(99) {
		write(log.Token(i+3), d.Size()/2+(i*7+1)<<20)
	}
	if len(w.heap) > 110 {
		t.Errorf("%d events for 102 operations", len(w.heap))
	}
	for w.Step() {
	}
	if ended[1] < 10e6 || ended[1] > 60e6 {
		t.Errorf("a flush of two writes far apart took %d ns", ended[1])
	}
	if ended[101] == 0 || w.Now() < ended[1] {
		t.Error("the later writes did not end")
	}
}

func TestNoOperationStarves(t *testing.T) {
	w, d := newHDD(7, false)
	far := int64(0)
	d.Submit(&log.Op{Kind: log.Read, Off: d.Size() - 4096, Bufs: [][]byte{page(0)}},
		func(log.Token, int32) { far = w.Now() })
	bench(w, d, log.Read, false, 31, 3000, 4096, random(w, 1<<30, 4096))
	if limit := UltrastarHC580().MaxWait + 30e6; far == 0 || far > limit {
		t.Errorf("an operation far away ended at %d ns, want it by %d", far, limit)
	}
}

func TestTimingForgetsWhatAPowerCutStopped(t *testing.T) {
	for _, timing := range []Timing{P3700(), CacheFlash(), UltrastarHC580(), Random{1e3, 1e6}} {
		for _, volatile := range []bool{false, true} {
			w := NewWorld(8)
			d := w.NewDisk(Config{Name: "d", Size: 1 << 40, Volatile: volatile, Timing: timing})
			for i := range 100 {
				d.Submit(&log.Op{
					Kind: log.Write, FUA: i%2 == 0, Off: int64(i) << 30, Bufs: [][]byte{page(1)},
				}, func(log.Token, int32) {})
			}
			d.Submit(&log.Op{Kind: log.Flush}, func(log.Token, int32) {})
			w.Advance(5e3)
			w.Crash(KeepNone)
			w.Restart()
			at := w.Now()
			if err := d.Sync().WriteAt(page(2), 0); err != nil {
				t.Fatal(err)
			}
			if err := d.Sync().Flush(); err != nil {
				t.Fatal(err)
			}
			if took := w.Now() - at; took > 40e6 {
				t.Errorf("%T: a write and a flush after a cut took %d ns", timing, took)
			}
		}
	}
}

func newFlash(f Flash, volatile bool) (*World, *Disk) {
	w := NewWorld(5)
	return w, w.NewDisk(Config{Name: "nvme", Size: 1 << 40, Volatile: volatile, Timing: f})
}

func TestFlashMatchesItsSpecification(t *testing.T) {
	w, d := newFlash(P3700(), false)
	span := d.Size()
	run := func(kind log.Kind, depth, n int, size int64, next func() int64) float64 {
		return bench(w, d, kind, true, depth, n, size, next)
	}
	near(t, "4 KiB random read, QD1, IOPS",
		run(log.Read, 1, 2000, 4096, random(w, span, 4096)), 12800)
	near(t, "4 KiB random read, QD16, IOPS",
		run(log.Read, 16, 20000, 4096, random(w, span, 4096)), 167200)
	near(t, "4 KiB random read, QD128, IOPS",
		run(log.Read, 128, 50000, 4096, random(w, span, 4096)), 460000)
	near(t, "4 KiB random write, QD32, IOPS",
		run(log.Write, 32, 20000, 4096, random(w, span, 4096)), 175000)
	near(t, "4 KiB sequential write, QD1, IOPS",
		run(log.Write, 1, 2000, 4096, sequential(0, 4096)), 1e9/20e3)
	near(t, "sequential read, 128 KiB, QD32, MB/s",
		run(log.Read, 32, 8000, 128<<10, sequential(0, 128<<10))*(128<<10)/1e6, 2800)
	near(t, "sequential write, 128 KiB, QD32, MB/s",
		run(log.Write, 32, 8000, 128<<10, sequential(0, 128<<10))*(128<<10)/1e6, 2000)
}

func TestFlashWithVolatileCacheTakesTimeToBeDurable(t *testing.T) {
	w, d := newFlash(CacheFlash(), true)
	cached := bench(w, d, log.Write, false, 1, 100, 4096, sequential(0, 4096))
	fua := bench(w, d, log.Write, true, 1, 100, 4096, sequential(1<<30, 4096))
	near(t, "FUA writes per second", fua, 1e9/702e3)
	if cached < 10*fua {
		t.Errorf("cached writes at %.0f per second, FUA writes at %.0f", cached, fua)
	}
}
