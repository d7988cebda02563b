package perf

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// These tests measure how well volumes lie on the capacity device: runs, and the rate at which they
// are read from one end to the other, in virtual time.

// layoutModels are the capacity devices; the log is on flash.
var layoutModels = []struct {
	name   string
	timing func() simdisk.Timing
}{
	{"flash", func() simdisk.Timing { return simdisk.P3700() }},
	{"hard disk", func() simdisk.Timing { return simdisk.UltrastarHC580() }},
}

func layoutPool(t *testing.T, capacity simdisk.Timing, logSize int64, opt placement.Options) *Sim {
	t.Helper()
	s, err := NewSim(SimConfig{
		Fast: simdisk.P3700(), Capacity: capacity,
		FastSize: 4 << 30, CapacitySize: 16 << 30, LogSize: logSize, Options: opt,
	})
	must(t, err)
	return s
}

// stream reads or writes all of a volume from one end to the other, in requests of 512 KiB of which
// 4 are under way, and returns the rate in MB/s of virtual time.
func (s *Sim) stream(t *testing.T, v *placement.Volume, kind placement.Kind) float64 {
	t.Helper()
	const size, depth = placement.MaxIO, 4
	reqs := make([]placement.Request, depth)
	mem := simdisk.Buffer(depth * size)
	for i := range mem {
		mem[i] = byte((i>>12)%255 + 1)
	}
	next, at := int64(0), s.World.Now()
	must(t, s.Keep(reqs, func(i int) bool {
		if next == v.Size() {
			return false
		}
		r := &reqs[i]
		r.Vol, r.Kind, r.Off, r.Len = v, kind, next, min(size, v.Size()-next)
		r.Buf = mem[i*size : i*size+int(r.Len)]
		next += r.Len
		return true
	}))
	return float64(v.Size()) / 1e6 / (float64(s.World.Now()-at) / 1e9)
}

// overwrite writes blocks of a volume, each once, in random order, 32 at a time.
func (s *Sim) overwrite(t *testing.T, v *placement.Volume, blocks []int) {
	t.Helper()
	const depth = 32
	reqs := make([]placement.Request, depth)
	mem := simdisk.Buffer(depth * log.BlockSize)
	rng := rand.New(rand.NewPCG(5, 6))
	must(t, s.Keep(reqs, func(i int) bool {
		if len(blocks) == 0 {
			return false
		}
		r := &reqs[i]
		r.Vol, r.Kind, r.Len = v, placement.Write, log.BlockSize
		r.Off, blocks = int64(blocks[0])*log.BlockSize, blocks[1:]
		r.Buf = mem[i*log.BlockSize : (i+1)*log.BlockSize]
		r.Buf[rng.IntN(log.BlockSize)]++
		return true
	}))
}

func (s *Sim) drain(t *testing.T) {
	t.Helper()
	must(t, s.Control(&placement.Control{Op: placement.Drain}))
}

// rest lets time pass until the pool has nothing left to do, and returns how long that took, in
// seconds.
func (s *Sim) rest(t *testing.T) float64 {
	t.Helper()
	at := s.World.Now()
	for range 50_000_000 {
		s.Pool.Tick(s.World.Now() + 1)
		if s.Pool.Run() || s.drv.Pump() > 0 || s.World.Step() {
			continue
		}
		next := s.Pool.Deadline()
		if next == 0 {
			return float64(s.World.Now()-at) / 1e9
		}
		s.World.Advance(next)
	}
	t.Fatal("the pool does not come to rest")
	return 0
}

// layout returns how a volume or snapshot lies.
func (s *Sim) layout(t *testing.T, name string) *placement.VolumeLayout {
	t.Helper()
	l := &placement.VolumeLayout{}
	for !l.Done {
		must(t, s.Control(&placement.Control{Op: placement.LayoutVolume, Name: name, Layout: l}))
	}
	return l
}

func runsOf(l *placement.VolumeLayout) string {
	return fmt.Sprintf("%d blocks in %d runs, mean %d KiB, %.1f %% at home", l.Blocks, l.Runs,
		l.MeanRun()>>10, 100*float64(l.Home)/float64(max(l.Blocks, 1)))
}

// TestOverwrittenVolume writes a volume sequentially, overwrites all of it in random order, and
// compares how it is read with one that was only written sequentially. A third one was written in
// random order from the start. With -short it is small, with -long large.
func TestOverwrittenVolume(t *testing.T) {
	size := int64(384 << 20)
	switch {
	case *long:
		size = 2 << 30
	case testing.Short():
		size = 128 << 20
	}
	blocks := int(size / log.BlockSize)
	for _, m := range layoutModels {
		t.Run(m.name, func(t *testing.T) {
			s := layoutPool(t, m.timing(), 128<<20, placement.Options{})
			vols, err := s.Create(3, size)
			must(t, err)
			rng := rand.New(rand.NewPCG(1, 2))
			for _, v := range vols[:2] {
				s.stream(t, v, placement.Write)
				s.drain(t)
			}
			s.overwrite(t, vols[1], rng.Perm(blocks))
			s.overwrite(t, vols[2], rng.Perm(blocks))
			s.drain(t)
			for i, what := range []string{"sequential", "overwritten", "random only"} {
				t.Logf("%-12s %s", what, runsOf(s.layout(t, vols[i].Name())))
			}
			fresh := s.stream(t, vols[0], placement.Read)
			over, random := s.stream(t, vols[1], placement.Read), s.stream(t, vols[2], placement.Read)
			t.Logf("read: %.0f MB/s sequential, overwritten %.2f of it, random only %.2f", fresh,
				over/fresh, random/fresh)
			took := s.rest(t)
			after, last := s.stream(t, vols[1], placement.Read), s.stream(t, vols[2], placement.Read)
			st := s.Pool.Status().Stats
			t.Logf("after %.1f s of rest, %d blocks moved: overwritten %s, %.2f; random only %s, %.2f", took,
				st.ReplacedBlocks, runsOf(s.layout(t, "v1")), after/fresh, runsOf(s.layout(t, "v2")),
				last/fresh)
			if after < 0.9*fresh {
				t.Errorf("an overwritten volume is read at %.2f of the rate of a fresh one", after/fresh)
			}
		})
	}
}

// TestSparseClone writes few blocks here and there to a clone, in several goes, and then many into a
// part of it.
func TestSparseClone(t *testing.T) {
	const size = 1 << 30
	for _, m := range layoutModels {
		t.Run(m.name, func(t *testing.T) {
			s := layoutPool(t, m.timing(), 128<<20, placement.Options{})
			vols, err := s.Create(1, size)
			must(t, err)
			s.stream(t, vols[0], placement.Write)
			must(t, s.snapshot("golden", "v0"))
			c := &placement.Control{Op: placement.CloneVolume, Name: "v0@golden", To: "clone"}
			must(t, s.Control(c))
			s.drain(t)
			rng := rand.New(rand.NewPCG(1, 2))
			before := s.Pool.Status().Stats
			s.overwrite(t, c.Vol, rng.Perm(size / log.BlockSize)[:4000])
			s.drain(t)
			st := s.Pool.Status().Stats
			t.Logf("4000 blocks here and there: destaged in runs of %d KiB", meanRun(before, st))
			region := rng.Perm(size / 16 / log.BlockSize)
			for len(region) > 0 { // each go is destaged before the next
				n := min(500, len(region))
				s.overwrite(t, c.Vol, region[:n])
				region = region[n:]
				s.drain(t)
			}
			t.Logf("64 MiB in random order: %s", runsOf(s.layout(t, "clone")))
			moved := s.Pool.Status().Stats.ReplacedBlocks
			took := s.rest(t)
			l := s.layout(t, "clone")
			t.Logf("after %.1f s of rest, %d blocks moved: %s", took,
				s.Pool.Status().Stats.ReplacedBlocks-moved, runsOf(l))
			if own := l.Blocks - l.Shared; own < 19_000 || l.Home < l.Blocks-4000 {
				t.Errorf("%d blocks of its own; %+v", own, l)
			}
		})
	}
}

// meanRun returns the mean length of the runs that were destaged between two moments, in KiB.
func meanRun(a, b placement.Stats) uint64 {
	return (b.DestagedBlocks - a.DestagedBlocks) * 4 / max(b.DestageRuns-a.DestageRuns, 1)
}

// TestDestagedRuns overwrites parts of the blocks of some chunks in random order, all of which the
// log holds before destage begins. Clean blocks between them end a run, but not the pass of the disk.
func TestDestagedRuns(t *testing.T) {
	const size = 128 << 20
	for _, share := range []int{100, 75, 50, 25, 10} {
		s := layoutPool(t, simdisk.UltrastarHC580(), 1<<30, placement.Options{
			Low: 900, High: 950, Idle: 1 << 50, NoReplacement: true,
		})
		vols, err := s.Create(1, size)
		must(t, err)
		s.stream(t, vols[0], placement.Write)
		s.drain(t)
		rng := rand.New(rand.NewPCG(1, 2))
		before, at := s.Pool.Status().Stats, s.World.Now()
		blocks := rng.Perm(size / log.BlockSize)
		s.overwrite(t, vols[0], blocks[:len(blocks)*share/100])
		written := s.World.Now()
		s.drain(t)
		st := s.Pool.Status().Stats
		if mean := meanRun(before, st); share == 100 && mean < 512 {
			t.Errorf("all blocks are dirty, and the runs have %d KiB", mean)
		}
		t.Logf("%3d %% of the blocks dirty: %d blocks destaged in runs of %d KiB; %.1f s to write, "+
			"%.1f s to destage, %.1f MB/s", share, st.DestagedBlocks-before.DestagedBlocks,
			meanRun(before, st), float64(written-at)/1e9, float64(s.World.Now()-written)/1e9,
			float64(st.DestagedBlocks-before.DestagedBlocks)*4096/1e6/(float64(s.World.Now()-written)/1e9))
	}
}
