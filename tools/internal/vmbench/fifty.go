package vmbench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/operate"
)

// Fifty volumes, with small and large requests: what a whole host asks for at once.
const (
	fiftyVolumes = 50
	fiftyMiB     = 16 // each
	fiftyDepth   = 32 // on each
	fiftyTime    = time.Minute
	fiftySizes   = "4k/96:256k/2:512k/1:1m/1" // and how many percent of the requests
	fiftyLog     = "256M"

	maxFiftyRSS = 100 << 20 // bytes, of the daemon
)

// Fifty is what a minute of writes to fifty volumes took.
type Fifty struct {
	Volumes     int     `json:"volumes"`
	Depth       int     `json:"depth"`
	Sizes       string  `json:"sizes"` // of requests, and how many percent of them
	Writes      uint64  `json:"writes"`
	Bytes       float64 `json:"bytes_per_second"`
	All         float64 `json:"all_us"` // processor time of each write, as in Cost
	Server      float64 `json:"server_us"`
	Collections uint64  `json:"collections"`     // of garbage
	LongestStop int64   `json:"longest_stop_ns"` // that one of these caused
	Allocations float64 `json:"allocations"`     // for each write
	PeakRSS     int64   `json:"daemon_peak_rss"` // bytes
}

// measureFifty writes to fifty volumes at once, and reads a little.
func measureFifty(ctx context.Context, r *Report) (err error) {
	dir, err := os.MkdirTemp("/run", "bench-")
	if err != nil {
		return err
	}
	_, err = bench.Sh(ctx, "modprobe ublk_drv && modprobe null_blk nr_devices=1 gb=%d memory_backed=1 "+
		"submit_queues=2 && addpart %s 1 %d %d", deviceGB, nullDevice, 1<<11, poolMiB<<11)
	if err != nil {
		return err
	}
	p := operate.Program{Path: "/vm/unblend", Dir: dir}
	if _, err = p.Run(ctx, "init", poolDevice, "--log-size", fiftyLog); err != nil {
		return err
	}
	d, err := p.Serve(ctx, poolDevice, "--pprof", "--link-dir", filepath.Join(dir, "links"))
	if err != nil {
		return err
	}
	if r.Fifty, err = writeFifty(ctx, p); err == nil {
		r.PeakRSS, err = d.PeakRSS()
	}
	if err != nil {
		err = fmt.Errorf("%w; the daemon's log ends with:\n%s", err, p.LogEnd())
	} else {
		r.Fifty.PeakRSS = r.PeakRSS
	}
	return errors.Join(err, d.Stop())
}

// writeFifty makes the volumes and writes to them.
func writeFifty(ctx context.Context, p operate.Program) (*Fifty, error) {
	f := &Fifty{Volumes: fiftyVolumes, Depth: fiftyDepth, Sizes: fiftySizes}
	var paths []string
	for i := range fiftyVolumes {
		path, err := p.Create(ctx, fmt.Sprintf("v%02d", i), fmt.Sprintf("%dM", fiftyMiB))
		if err != nil {
			return f, err
		}
		paths = append(paths, path)
	}
	memory, err := memoryOf(ctx, p)
	if err != nil {
		return f, err
	}
	before, err := usageOf("unblend")
	if err != nil {
		return f, err
	}
	args := append(bench.For(fiftyTime), "--rw=randrw", "--rwmixwrite=90", "--norandommap",
		"--bssplit="+fiftySizes, fmt.Sprintf("--iodepth=%d", fiftyDepth))
	x, err := bench.Fio(ctx, bench.Paths(paths...), args...)
	if err != nil {
		return f, err
	}
	after, err := usageOf("unblend")
	if err != nil {
		return f, err
	}
	now, err := memoryOf(ctx, p)
	if err != nil {
		return f, err
	}
	var c Cost
	c.of(after.sub(before), x)
	f.Writes, f.Bytes, f.All, f.Server = x.Writes, x.Bytes, c.All, c.Server
	f.Collections, f.LongestStop = now.collections-memory.collections, now.longestSince(memory)
	f.Allocations = float64(now.allocations-memory.allocations) / float64(max(x.Writes, 1))
	return f, nil
}

// String returns it for people.
func (f *Fifty) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d volumes, %d requests at a time on each, of %s %%, a tenth of them reads, for %v: "+
		"%d writes, %.1f MB/s; %.0f us of processor time for each write, %.0f of it the daemon's.\n",
		f.Volumes, f.Depth, f.Sizes, fiftyTime, f.Writes, f.Bytes/1e6, f.All, f.Server)
	fmt.Fprintf(&b, "%d collections of garbage, the longest stop %v; %.4f allocations for each write.\n",
		f.Collections, time.Duration(f.LongestStop).Round(time.Microsecond), f.Allocations)
	return b.String()
}
