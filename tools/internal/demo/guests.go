package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/load"
)

// volumeSize is the size of each volume, in bytes; volumeArg says the same to the program.
const (
	volumeSize = 128 << 20
	volumeArg  = "128M"
)

// guest is one volume and who writes to it.
type guest struct {
	name, text string
	depth      int
	pattern    load.Pattern

	path   string // of the volume's device
	dev    blocktrace.Device
	disk   *load.Disk
	writer *load.Writer
}

// newGuests returns the four loads.
func newGuests() []*guest {
	return []*guest{
		{
			name: "backup", text: "256 KiB each, one after the other", depth: 1,
			pattern: load.Sequential(volumeSize, 256<<10),
		},
		{
			name: "database", text: "4 KiB each, anywhere, 16 at a time", depth: 16,
			pattern: load.Random(volumeSize, 4096),
		},
		{
			name: "journal", text: "4 KiB each, mostly the same 2 MiB again and again, 8 at a time",
			depth: 8, pattern: load.Hot(volumeSize, 2<<20, 4096),
		},
		{
			name: "mail", text: "512 B to 64 KiB each, anywhere, 8 at a time", depth: 8,
			pattern: load.Mixed(volumeSize, 64<<10),
		},
	}
}

// open opens the volume's device.
func (g *guest) open(id int) error {
	var err error
	if g.dev, err = blocktrace.DeviceOf(g.path); err != nil {
		return err
	}
	if g.disk, err = load.Open(g.path, uint32(id)); err != nil {
		return err
	}
	g.writer = load.NewWriter(g.disk, g.depth, g.pattern, uint64(id))
	return nil
}

// startAll lets all guests write until ctx ends. The channel gets the first error, or nil, when
// all have ended.
func startAll(ctx context.Context, guests []*guest) <-chan error {
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	errs := make([]error, len(guests))
	for i, g := range guests {
		wg.Go(func() {
			if err := g.writer.Run(ctx, 0); err != nil {
				errs[i] = fmt.Errorf("guest %s: %w", g.name, err)
				stop()
			}
		})
	}
	go func() {
		wg.Wait()
		stop()
		ended <- errors.Join(errs...)
	}()
	return ended
}

// verifyAll reads all volumes at once and compares every byte.
func verifyAll(ctx context.Context, guests []*guest) (int64, error) {
	var wg sync.WaitGroup
	read, errs := make([]int64, len(guests)), make([]error, len(guests))
	for i, g := range guests {
		wg.Go(func() {
			var err error
			if read[i], err = g.disk.Verify(ctx); err != nil {
				errs[i] = fmt.Errorf("volume %s: %w", g.name, err)
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, n := range read {
		total += n
	}
	return total, errors.Join(errs...)
}
