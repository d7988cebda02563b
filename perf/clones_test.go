package perf

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// flashPool is a pool on simulated flash.
func flashPool(t *testing.T, logSize int64, opt placement.Options) *Sim {
	t.Helper()
	s, err := NewSim(SimConfig{
		Fast: simdisk.P3700(), Capacity: simdisk.P3700(),
		FastSize: 4 << 30, CapacitySize: 64 << 30, LogSize: logSize, Options: opt,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot takes a snapshot of the volumes that are named.
func (s *Sim) snapshot(to string, names ...string) error {
	return s.Control(&placement.Control{Op: placement.SnapshotVolume, Names: names, To: to})
}

// goldenPool is a pool with the snapshot v0@golden of a volume of 20 GiB, in which so many random
// blocks were written, all destaged.
func goldenPool(t *testing.T, writes int) *Sim {
	t.Helper()
	s := flashPool(t, 512<<20, placement.Options{})
	vols, err := s.Create(1, 20<<30)
	must(t, err)
	must(t, s.Load(vols, placement.Write, 32, writes))
	must(t, s.snapshot("golden", "v0"))
	must(t, s.Control(&placement.Control{Op: placement.Drain}))
	return s
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestClones makes 1,000, 10,000 and 50,000 clones of a golden image, each number with one call, and
// cuts the power right after: all must be there.
func TestClones(t *testing.T) {
	for _, n := range []int{1000, 10_000, 50_000} {
		s := goldenPool(t, 10_000)
		before, bytes := heap(), s.Fast.Stats().WrittenBytes
		begin, virtual := time.Now(), s.World.Now()
		must(t, s.Control(&placement.Control{
			Op: placement.CloneVolume, Name: "v0@golden", To: "desk-", Width: 5, Count: uint32(n),
		}))
		took, waited := time.Since(begin), s.World.Now()-virtual
		logged := s.Fast.Stats().WrittenBytes - bytes
		grown := heap() - before
		s.World.Crash(nil)
		s.World.Restart()
		begin = time.Now()
		must(t, s.Open())
		replayed := time.Since(begin)
		if got := len(s.Pool.Volumes(false)); got != n+2 {
			t.Errorf("%d volumes after a power cut right after the call, want %d", got, n+2)
		}
		s.useSome(t, n)
		must(t, s.Control(&placement.Control{Op: placement.Checkpoint}))
		begin = time.Now()
		must(t, s.Open())
		t.Logf("%d clones: %v of this machine's time, %.2f ms of the disk's; %d bytes of log, %.2f each; "+
			"%d bytes of memory each; restart %v from the log, %v from a checkpoint",
			n, took.Round(100*time.Microsecond), float64(waited)/1e6, logged, float64(logged)/float64(n),
			grown/int64(n), replayed.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	}
}

// TestCloneCost measures what a clone costs by the number made at once, each number several times on
// new pools. With -plot it draws the medians.
func TestCloneCost(t *testing.T) {
	rounds := 1
	if *long {
		rounds = 9
	}
	var counts []float64
	panels := []Panel{
		{Title: "time per clone, us"},
		{Title: "log per clone, bytes"},
		{Title: "memory per clone, bytes"},
	}
	for _, n := range []int{1000, 2000, 5000, 10_000, 20_000, 50_000} {
		var all [3][]float64
		for range rounds {
			for i, v := range cloneCost(t, n) {
				all[i] = append(all[i], v)
			}
		}
		counts = append(counts, float64(n))
		for i, vs := range all {
			slices.Sort(vs)
			panels[i].Y = append(panels[i].Y, vs[len(vs)/2])
		}
		k := len(counts) - 1
		t.Logf("%5d clones: %.2f us each (%.2f to %.2f, %.2f times the first), %.2f bytes of log, "+
			"%.0f of memory", n, panels[0].Y[k], all[0][0], all[0][rounds-1],
			panels[0].Y[k]/panels[0].Y[0], panels[1].Y[k], panels[2].Y[k])
	}
	if *plot == "" {
		return
	}
	f, err := os.Create(*plot)
	must(t, err)
	must(t, Plot(f, "clones made with one call", counts, panels...))
	must(t, f.Close())
}

// cloneCost makes n clones with one call and returns what each took: microseconds of this machine's
// time, bytes of log, bytes of memory.
func cloneCost(t *testing.T, n int) [3]float64 {
	t.Helper()
	s := goldenPool(t, 1000)
	before, bytes := heap(), s.Fast.Stats().WrittenBytes
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the daemon collects at a limit only
	begin := time.Now()
	must(t, s.Control(&placement.Control{
		Op: placement.CloneVolume, Name: "v0@golden", To: "desk-", Width: 5, Count: uint32(n),
	}))
	took := time.Since(begin)
	logged := s.Fast.Stats().WrittenBytes - bytes
	grown := heap() - before
	runtime.KeepAlive(s)
	each := float64(n)
	return [3]float64{
		float64(took.Nanoseconds()) / 1000 / each, float64(logged) / each, float64(grown) / each,
	}
}

// useSome renames, attaches and writes a hundred of n clones, chosen at random, and removes half of
// them again; after one more power cut the others are there.
func (s *Sim) useSome(t *testing.T, n int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	before := len(s.Pool.Volumes(false))
	var kept []string
	for i, k := range rng.Perm(n)[:100] {
		was, name := fmt.Sprintf("desk-%05d", k), fmt.Sprint("used-", i)
		must(t, s.Control(&placement.Control{Op: placement.RenameVolume, Name: was, To: name}))
		c := &placement.Control{Op: placement.AttachVolume, Name: name, Device: int32(i), QueueDepth: 32}
		must(t, s.Control(c))
		must(t, s.Load([]*placement.Volume{c.Vol}, placement.Write, 8, 50))
		must(t, s.Load([]*placement.Volume{c.Vol}, placement.Read, 8, 50))
		must(t, s.Control(&placement.Control{Op: placement.DetachVolume, Name: name}))
		if i%2 == 0 {
			must(t, s.Control(&placement.Control{Op: placement.RemoveVolume, Name: name}))
		} else {
			kept = append(kept, name)
		}
	}
	s.World.Crash(nil)
	s.World.Restart()
	must(t, s.Open())
	for _, name := range kept {
		v := s.Pool.Volume(name)
		if v == nil {
			t.Fatalf("%s is not there after a power cut", name)
		}
		must(t, s.Load([]*placement.Volume{v}, placement.Read, 8, 50))
	}
	if got := len(s.Pool.Volumes(false)); got != before-50 {
		t.Errorf("%d volumes after 50 were removed, want %d", got, before-50)
	}
}

// cost is what a guest's request takes from the devices, on average.
type cost struct {
	ops, bytes float64 // of both devices, per request
	probes     float64 // of the dirty index, per read
	micros     float64 // of virtual time
}

func (c cost) String() string {
	return fmt.Sprintf("%.3f operations, %.0f bytes, %.2f index probes, %.1f us", c.ops, c.bytes, c.probes,
		c.micros)
}

// measure does a number of requests at random places and says what each took.
func (s *Sim) measure(t *testing.T, v *placement.Volume, kind placement.Kind, n int) cost {
	t.Helper()
	count := func() (ops, bytes uint64) {
		for _, d := range [...]*simdisk.Disk{s.Fast, s.Cap} {
			st := d.Stats()
			ops += st.Reads + st.Writes + st.Flushes
			bytes += st.ReadBytes + st.WrittenBytes
		}
		return ops, bytes
	}
	ops, bytes := count()
	probes, at := s.Pool.Status().Stats.IndexProbes, s.World.Now()
	must(t, s.Load([]*placement.Volume{v}, kind, 32, n))
	o, b := count()
	f := float64(n)
	return cost{
		float64(o-ops) / f, float64(b-bytes) / f,
		float64(s.Pool.Status().Stats.IndexProbes-probes) / f, float64(s.World.Now()-at) / f / 1000,
	}
}

// TestSnapshotsCostNothing compares what writes and reads take before and after snapshots, at depth
// 500, and on a clone. Each measurement writes three times the log, so that destage is in it.
func TestSnapshotsCostNothing(t *testing.T) {
	const logSize, size = 128 << 20, 96 << 20
	const writes, reads = 3 * logSize / log.BlockSize, 20_000
	s := flashPool(t, logSize, placement.Options{})
	vols, err := s.Create(1, size)
	must(t, err)
	v := vols[0]
	s.measure(t, v, placement.Write, writes)
	base := s.measure(t, v, placement.Write, writes)
	baseRead := s.measure(t, v, placement.Read, reads)
	t.Logf("before:        write %v; read %v", base, baseRead)
	show := func(what string, v *placement.Volume) {
		w := s.measure(t, v, placement.Write, writes)
		r := s.measure(t, v, placement.Read, reads)
		t.Logf("%-14s write %v; read %v; rate %.2f and %.2f", what+":", w, r, base.micros/w.micros,
			baseRead.micros/r.micros)
		if w.ops > 1.25*base.ops || r.ops > 1.25*baseRead.ops || r.probes > 3 {
			t.Errorf("%s: more than before", what)
		}
	}
	must(t, s.snapshot("s0", "v0"))
	show("one snapshot", v)
	for depth := 1; depth < 500; depth++ {
		must(t, s.snapshot(fmt.Sprint("s", depth), "v0"))
		s.measure(t, v, placement.Write, 40)
		if depth == 100 {
			show("depth 100", v)
		}
	}
	show("depth 500", v)
	c := &placement.Control{Op: placement.CloneVolume, Name: "v0@s250", To: "clone"}
	must(t, s.Control(c))
	show("on a clone", c.Vol)
}

// TestDepthInTheLog takes 500 snapshots with writes between them and destages nothing: a read asks
// the index as often as without snapshots.
func TestDepthInTheLog(t *testing.T) {
	s := flashPool(t, 512<<20, placement.Options{Low: 990, High: 995, Idle: 1 << 60, CheckpointEvery: 1 << 60})
	vols, err := s.Create(1, 64<<20)
	must(t, err)
	v := vols[0]
	must(t, s.Load(vols, placement.Write, 32, 16_000))
	base := s.measure(t, v, placement.Read, 20_000)
	for i := range 500 {
		must(t, s.snapshot(fmt.Sprint("s", i), "v0"))
		must(t, s.Load(vols, placement.Write, 1, 20))
	}
	deep := s.measure(t, v, placement.Read, 20_000)
	if st := s.Pool.Status().Stats; st.DestagedBlocks > 0 {
		t.Fatalf("%d blocks were destaged", st.DestagedBlocks)
	}
	c := &placement.Control{Op: placement.CloneVolume, Name: "v0@s250", To: "clone"}
	must(t, s.Control(c))
	must(t, s.Load([]*placement.Volume{c.Vol}, placement.Write, 1, 100))
	clone := s.measure(t, c.Vol, placement.Read, 20_000)
	t.Logf("read: %v; at depth 500: %v; on a clone of the middle: %v", base, deep, clone)
	if deep.probes > 1.01*base.probes || clone.probes > 3 {
		t.Errorf("index probes: %.2f, %.2f, %.2f", base.probes, deep.probes, clone.probes)
	}
	begin := time.Now()
	virtual := s.World.Now()
	must(t, s.Control(&placement.Control{Op: placement.Drain}))
	t.Logf("all of it destaged in %.2f s of virtual time, %v of this machine's, %d checkpoints",
		float64(s.World.Now()-virtual)/1e9, time.Since(begin).Round(time.Millisecond),
		s.Pool.Status().Stats.Checkpoints)
}
