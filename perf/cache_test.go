package perf

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// bootRead is what a guest reads at a time while it boots, in bytes.
const bootRead = 16 << 10

// boot has every volume read the same ranges of bootRead bytes in the same order, with four requests
// under way on each. Each stays lag reads behind the volume before it, until that has ended.
func (s *Sim) boot(t *testing.T, vols []*placement.Volume, order []int64, lag int) {
	t.Helper()
	const depth = 4
	reqs := make([]placement.Request, depth*len(vols))
	mem := simdisk.Buffer(len(reqs) * bootRead)
	next, ended, idle := make([]int, len(vols)), make([]int, len(vols)), make([][]int, len(vols))
	for i := range reqs {
		v := i / depth
		idle[v] = append(idle[v], i)
		reqs[i].Kind, reqs[i].Vol, reqs[i].Tag = placement.Read, vols[v], uint64(i)
		reqs[i].Len, reqs[i].Buf = bootRead, mem[i*bootRead:(i+1)*bootRead]
	}
	for left := len(vols) * len(order); left > 0; s.Turn() {
		s.Pool.Tick(s.World.Now() + 1)
		for r := s.Pool.NextDone(); r != nil; r = s.Pool.NextDone() {
			must(t, asError(r))
			v := int(r.Tag) / depth
			idle[v] = append(idle[v], int(r.Tag))
			ended[v]++
			left--
		}
		for v := range vols {
			for len(idle[v]) > 0 && next[v] < len(order) &&
				(v == 0 || next[v]+lag <= ended[v-1] || ended[v-1] == len(order) || lag == 0) {
				i := idle[v][0]
				idle[v] = idle[v][1:]
				reqs[i].Off = order[next[v]]
				next[v]++
				s.Pool.Submit(&reqs[i])
			}
		}
	}
}

func asError(r *placement.Request) error {
	if r.Err != 0 {
		return fmt.Errorf("%s of %s at %d: %w", r.Kind, r.Vol.Name(), r.Off, r.Err)
	}
	return nil
}

// TestBootStorm lets 100 clones read the same 64 MiB of their image in the same order, all at once,
// one behind the other, and one after the other, with the default cache and with one that has room
// for it. Without -long it is an eighth, of the cache too.
func TestBootStorm(t *testing.T) {
	const clones = 100
	size, frames := int64(64<<20), 24<<20/log.BlockSize
	if !*long {
		size, frames = size/8, frames/8
	}
	order := make([]int64, size/bootRead)
	for i := range order {
		order[i] = int64(i) * bootRead
	}
	rng := rand.New(rand.NewPCG(5, 6))
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, c := range []struct {
		name   string
		lag    int // reads that a clone is behind the one before
		frames int
	}{
		{"all at once", 0, frames},
		{"each 1/1000 of the boot behind the one before", len(order) / 1000, frames},
		{"each 1/100 of the boot behind the one before", len(order) / 100, frames},
		{"one after the other", len(order), frames},
		{"one after the other, six times the cache", len(order), 6 * frames},
	} {
		s := flashPool(t, 256<<20, placement.Options{Frames: c.frames})
		vols, err := s.Create(1, size)
		must(t, err)
		must(t, s.Load(vols, placement.Write, 32, int(size/log.BlockSize)*4))
		must(t, s.snapshot("golden", "v0"))
		must(t, s.Control(&placement.Control{Op: placement.Drain}))
		must(t, s.Control(&placement.Control{
			Op: placement.CloneVolume, Name: "v0@golden", To: "desk-", Width: 3, Count: clones,
		}))
		var desks []*placement.Volume
		for i := range clones {
			desks = append(desks, s.Pool.Volume(fmt.Sprintf("desk-%03d", i)))
		}
		was, st := s.Cap.Stats(), s.Pool.Status().Stats
		s.boot(t, desks, order, c.lag)
		now, end := s.Cap.Stats(), s.Pool.Status().Stats
		blocks := float64(clones * size / log.BlockSize)
		t.Logf("%s: %.4f of the bytes were read from the device, %.3f operations per guest read, "+
			"%d pages read", c.name,
			float64(now.ReadBytes-was.ReadBytes)/blocks/log.BlockSize,
			float64(now.Reads-was.Reads)/float64(clones*len(order)),
			end.PageReads-st.PageReads)
	}
}

// TestTebibyte writes 4 KiB at random places all over a volume of 1 TiB, so that more than 200,000
// leaves of its map are touched, and reads what it wrote: what a cold read costs, and what the engine
// has in memory. Without -long it is a sixteenth, of the cache too.
func TestTebibyte(t *testing.T) {
	share := int64(16)
	if *long {
		share = 1
	}
	size, writes, reads := int64(1<<40)/share, 240_000/int(share), 40_000/int(share)
	before := heap()
	s, err := NewSim(SimConfig{
		Fast: simdisk.P3700(), Capacity: simdisk.P3700(), FastSize: 16 << 30,
		CapacitySize: size + size/16, LogSize: max(512<<20/share, 160<<20),
		Options: placement.Options{
			Frames: 24 << 20 / log.BlockSize / int(share), IndexEntries: 1 << 20 / int(share),
		},
	})
	must(t, err)
	opened := heap()
	vols, err := s.Create(1, size)
	must(t, err)
	rng := rand.New(rand.NewPCG(7, 8))
	leaves := map[int64]bool{}
	places := make([]int64, writes)
	for i := range places {
		places[i] = rng.Int64N(size/log.BlockSize) * log.BlockSize
		leaves[places[i]>>20] = true
	}
	begin := s.World.Now()
	must(t, s.at(vols[0], placement.Write, 32, places))
	must(t, s.Control(&placement.Control{Op: placement.Drain}))
	st := s.Pool.Status()
	t.Logf("%d writes touched %d leaves of the map: %.1f s of virtual time, %d checkpoints, %.2f pages "+
		"read per write", writes, len(leaves), float64(s.World.Now()-begin)/1e9, st.Stats.Checkpoints,
		float64(st.Stats.PageReads)/float64(writes))
	if need := 200_000 / int(share); len(leaves) < need {
		t.Errorf("%d leaves, want %d", len(leaves), need)
	}
	rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	must(t, s.at(vols[0], placement.Read, 32, places[:reads])) // what is hot at all gets there
	for _, depth := range []int{1, 32} {
		was, data, at := s.Pool.Status().Stats, s.Cap.Stats().Reads, s.World.Now()
		must(t, s.at(vols[0], placement.Read, depth, places[reads:2*reads]))
		now, n := s.Pool.Status().Stats, float64(reads)
		t.Logf("%d cold reads, %d at a time: %.3f pages and %.3f blocks of data read for each, %.1f us of "+
			"virtual time", reads, depth, float64(now.PageReads-was.PageReads)/n,
			float64(s.Cap.Stats().Reads-data)/n, float64(s.World.Now()-at)/n/1000)
	}
	full := heap()
	frames := s.Pool.Status().Frames
	s.Pool, s.drv, vols = nil, nil, nil
	rest := heap()
	runtime.KeepAlive(s) // the devices are not what is measured
	t.Logf("memory of the engine: %.1f MiB when opened, %.1f MiB at the end; %.1f MiB of it frames",
		float64(opened-before)/(1<<20), float64(full-rest)/(1<<20), float64(frames)*log.BlockSize/(1<<20))
}

// at does a request of 4 KiB at each of some places of a volume, depth at a time.
func (s *Sim) at(v *placement.Volume, kind placement.Kind, depth int, places []int64) error {
	reqs := make([]placement.Request, depth)
	mem := simdisk.Buffer(depth * log.BlockSize)
	for i := range reqs {
		r := &reqs[i]
		r.Vol, r.Kind, r.Len, r.Buf = v, kind, log.BlockSize, mem[i*log.BlockSize:(i+1)*log.BlockSize]
		r.Buf[0] = byte(i + 1)
	}
	next := 0
	return s.Keep(reqs, func(i int) bool {
		if next == len(places) {
			return false
		}
		reqs[i].Off = places[next]
		next++
		return true
	})
}
