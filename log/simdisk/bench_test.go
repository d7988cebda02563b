package simdisk

import (
	"runtime"
	"testing"

	"unblend/log"
)

// BenchmarkOps measures device operations per second of real time: half writes, half reads of
// 4 KiB at random places of 4 GiB, 32 in flight, a flush every 1000.
func BenchmarkOps(b *testing.B) {
	for _, c := range []struct {
		name   string
		timing Timing
	}{{"random", Random{10e3, 1e6}}, {"flash", P3700()}, {"hdd", UltrastarHC580()}} {
		b.Run(c.name, func(b *testing.B) {
			w := NewWorld(1)
			d := w.NewDisk(Config{Name: "d", Size: 1 << 40, Volatile: true, Timing: c.timing})
			ops := make([]log.Op, 32)
			content := Buffer(log.BlockSize)
			for i := range content {
				content[i] = byte(i * i >> 8)
			}
			left := b.N
			var reply func(log.Token, int32)
			reply = func(t log.Token, _ int32) {
				if left == 0 {
					return
				}
				left--
				op := &ops[t]
				op.Token, op.Off = t, w.Rand().Int64N(1<<20)*log.BlockSize
				op.Kind, op.Bufs = log.Kind(t&1), op.Bufs[:1]
				if left%1000 == 0 {
					op.Kind, op.Bufs = log.Flush, op.Bufs[:0]
				}
				d.Submit(op, reply)
			}
			b.ReportAllocs()
			for i := range ops {
				ops[i].Bufs = [][]byte{content}
				if i&1 == int(log.Read) {
					ops[i].Bufs = [][]byte{Buffer(log.BlockSize)}
				}
				reply(log.Token(i), 0)
			}
			for w.Step() {
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

// TestMemoryFollowsWhatIsWritten writes scattered blocks to a large disk and measures the heap.
func TestMemoryFollowsWhatIsWritten(t *testing.T) {
	const blocks = 20000
	measure := func(fill func(p []byte, i int)) uint64 {
		w := NewWorld(1)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 44})
		p := Buffer(log.BlockSize)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range blocks {
			fill(p, i)
			d.Poke(p, w.Rand().Int64N(1<<32)*log.BlockSize)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(d)
		return (after.HeapAlloc - before.HeapAlloc) / blocks
	}
	pattern := measure(func(p []byte, i int) {
		for j := range p {
			p[j] = byte(i >> (j % 8))
		}
	})
	random := measure(func(p []byte, i int) {
		for j := range p {
			p[j] = byte((i + j) * j >> 5)
		}
	})
	t.Logf("a scattered block costs %d bytes, one that repeats %d", random, pattern)
	if pattern > 1280 {
		t.Errorf("a block that repeats its first bytes costs %d bytes", pattern)
	}
	if random > log.BlockSize+1280 {
		t.Errorf("a block costs %d bytes", random)
	}
}
