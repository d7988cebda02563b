package vmbench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/bench"
	"unblend/tools/internal/control"
	"unblend/tools/internal/harddisk"
	"unblend/tools/internal/operate"
)

// guestsEnv asks for other volumes and another log, as package perf's flag -guests: VOLUMESxMIB+MIB.
const (
	guestsEnv     = "UNBLEND_GUESTS"
	defaultGuests = "8x128+256"
)

// How the pool is loaded: as TestGuestsOnHardDisks of package perf does it in virtual time.
const (
	guestDepth = 4   // writes under way on each volume
	roomShare  = 5   // of so many parts of the log, one is written while it has room
	idleReads  = 300 // of an idle pool
	spareMiB   = 4 << 10
	drainTime  = time.Hour
)

// guestDisks is a pool with log and data on modelled hard disks.
type guestDisks struct {
	ctx     context.Context
	volumes int
	mib     int // of each
	logMiB  int

	prog   operate.Program
	daemon *operate.Daemon
	client *control.Client
	paths  []string // of the volumes
}

// parseGuests reads what guestsEnv holds.
func parseGuests(s string) (g guestDisks, err error) {
	if s == "" {
		s = defaultGuests
	}
	if _, err := fmt.Sscanf(s, "%dx%d+%d", &g.volumes, &g.mib, &g.logMiB); err != nil {
		return g, fmt.Errorf("%s=%s: want VOLUMESxMIB+MIB, as in %s: %w", guestsEnv, s, defaultGuests, err)
	}
	return g, nil
}

// allMiB is the size of all volumes, segmentMiB that of the log's segments: sixteen of them at least.
func (g *guestDisks) allMiB() int     { return g.volumes * g.mib }
func (g *guestDisks) segmentMiB() int { return max(min(g.logMiB/16, 16), 1) }

// measureHardDisk compares the modelled hard disk with what is published of it, and a pool on two of them
// with one.
func measureHardDisk(ctx context.Context, r *Report) error {
	g, err := parseGuests(os.Getenv(guestsEnv))
	if err != nil {
		return err
	}
	if _, err := bench.Sh(ctx, "modprobe ublk_drv"); err != nil {
		return err
	}
	g.ctx, g.prog = ctx, operate.Program{Path: "/vm/unblend", Dir: "/run"}
	h := &HardDisk{Volumes: g.volumes, VolumeMiB: g.mib, LogMiB: g.logMiB, Depth: guestDepth}
	r.HardDisk = h
	if err := h.isThePublished(ctx); err != nil {
		return err
	}
	if h.Bare, err = g.bare(); err != nil {
		return err
	}
	if err := g.measure(h); err != nil {
		return fmt.Errorf("%w; the daemon's log ends with:\n%s", err, g.prog.LogEnd())
	}
	return nil
}

// startDisk starts a disk of so many MiB.
func startDisk(mib int) (*harddisk.Disk, error) {
	return harddisk.Start("/vm/harddiskd", harddisk.Config{Size: int64(mib) << 20})
}

// isThePublished runs the loads of which something is published.
func (h *HardDisk) isThePublished(ctx context.Context) error {
	cfg, loads := harddisk.Full()
	d, err := harddisk.Start("/vm/harddiskd", cfg)
	if err != nil {
		return err
	}
	for _, p := range loads {
		length := 5 * time.Second
		if !p.Random {
			length = time.Second
		}
		x, err := bench.Fio(ctx, bench.Paths(d.Path), append(bench.For(length), p.FioArgs()...)...)
		if err != nil {
			return errors.Join(err, d.Stop())
		}
		h.Published = append(h.Published, PublishedFigure{p.Name, p.Rate, x.IOPS})
	}
	return d.Stop()
}

// guestLoad returns fio's arguments for single blocks at random places.
func guestLoad(kind log.Kind, depth int) []string {
	return harddisk.Load{Kind: kind, Random: true, Bytes: log.BlockSize, Depth: depth}.FioArgs()
}

// bare returns how many random writes per second one disk makes durable, as many under way as on all
// volumes, over as many bytes as they have.
func (g *guestDisks) bare() (float64, error) {
	d, err := startDisk(g.allMiB())
	if err != nil {
		return 0, err
	}
	args := append(bench.For(5*time.Second), guestLoad(log.Write, g.volumes*guestDepth)...)
	x, err := bench.Fio(g.ctx, bench.Paths(d.Path), args...)
	return x.IOPS, errors.Join(err, d.Stop())
}

// measure makes the pool, loads it, and takes it away.
func (g *guestDisks) measure(h *HardDisk) error {
	fast, err := startDisk(g.logMiB + spareMiB)
	if err != nil {
		return err
	}
	capacity, err := startDisk(g.allMiB() + g.allMiB()/4 + spareMiB)
	if err != nil {
		return errors.Join(err, fast.Stop())
	}
	err = g.prepare(fast.Path, capacity.Path)
	if err == nil {
		err = g.loadAndRead(h)
	}
	if g.daemon != nil {
		err = errors.Join(err, g.daemon.Stop())
	}
	return errors.Join(err, fast.Stop(), capacity.Stop())
}

// prepare makes the pool and its volumes, and writes each of them from end to end, one after the other.
func (g *guestDisks) prepare(fast, capacity string) error {
	_, err := g.prog.Run(g.ctx, "init", "--log", fast, "--data", capacity,
		fmt.Sprintf("--log-size=%dM", g.logMiB), fmt.Sprintf("--segment-size=%dM", g.segmentMiB()))
	if err != nil {
		return err
	}
	if g.daemon, err = g.prog.Serve(g.ctx, fast, capacity); err != nil {
		return err
	}
	g.client = control.NewClient(g.prog.Socket(), drainTime)
	fill := harddisk.Load{Kind: log.Write, Bytes: placement.MaxIO, Depth: 4}
	for i := range g.volumes {
		path, err := g.prog.Create(g.ctx, fmt.Sprintf("guest%d", i), fmt.Sprintf("%dM", g.mib))
		if err != nil {
			return err
		}
		g.paths = append(g.paths, path)
		if _, err := bench.Fio(g.ctx, bench.Paths(path), fill.FioArgs()...); err != nil {
			return err
		}
	}
	return g.drain()
}

// drain waits until the log is empty.
func (g *guestDisks) drain() error {
	_, err := g.client.Checkpoint(g.ctx, control.CheckpointRequest{Drain: true})
	return err
}

// loadAndRead writes at random places of all volumes: while the log has room, until it is full, and then
// twice as much as it holds, with a reader beside; and reads the volumes from end to end before and after.
func (g *guestDisks) loadAndRead(h *HardDisk) error {
	before, err := g.stream(g.paths[0])
	if err != nil {
		return err
	}
	idle := startReader(g.paths, int64(g.mib)<<20, idleReads)
	if err := idle.wait(); err != nil {
		return err
	}
	logBlocks := g.logMiB << 20 / log.BlockSize
	if h.Room, err = g.write(logBlocks / roomShare); err != nil {
		return err
	}
	if _, err = g.write(logBlocks); err != nil { // the log is full
		return err
	}
	busy := startReader(g.paths, int64(g.mib)<<20, math.MaxInt)
	h.Sustained, err = g.write(2 * logBlocks)
	if err = errors.Join(err, busy.end()); err != nil {
		return err
	}
	h.IdleP99, h.BusyP99 = idle.p99(), busy.p99()
	if err := g.drain(); err != nil {
		return err
	}
	for _, p := range g.paths {
		after, err := g.stream(p)
		if err != nil {
			return err
		}
		h.Streams = append(h.Streams, after/before)
	}
	h.Stream = before
	slices.Sort(h.Streams)
	return nil
}

// write writes so many blocks and returns how many were acknowledged per second.
func (g *guestDisks) write(blocks int) (float64, error) {
	args := append(guestLoad(log.Write, guestDepth), fmt.Sprintf("--number_ios=%d", blocks/g.volumes))
	x, err := bench.Fio(g.ctx, bench.Paths(g.paths...), args...)
	return x.IOPS, err
}

// stream returns the bytes per second at which a volume is read from end to end.
func (g *guestDisks) stream(path string) (float64, error) {
	l := harddisk.Load{Kind: log.Read, Bytes: placement.MaxIO, Depth: 4}
	x, err := bench.Fio(g.ctx, bench.Paths(path), l.FioArgs()...)
	return x.Bytes, err
}
