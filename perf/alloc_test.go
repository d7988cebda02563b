package perf

import (
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// memory is a device in memory that completes every operation at once: nothing but the engine is
// left to measure.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) error  { copy(p, m[off:]); return nil }
func (m memory) WriteAt(p []byte, off int64) error { copy(m[off:], p); return nil }
func (m memory) Flush() error                      { return nil }
func (m memory) Size() int64                       { return int64(len(m)) }

// perform does one operation and returns its result.
func (m memory) perform(op *log.Op) int32 {
	off := op.Off
	for _, b := range op.Bufs {
		if op.Kind == log.Read {
			copy(b, m[off:])
		} else {
			copy(m[off:], b)
		}
		off += int64(len(b))
	}
	return int32(off - op.Off)
}

// engine is a pool on two devices in memory.
type engine struct {
	p     *placement.Pool
	disks [log.Devs]memory
	now   int64
}

func newEngine(tb testing.TB) *engine {
	e := &engine{disks: [log.Devs]memory{simdisk.Buffer(256 << 20), simdisk.Buffer(512 << 20)}}
	fast, capacity := &e.disks[log.Fast], &e.disks[log.Capacity]
	d := placement.Disks{fast, capacity}
	random := func(p []byte) {
		for i := range p {
			p[i] = byte(rand.Uint32())
		}
	}
	cfg := placement.FormatConfig{LogSize: 192 << 20, Rand: random}
	if err := placement.Format(d, cfg); err != nil {
		tb.Fatal(err)
	}
	var err error
	e.p, err = placement.Open(d, placement.Options{
		Rand: random, Wall: func() int64 { return 0 },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// turn runs the loop once.
func (e *engine) turn() {
	e.now += 1000
	e.p.Tick(e.now)
	e.p.Run()
	for op := e.p.NextOp(); op != nil; op = e.p.NextOp() {
		e.p.Complete(op.Token, e.disks[op.Dev].perform(op))
	}
}

// finish runs the loop until n requests have ended.
func (e *engine) finish(tb testing.TB, n int) {
	for n > 0 {
		e.turn()
		for r := e.p.NextDone(); r != nil; r = e.p.NextDone() {
			if r.Err != 0 {
				tb.Fatalf("%s at %d: %v", r.Kind, r.Off, r.Err)
			}
			n--
		}
	}
}

func (e *engine) volume(tb testing.TB) *placement.Volume {
	c := &placement.Control{Op: placement.CreateVolume, Name: "v", Size: 256 << 20, QueueDepth: 32}
	for e.p.Control(c); e.p.NextControl() == nil; {
		e.turn()
	}
	if c.Err != nil {
		tb.Fatal(c.Err)
	}
	return c.Vol
}

const depth = 32

func (e *engine) requests(v *placement.Volume) []placement.Request {
	reqs := make([]placement.Request, depth)
	mem := simdisk.Buffer(depth * 4096)
	for i := range reqs {
		mem[i*4096] = 1
		reqs[i].Vol, reqs[i].Len, reqs[i].Buf = v, 4096, mem[i*4096:(i+1)*4096]
	}
	return reqs
}

func (e *engine) round(tb testing.TB, reqs []placement.Request, rng *rand.Rand, k placement.Kind) {
	for i := range reqs {
		r := &reqs[i]
		r.Kind, r.Off = k, rng.Int64N(r.Vol.Size()/4096)*4096
		e.p.Submit(r)
	}
	e.finish(tb, len(reqs))
}

// TestAllocations counts what writes and reads of a running pool allocate, with destage and
// checkpoints in the background: nothing for each of them.
func TestAllocations(t *testing.T) {
	e := newEngine(t)
	v := e.volume(t)
	reqs := e.requests(v)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 4000 { // until every slice has its working size
		e.round(t, reqs, rng, placement.Write)
	}
	for _, k := range []placement.Kind{placement.Write, placement.Read} {
		n := testing.AllocsPerRun(2000, func() { e.round(t, reqs, rng, k) })
		t.Logf("%s: %.4f allocations per request", k, n/depth)
		if n/depth > 0.01 {
			t.Errorf("%s: %.4f allocations per request, want 0", k, n/depth)
		}
	}
	if s := e.p.Status().Stats; s.DestagedBlocks == 0 || s.Checkpoints == 0 {
		t.Errorf("nothing was destaged: %+v", s)
	}
}

// TestAllocationsOfSharedReads counts what reads of clones allocate: from memory, from the device, and
// when they wait for each other.
func TestAllocationsOfSharedReads(t *testing.T) {
	e := newEngine(t)
	v := e.volume(t)
	rng := rand.New(rand.NewPCG(1, 1))
	reqs := e.requests(v)
	for range 1000 {
		e.round(t, reqs, rng, placement.Write)
	}
	control := func(c *placement.Control) *placement.Volume {
		for e.p.Control(c); e.p.NextControl() == nil; {
			e.turn()
		}
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		return c.Vol
	}
	control(&placement.Control{Op: placement.SnapshotVolume, Names: []string{"v"}, To: "s"})
	control(&placement.Control{Op: placement.Drain})
	a := control(&placement.Control{Op: placement.CloneVolume, Name: "v@s", To: "a"})
	b := control(&placement.Control{Op: placement.CloneVolume, Name: "v@s", To: "b"})
	for i := range reqs {
		reqs[i].Vol = []*placement.Volume{a, b}[i%2]
	}
	round := func() {
		for i := range reqs {
			if i%2 == 0 {
				reqs[i].Off = rng.Int64N(a.Size()/4096) * 4096
			} else {
				reqs[i].Off = reqs[i-1].Off
			}
			reqs[i].Kind = placement.Read
			e.p.Submit(&reqs[i])
		}
		e.finish(t, len(reqs))
	}
	for range 500 {
		round()
	}
	n := testing.AllocsPerRun(4000, round)
	st := e.p.Status()
	t.Logf("%.4f allocations per request; %d blocks from memory, %d from the device", n/depth,
		st.Stats.SharedHits, st.Stats.SharedReads)
	if n/depth > 0.01 || st.Stats.SharedHits == 0 || int(st.Stats.SharedReads) <= st.Frames {
		t.Errorf("%.4f allocations per request, want 0: %+v", n/depth, st.Stats)
	}
}

func benchmark(b *testing.B, k placement.Kind) {
	e := newEngine(b)
	reqs := e.requests(e.volume(b))
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		e.round(b, reqs, rng, placement.Write)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i += depth {
		e.round(b, reqs, rng, k)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/depth, "ns/request")
}

func BenchmarkEngineWrite(b *testing.B) { benchmark(b, placement.Write) }
func BenchmarkEngineRead(b *testing.B)  { benchmark(b, placement.Read) }
