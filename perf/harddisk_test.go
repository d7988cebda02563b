package perf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// guestsSetup is a host whose data is on a hard disk: volumes, fully written.
type guestsSetup struct {
	volumes int
	size    int64 // of each, bytes
	batch   int   // blocks destaged at a time
	logSize int64 // bytes; 0: a twelfth of the volumes
}

func (g guestsSetup) all() int64 { return int64(g.volumes) * g.size }

// log returns the size of the log in bytes: at least eight segments unless it is given.
func (g guestsSetup) log() int64 {
	if g.logSize > 0 {
		return g.logSize
	}
	return max(g.all()/12>>24<<24, 128<<20)
}

// TestGuestsOnHardDisks measures, in virtual time, what guests that write 4 KiB at random get of a pool
// on hard disks, and of one whose log is on flash, beside what they get of one such disk at the same
// depth and contract: durable when acknowledged. Without -long there are few of them, and the distances
// that heads move are short.
func TestGuestsOnHardDisks(t *testing.T) {
	if *guests != "" {
		askedGuests(t).measure(t, "hard disk", simdisk.UltrastarHC580(), 4)
		return
	}
	g := guestsSetup{volumes: 8, size: 64 << 20, batch: 4096}
	if *long {
		g = guestsSetup{volumes: 50, size: 1 << 30, batch: *batch}
	}
	g.measure(t, "hard disk", simdisk.UltrastarHC580(), 4)
	g.measure(t, "hard disk", simdisk.UltrastarHC580(), 32)
	g.measure(t, "flash", simdisk.P3700(), 4)
}

// askedGuests returns the setup that a flag asks for.
func askedGuests(t *testing.T) (g guestsSetup) {
	t.Helper()
	if _, err := fmt.Sscanf(*guests, "%dx%d+%d", &g.volumes, &g.size, &g.logSize); err != nil {
		t.Fatalf("-guests=%s: want VOLUMESxMIB+MIB, as in 8x128+256: %v", *guests, err)
	}
	g.size, g.logSize = g.size<<20, g.logSize<<20
	return g
}

// measure measures with a log on a kind of device, and so many requests of each volume under way.
func (g guestsSetup) measure(t *testing.T, kind string, fast simdisk.Timing, depth int) {
	bare := bareDisk(g.all(), g.volumes*depth)
	s := g.pool(t, fast)
	vols, err := s.Create(g.volumes, g.size)
	must(t, err)
	for _, v := range vols {
		s.fill(t, v)
	}
	s.drain(t)
	idle := s.readLatency(t, vols, 500, nil)
	logBlocks := int(s.Pool.Status().Segments) * int(s.Pool.Status().SegmentBytes) / log.BlockSize
	first := s.randomWrites(t, vols, depth, logBlocks/5, nil)
	s.randomWrites(t, vols, depth, logBlocks, nil) // the log is full
	before := s.Pool.Status().Stats
	sustained := s.randomWrites(t, vols, depth, 2*logBlocks, nil)
	var reads []int64
	beside := s.randomWrites(t, vols, depth, logBlocks, &reads)
	run := meanRun(before, s.Pool.Status().Stats)
	t.Logf("%d volumes of %d MiB, depth %d each, log of %d MiB on %s: one disk %.0f writes/s; the pool %.0f "+
		"while the log has room (%.0f times), %.0f over two logs with destage (%.1f times); destaged runs of "+
		"%d KiB; with a reader %.0f (%.1f times), its reads p99 %.1f ms, idle %.1f ms",
		g.volumes, g.size>>20, depth, logBlocks>>8, kind, bare, first, first/bare, sustained, sustained/bare,
		run, beside, beside/bare, float64(percentile(reads, 99))/1e6, float64(percentile(idle, 99))/1e6)
	if first < bare {
		t.Errorf("depth %d: the pool takes less than one disk", depth)
	}
	s.drain(t)
	alone := g.alone(t, fast)
	var rates []float64 // of reading volumes from end to end, parts of that of one alone
	for _, v := range vols {
		rates = append(rates, s.stream(t, v, placement.Read)/alone)
	}
	t.Logf("after the load and its destage the volumes are read from end to end at %.2f to %.2f (median %.2f) "+
		"of the %.0f MB/s of one that was written so, alone", slices.Min(rates), slices.Max(rates),
		slices.Sorted(slices.Values(rates))[len(rates)/2], alone)
}

// alone returns the rate in MB/s at which a volume is read from end to end that was written so and
// destaged, in a pool that has no other.
func (g guestsSetup) alone(t *testing.T, fast simdisk.Timing) float64 {
	t.Helper()
	s := g.pool(t, fast)
	vols, err := s.Create(1, g.size)
	must(t, err)
	s.fill(t, vols[0])
	s.drain(t)
	return s.stream(t, vols[0], placement.Read)
}

// pool returns a pool with a log on a kind of device and room for the volumes.
func (g guestsSetup) pool(t *testing.T, fast simdisk.Timing) *Sim {
	t.Helper()
	s, err := NewSim(SimConfig{
		Fast: fast, Capacity: simdisk.UltrastarHC580(),
		FastSize: g.log() + 4<<30, CapacitySize: g.all() + g.all()/4 + 4<<30, LogSize: g.log(),
		SegmentSize: min(g.logSize/16, 16<<20), Options: placement.Options{BatchBlocks: g.batch},
	})
	must(t, err)
	return s
}

// bareDisk returns how many random durable writes of 4 KiB one disk does per second, of which depth are
// under way, over n bytes.
func bareDisk(n int64, depth int) float64 {
	rng := rand.New(rand.NewPCG(1, 2))
	return rawRate(simdisk.UltrastarHC580(), n, depth, log.BlockSize, func(int) int64 {
		return rng.Int64N(n/log.BlockSize) * log.BlockSize
	})
}

// rawRate returns how many durable writes of size bytes a disk of n bytes does per second, of which depth
// are under way. place says where the i-th goes.
func rawRate(timing simdisk.Timing, n int64, depth, size int, place func(i int) int64) float64 {
	const total = 4000
	w := simdisk.NewWorld(1)
	d := w.NewDisk(simdisk.Config{Name: "disk", Size: n, Timing: timing})
	mem := simdisk.Buffer(size)
	begun, ended := 0, 0
	var start func()
	start = func() {
		op := &log.Op{Kind: log.Write, FUA: true, Off: place(begun), Bufs: [][]byte{mem}}
		begun++
		d.Submit(op, func(log.Token, int32) {
			if ended++; begun < total+depth {
				start()
			}
		})
	}
	for range depth {
		start()
	}
	for ended < total && w.Step() {
	}
	return float64(ended) / (float64(w.Now()) / 1e9)
}

// pattern fills a block with 64 bytes that repeat, which simulated disks store in little room.
func pattern(b []byte, n uint32) {
	for i := range b {
		b[i] = byte(n>>(i%4*8)) + byte(i%64) + 1
	}
}

// fill writes a volume from one end to the other.
func (s *Sim) fill(t *testing.T, v *placement.Volume) {
	t.Helper()
	const depth = 4
	reqs := make([]placement.Request, depth)
	mem := simdisk.Buffer(depth * placement.MaxIO)
	for i := 0; i < len(mem); i += log.BlockSize {
		pattern(mem[i:i+log.BlockSize], uint32(i))
	}
	next := int64(0)
	must(t, s.Keep(reqs, func(i int) bool {
		if next == v.Size() {
			return false
		}
		r := &reqs[i]
		r.Vol, r.Kind, r.Off, r.Len = v, placement.Write, next, min(placement.MaxIO, v.Size()-next)
		r.Buf = mem[i*placement.MaxIO:][:r.Len:r.Len]
		next += r.Len
		return true
	}))
}

// randomWrites writes blocks at random places of all volumes, depth of each under way, until total have
// ended, and returns how many that were per second. With reads, one more request is always a read of a
// random block, and its time, in ns, is added.
func (s *Sim) randomWrites(t *testing.T, vols []*placement.Volume, depth, total int, reads *[]int64) float64 {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(total), 4))
	n := depth * len(vols)
	reqs := make([]placement.Request, n+1)
	mem := simdisk.Buffer(len(reqs) * log.BlockSize)
	left, at, since := max(total, n), s.World.Now(), int64(0)
	must(t, s.Keep(reqs, func(i int) bool {
		r := &reqs[i]
		if i == n && since != 0 {
			*reads = append(*reads, s.World.Now()-since)
		}
		if left == 0 || i == n && reads == nil {
			return false
		}
		r.Vol, r.Kind, r.Len = vols[i%len(vols)], placement.Write, log.BlockSize
		r.Buf = mem[i*log.BlockSize : (i+1)*log.BlockSize]
		r.Off = rng.Int64N(r.Vol.Size()/log.BlockSize) * log.BlockSize
		if i == n {
			r.Vol, r.Kind, since = vols[rng.IntN(len(vols))], placement.Read, s.World.Now()
			return true
		}
		left--
		pattern(r.Buf, rng.Uint32())
		return true
	}))
	return float64(max(total, n)) / (float64(s.World.Now()-at) / 1e9)
}

// readLatency reads n random blocks one after the other and returns how long each took, in ns.
func (s *Sim) readLatency(t *testing.T, vols []*placement.Volume, n int, list []int64) []int64 {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 8))
	reqs := make([]placement.Request, 1)
	mem := simdisk.Buffer(log.BlockSize)
	since := s.World.Now()
	must(t, s.Keep(reqs, func(int) bool {
		if now := s.World.Now(); now > since {
			list = append(list, now-since)
		}
		since = s.World.Now()
		v := vols[rng.IntN(len(vols))]
		r := &reqs[0]
		r.Vol, r.Kind, r.Len, r.Buf = v, placement.Read, log.BlockSize, mem
		r.Off = rng.Int64N(v.Size()/log.BlockSize) * log.BlockSize
		return len(list) < n
	}))
	return list
}

// percentile returns the p-th percentile of list.
func percentile(list []int64, p int) int64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)-1)*p/100]
}
