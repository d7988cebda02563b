package daemon

import (
	"crypto/rand"
	"runtime"
	"runtime/debug"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/ublk"
)

// minProcs keeps a P idle for the loop's thread when it comes back from a wait: otherwise it would
// stand in line with the goroutines that answer the socket.
const minProcs = 4

// What a process of control.DefaultMemory bytes is divided into; other sizes in proportion.
const (
	requestShare = ublk.DefaultPoolSize // guests' requests under way
	programShare = 10 << 20             // text, stacks, rings: what Go's memory limit does not see
	indexEntries = 1 << 20
	frames       = 24 << 20 / 4096
	batchBlocks  = 2048
)

// scaled returns what n is for a process of the configured size.
func (d *daemon) scaled(n int64) int { return int(n * d.cfg.Memory / control.DefaultMemory) }

// requestMemory returns how many bytes guests' requests may take.
func (d *daemon) requestMemory() int { return d.scaled(requestShare) }

// prepareProcess sets what a process needs on which the kernel relies to free memory. Where the
// system forbids something it is served without, at a risk that is reported.
func (d *daemon) prepareProcess() {
	runtime.GOMAXPROCS(max(minProcs, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(-1) // by the limit alone: the working set is allocated at the start
	debug.SetMemoryLimit(d.cfg.Memory - int64(d.requestMemory()) - programShare)
	if err := ublk.PrepareProcess(); err != nil {
		d.log.Warn("the process is not protected against a shortage of memory", "err", err)
		d.warn.set("process", "when memory is short, guests may hang: "+err.Error(),
			"run as root, or see LimitMEMLOCK and CAP_SYS_RESOURCE")
	}
}

// options returns the pool's limits and policies.
func (d *daemon) options() placement.Options {
	o := placement.Options{
		Frames:       d.scaled(frames),
		IndexEntries: d.scaled(indexEntries),
		BatchBlocks:  d.scaled(batchBlocks),
		LogInFlight:  d.cfg.LogInFlight,
		Low:          d.cfg.Low * 10,
		High:         d.cfg.High * 10,
		Rand:         func(p []byte) { _, _ = rand.Read(p) }, // never fails
		Wall:         func() int64 { return time.Now().Unix() },
	}
	if fast := d.backing.Devices[log.Fast]; fast != nil {
		info := fast.Info()
		o.NoFUA = info.Kind == device.RegularFile || info.VolatileCache && !info.FUA
	}
	if d.cfg.OnFull == control.OnFullFail {
		o.OnFull = placement.FullFails
	}
	return o
}
