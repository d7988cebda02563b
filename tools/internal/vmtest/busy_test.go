package vmtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"unblend/tools/internal/load"
)

// busyVolume is a volume that goes on being written, 4 KiB at a time, while something happens to
// others.
type busyVolume struct {
	g    *guest
	disk *load.Disk
	w    *load.Writer
}

const busyDepth = 8 // writes under way

// newBusy makes a volume of some MiB and writes all of it.
func (g *guest) newBusy(name string, mib int) *busyVolume {
	g.Helper()
	disk := g.openDisk(g.create(name, fmt.Sprintf("%dM", mib)), 1)
	const n = 128 << 10
	fill := load.NewWriter(disk, 4, load.Once(disk.Size(), n, 1), 1)
	if err := fill.Run(g.ctx, int(disk.Size()/n)); err != nil {
		g.Fatal(err)
	}
	return &busyVolume{g: g, disk: disk}
}

// start writes until the returned function is called, which verifies all of the volume.
func (b *busyVolume) start() (stop func()) {
	b.w = load.NewWriter(b.disk, busyDepth, load.Random(b.disk.Size(), 4096), 2)
	ctx, cancel := context.WithCancel(b.g.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.w.Run(ctx, 0); err != nil {
			b.g.Errorf("the busy volume: %v", err)
		}
	})
	// A test that fails must not leave writes behind that nobody answers: they would keep the
	// process.
	b.g.Cleanup(func() { cancel(); wg.Wait() })
	return func() {
		b.g.Helper()
		cancel()
		wg.Wait()
		b.g.verify(b.disk)
	}
}

// progress waits until writes end again.
func (b *busyVolume) progress() {
	b.g.Helper()
	b.g.progress([]*load.Writer{b.w})
}

// rate is how many writes were done in a time.
type rate struct {
	writes uint64
	took   time.Duration
}

func (r rate) perSecond() float64 { return float64(r.writes) / r.took.Seconds() }

func (r rate) String() string { return fmt.Sprintf("%.0f/s", r.perSecond()) }

// during returns the rate at which the volume was written while f ran.
func (b *busyVolume) during(f func()) rate {
	from, begin := b.w.Stats().Writes, time.Now()
	f()
	return rate{b.w.Stats().Writes - from, time.Since(begin)}
}
