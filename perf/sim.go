package perf

import (
	"fmt"
	"math/rand/v2"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// Sim drives a pool on simulated disks with a number of requests always under way.
type Sim struct {
	World *simdisk.World
	Fast  *simdisk.Disk
	Cap   *simdisk.Disk
	Pool  *placement.Pool

	disks placement.Disks
	opt   placement.Options
	drv   *simdisk.Driver
}

// SimConfig says what the simulated pool lies on.
type SimConfig struct {
	Fast, Capacity simdisk.Timing
	FastSize       int64 // bytes
	CapacitySize   int64 // 0: the fast disk is all there is
	LogSize        int64 // bytes; 0: the default
	SegmentSize    int64 // of the log, bytes; 0: the default
	Options        placement.Options
}

// NewSim makes and opens a pool on simulated disks.
func NewSim(cfg SimConfig) (*Sim, error) {
	w := simdisk.NewWorld(1)
	s := &Sim{
		World: w,
		Fast:  w.NewDisk(simdisk.Config{Name: "fast", Size: cfg.FastSize, Timing: cfg.Fast}),
		opt:   cfg.Options,
	}
	s.Cap = s.Fast
	if cfg.CapacitySize == 0 {
		cfg.Capacity = cfg.Fast
	} else {
		s.Cap = w.NewDisk(simdisk.Config{Name: "capacity", Size: cfg.CapacitySize, Timing: cfg.Capacity})
	}
	for d, t := range []simdisk.Timing{cfg.Fast, cfg.Capacity} {
		_, s.opt.HardDisk[d] = t.(simdisk.HDD)
	}
	s.opt.Rand = func(p []byte) {
		for i := range p {
			p[i] = byte(w.Rand().Uint32())
		}
	}
	s.opt.Wall = func() int64 { return 0 }
	s.disks = placement.Disks{s.Fast.Sync()}
	s.disks[log.Capacity] = s.disks[log.Fast]
	if s.Cap != s.Fast {
		s.disks[log.Capacity] = s.Cap.Sync()
	}
	err := placement.Format(s.disks, placement.FormatConfig{
		LogSize: cfg.LogSize, SegmentBlocks: uint32(cfg.SegmentSize / log.BlockSize), Rand: s.opt.Rand,
	})
	if err != nil {
		return nil, err
	}
	return s, s.Open()
}

// Open opens the pool, after NewSim or after a crash.
func (s *Sim) Open() error {
	p, err := placement.Open(s.disks, s.opt)
	if err != nil {
		return err
	}
	s.Pool = p
	s.drv = s.World.Drive(p.NextOp, p.Complete, s.Fast, s.Cap)
	return nil
}

// Turn runs the loop once, and virtual time on to the next event.
func (s *Sim) Turn() {
	s.Pool.Tick(s.World.Now() + 1)
	more := s.Pool.Run()
	if s.drv.Pump() > 0 || more {
		return
	}
	if s.World.Step() {
		return
	}
	if at := s.Pool.Deadline(); at > 0 {
		s.World.Advance(at)
	}
}

// Control does one control operation.
func (s *Sim) Control(c *placement.Control) error {
	for s.Pool.Control(c); s.Pool.NextControl() == nil; {
		s.Turn()
	}
	return c.Err
}

// Create makes n volumes of size bytes.
func (s *Sim) Create(n int, size int64) ([]*placement.Volume, error) {
	var vols []*placement.Volume
	for i := range n {
		c := &placement.Control{
			Op: placement.CreateVolume, Name: fmt.Sprintf("v%d", i), Size: size, QueueDepth: 128,
		}
		if err := s.Control(c); err != nil {
			return nil, err
		}
		vols = append(vols, c.Vol)
	}
	return vols, nil
}

// Load keeps depth requests of 4 KiB at random places under way on every volume until total have
// ended. kind is placement.Write or placement.Read.
func (s *Sim) Load(vols []*placement.Volume, kind placement.Kind, depth, total int) error {
	rng := rand.New(rand.NewPCG(3, 4))
	reqs := make([]placement.Request, depth*len(vols))
	mem := simdisk.Buffer(len(reqs) * log.BlockSize)
	left := max(total, len(reqs))
	return s.Keep(reqs, func(i int) bool {
		if left == 0 {
			return false
		}
		left--
		r := &reqs[i]
		if r.Buf == nil {
			r.Vol, r.Buf = vols[i%len(vols)], mem[i*log.BlockSize:(i+1)*log.BlockSize]
			for j := range r.Buf {
				r.Buf[j] = byte(rng.Uint32())
			}
		}
		blocks := r.Vol.Size() / log.BlockSize
		r.Kind, r.Off, r.Len = kind, rng.Int64N(blocks)*log.BlockSize, log.BlockSize
		return true
	})
}

// Keep keeps all of reqs under way: next fills in the request at an index, or says that there is
// none left. It returns when all have ended, or the first has failed.
func (s *Sim) Keep(reqs []placement.Request, next func(i int) bool) error {
	under := 0
	start := func(i int) {
		if next(i) {
			reqs[i].Tag = uint64(i)
			under++
			s.Pool.Submit(&reqs[i])
		}
	}
	s.Pool.Tick(s.World.Now() + 1)
	for i := range reqs {
		start(i)
	}
	for under > 0 {
		s.Turn()
		for r := s.Pool.NextDone(); r != nil; r = s.Pool.NextDone() {
			if r.Err != 0 {
				return fmt.Errorf("%s at %d: %w", r.Kind, r.Off, r.Err)
			}
			under--
			start(int(r.Tag))
		}
	}
	return nil
}
