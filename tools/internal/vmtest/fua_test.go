package vmtest

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
	"unblend/tools/internal/vm"

	"golang.org/x/sys/unix"
)

const (
	fuaVolume      = "64M"
	fuaWrites      = 300     // that each guest must do
	fuaTinyArea    = 4 << 20 // bytes that get writes of 512 bytes
	fuaCheckpoints = 3
	rootsStart     = 8 // sectors: the roots follow the label, a block, in each metadata home
	rootsEnd       = 24
)

// TestDurable lets four guests write to a pool on two emulated NVMe with volatile caches, with
// checkpoints meanwhile, and watches the kernel: every acknowledged write was durable in the log
// before its guest was told, and the data device was flushed before each root. Where a guest's
// write lies in the log is found afterwards by its content, not by what the daemon says.
func TestDurable(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "")
		for _, name := range []string{"log", "data"} {
			image := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, 1<<30); err != nil {
				t.Fatal(err)
			}
			cfg.Drives = append(cfg.Drives, vm.Drive{Name: name, Path: image, Bus: vm.NVMe})
		}
		run(t, cfg)
		return
	}
	g := newGuest(t)
	p := pool{paths: []string{"/dev/vm/log", "/dev/vm/data"}}
	// The log must not wrap, or what was written could not be found in it.
	g.do("init", "--log", p.paths[0], "--data", p.paths[1], "--log-size=512M")
	d := g.serve(p, "--low=1%") // so that data is moved while guests write
	dur, disks := g.observe(p)
	events := g.record(append(slices.Clone(dur.guests), dur.log.dev, dur.data), func() {
		g.writeOnce(disks)
	})
	g.wellServed()
	d.Kill() // a checkpoint at its end would make room in the log
	dur.places = g.findInLog(p.paths[0], dur)
	v := dur.judge(events)
	g.report(v)
	d = g.serve(p)
	for _, disk := range disks {
		g.verify(disk)
		disk.Close()
	}
	g.stop(d)
	g.check(p)
}

// observe creates the volumes and says what has to be looked at.
func (g *guest) observe(p pool) (*durability, []*load.Disk) {
	g.Helper()
	dur := &durability{}
	var disks []*load.Disk
	for i, name := range fourVolumes {
		path := g.create(name, fuaVolume)
		dur.guests = append(dur.guests, g.device(path))
		disks = append(disks, g.openDisk(path, uint32(i+1)))
	}
	devs := map[string]blocktrace.Device{
		control.RoleLog: g.device(p.paths[0]), control.RoleData: g.device(p.paths[1]),
	}
	dur.data = devs[control.RoleData]
	for _, r := range g.status().Regions {
		at := span{
			devs[r.Role], uint64(r.Start) / load.SectorSize, uint64(r.End) / load.SectorSize,
		}
		switch r.Class {
		case "log":
			dur.log = at
		case "metadata":
			dur.meta = append(dur.meta, at)
			dur.roots = append(dur.roots,
				span{at.dev, at.start + rootsStart, at.start + rootsEnd})
		}
	}
	if dur.log.end == 0 || len(dur.roots) != 2 {
		g.Fatalf("status names no log or not two metadata homes: %+v", g.status().Regions)
	}
	return dur, disks
}

// device returns the number of the block device at path.
func (g *guest) device(path string) blocktrace.Device {
	g.Helper()
	d, err := blocktrace.DeviceOf(path)
	if err != nil {
		g.Fatal(err)
	}
	return d
}

// record watches devices while work goes on and returns what they did, by time.
func (g *guest) record(devs []blocktrace.Device, work func()) []blocktrace.Event {
	g.Helper()
	tr, err := blocktrace.Open(blocktrace.Options{
		Devices: devs, Completions: true, WritesOnly: true,
	})
	if err != nil {
		g.Fatal(err)
	}
	var events []blocktrace.Event
	var wg sync.WaitGroup
	wg.Go(func() {
		var e blocktrace.Event
		for err == nil {
			if e, err = tr.Next(); err == nil {
				events = append(events, e)
			}
		}
	})
	work()
	if err := tr.Stop(); err != nil {
		g.Error(err)
	}
	wg.Wait()
	if !errors.Is(err, io.EOF) || tr.Lost() > 0 {
		g.Errorf("%d events were lost, %v", tr.Lost(), err)
	}
	if err := tr.Close(); err != nil {
		g.Error(err)
	}
	slices.SortStableFunc(events, func(a, b blocktrace.Event) int { return cmp.Compare(a.At, b.At) })
	return events
}

// writeOnce writes to all disks at once, no sector twice, until there were enough checkpoints and
// every guest has done its part.
func (g *guest) writeOnce(disks []*load.Disk) {
	g.Helper()
	ctx, stop := context.WithCancel(g.ctx)
	defer stop()
	var wg sync.WaitGroup
	var writers []*load.Writer
	for i, d := range disks {
		area, n := d.Size(), []int64{4096, 16 << 10, 4096, load.SectorSize}[i%4]
		if n == load.SectorSize {
			area = fuaTinyArea
		}
		w := load.NewWriter(d, 8, load.Once(area, n, uint64(i)), uint64(i))
		writers = append(writers, w)
		wg.Go(func() {
			if err := w.Run(ctx, int(area/n)); err != nil {
				g.Error(err)
			}
		})
	}
	c := control.NewClient(g.prog.Socket(), 0)
	checkpoint := func(drain bool) {
		_, err := c.Checkpoint(g.ctx, control.CheckpointRequest{Drain: drain})
		if err != nil {
			g.Errorf("checkpoint: %v", err)
		}
	}
	for range fuaCheckpoints {
		checkpoint(false)
		time.Sleep(time.Second)
	}
	g.eventually("every guest has written enough", 3*time.Minute, func() bool {
		return !slices.ContainsFunc(writers, func(w *load.Writer) bool {
			return w.Stats().Writes < fuaWrites
		})
	})
	stop()
	wg.Wait()
	checkpoint(true)
}

// findInLog reads the log's area and returns where it holds which sector of which guest.
func (g *guest) findInLog(path string, dur *durability) map[span][]uint64 {
	g.Helper()
	f, err := os.Open(path)
	if err != nil {
		g.Fatal(err)
	}
	defer f.Close()
	// What the daemon wrote past the page cache must not be hidden by what is in it.
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		g.Fatal(err)
	}
	places := map[span][]uint64{}
	buf := make([]byte, 1<<20)
	for at := dur.log.start; at < dur.log.end; {
		n := min(uint64(len(buf)), (dur.log.end-at)*load.SectorSize)
		if _, err := f.ReadAt(buf[:n], int64(at*load.SectorSize)); err != nil {
			g.Fatal(err)
		}
		for i := uint64(0); i < n; i += load.SectorSize {
			p := buf[i : i+load.SectorSize]
			s, ok := load.ReadStamp(p)
			if ok && s.Holds(p) && s.Disk >= 1 && int(s.Disk) <= len(dur.guests) {
				key := span{dur.guests[s.Disk-1], s.Sector, s.Sector + 1}
				places[key] = append(places[key], at+i/load.SectorSize)
			}
		}
		at += n / load.SectorSize
	}
	return places
}

// report prints what was seen, and fails the test where a promise was broken or nothing was seen.
func (g *guest) report(v *verdict) {
	g.Helper()
	g.Logf("guests' writes acknowledged: %d, of which all was durable in the log by FUA: %d, "+
		"by a flush: %d", v.acks, v.fua, v.flushed)
	g.Logf("log writes: %d, with FUA: %d; roots: %d, with FUA: %d; flushes of the data device: %d",
		v.logWrites, v.logFUA, v.roots, v.rootFUA, v.dataFlushes)
	g.Logf("exceptions: %d", len(v.exceptions))
	if n := len(v.exceptions); n > 0 {
		g.Errorf("%d exceptions, such as\n%s", n, strings.Join(v.exceptions[:min(n, 10)], "\n"))
	}
	if acks, roots := fuaWrites*len(fourVolumes), 2*fuaCheckpoints; v.acks < acks || v.roots < roots {
		g.Errorf("%d acknowledgements and %d roots were seen, want at least %d and %d", v.acks,
			v.roots, acks, roots)
	}
}
