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

// spareProcs are kept, beside those of the loops, for a loop's thread that comes back from a wait:
// otherwise it would stand in line with the goroutines that answer the socket.
const spareProcs = 3

// Of a host's CPUs, how many there are for each shard that nobody asked for, and how many shards at most.
const (
	cpusPerShard = 8
	autoShards   = 4
)

// What a process of control.DefaultMemory bytes is divided into. Other sizes take from what is
// variable, in proportion.
const (
	// The program 9 MiB, Go's runtime 8, tables of fixed size 12, 10,000 volumes 7, devices of 200
	// of them 5, and what follows with Go's reserve.
	fixedShare   = 47 << 20
	shardShare   = 6 << 20  // each further shard: ring, lane, and requests of its own
	garbageShare = 4 << 20  // what the control socket leaves until it is collected
	requestShare = 8 << 20  // guests' requests under way
	indexEntries = 15 << 16 // for a log of the default size that is 94 % full; 32 MiB
	frames       = 8 << 20 / 4096
	batchBlocks  = 640 // and as many that are read ahead
)

// spinning says which of a pool's devices are hard disks.
func spinning(b *device.Pool) (hard [2]bool) {
	for i, dev := range b.Devices {
		hard[i] = dev != nil && dev.Info().Rotational
	}
	return hard
}

// batchMemory returns how many bytes batches of destage get beyond their part: half of what there is
// beyond the default, where the log is on a hard disk. A batch's blocks lie all over such a log, so
// the more of them are read in one pass, the less each costs.
func (d *daemon) batchMemory() int64 {
	if !d.spins[log.Fast] {
		return 0
	}
	return max(0, d.cfg.Memory-control.DefaultMemory) / 2
}

// scaled returns what n is for a process of the configured size.
func (d *daemon) scaled(n int64) int {
	fixed := int64(fixedShare+(d.shardCount()-1)*shardShare) + d.batchMemory()
	return int(max(n*(d.cfg.Memory-fixed)/(control.DefaultMemory-fixedShare), n/4))
}

// requestMemory returns how many bytes guests' requests may take.
func (d *daemon) requestMemory() int { return d.scaled(requestShare) }

// shardCount returns how many threads are to serve: one where the log is on a hard disk, which is to see
// one stream, or in a file.
func (d *daemon) shardCount() int {
	if d.cfg.Shards > 0 {
		return d.cfg.Shards
	}
	fast := d.backing.Devices[log.Fast]
	if fast == nil || d.spins[log.Fast] || fast.Info().Kind == device.RegularFile {
		return 1
	}
	cpus := len(d.cfg.CPUs)
	if cpus == 0 {
		cpus = runtime.NumCPU() / cpusPerShard
	}
	return max(1, min(cpus, autoShards))
}

// prepareProcess sets what a process needs on which the kernel relies to free memory. Where the
// system forbids something it is served without, at a risk that is reported.
func (d *daemon) prepareProcess() {
	giveProcs(1)
	debug.SetGCPercent(-1) // by the limit alone: see limitGarbage
	debug.SetMemoryLimit(d.cfg.Memory - requestShare)
	if err := ublk.PrepareProcess(); err != nil {
		d.log.Warn("the process is not protected against a shortage of memory", "err", err)
		d.warn.set("process", "when memory is short, guests may hang: "+err.Error(),
			"run as root, or see LimitMEMLOCK and CAP_SYS_RESOURCE")
	}
}

// giveProcs sees to it that the loops of so many shards find a P.
func giveProcs(shards int) { runtime.GOMAXPROCS(max(shards+spareProcs, runtime.GOMAXPROCS(0))) }

// limitGarbage sets Go's memory limit to what is allocated by now, which is nearly all that ever
// will be, and a fixed room for garbage. A limit close to what is alive would have it collected all
// the time, and each collection stops the loop.
func limitGarbage() {
	debug.FreeOSMemory() // what recovery has left goes at once
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	other := m.Sys - m.HeapIdle - m.HeapAlloc
	// Go keeps 3 % of the limit in reserve.
	debug.SetMemoryLimit(int64(other + (m.HeapAlloc+garbageShare)*103/100))
}

// options returns the pool's limits and policies.
func (d *daemon) options() placement.Options {
	o := placement.Options{
		Frames:       d.scaled(frames),
		IndexEntries: d.scaled(indexEntries),
		BatchBlocks:  d.scaled(batchBlocks) + int(d.batchMemory()/log.BlockSize/2),
		HardDisk:     d.spins,
		Lanes:        d.shardCount(),
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
	o.NoReplacement = d.cfg.NoReplace
	if d.cfg.OnFull == control.OnFullFail {
		o.OnFull = placement.FullFails
	}
	return o
}
