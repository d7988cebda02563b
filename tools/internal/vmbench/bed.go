package vmbench

import (
	"context"
	"fmt"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/operate"
)

// Sizes of the test bed. The log is a quarter of the pool and fills up while the runs go on: destage
// runs beside them.
const (
	deviceGB = 3
	poolMiB  = 2048 // of the partition
	logArg   = "512M"
	diskArg  = "256M" // the volume
	smallArg = "128M" // each of the four volumes
)

// bed is a pool on a partition of a null_blk device that holds its data in memory.
type bed struct {
	ctx    context.Context
	prog   operate.Program
	daemon *operate.Daemon
	volume string // path of its device
	four   []string
}

const (
	nullDevice = "/dev/nullb0"
	poolDevice = nullDevice + "p1"
)

// newBed makes everything, and fills all that will be written.
func newBed(ctx context.Context, program, dir string) (*bed, error) {
	b := &bed{ctx: ctx, prog: operate.Program{Path: program, Dir: dir}}
	for _, command := range []string{
		"modprobe ublk_drv",
		fmt.Sprintf("modprobe null_blk nr_devices=1 gb=%d memory_backed=1 submit_queues=2", deviceGB),
		fmt.Sprintf("addpart %s 1 %d %d", nullDevice, 1<<11, poolMiB<<11), // only the kernel knows of it
	} {
		if _, err := bench.Sh(ctx, "%s", command); err != nil {
			return nil, err
		}
	}
	if _, err := b.prog.Run(ctx, "init", poolDevice, "--log-size", logArg); err != nil {
		return nil, err
	}
	var err error
	if b.daemon, err = b.prog.Serve(ctx, poolDevice); err != nil {
		return nil, err
	}
	if b.volume, err = b.prog.Create(ctx, "bench", diskArg); err != nil {
		return nil, err
	}
	for i := range 4 {
		path, err := b.prog.Create(ctx, fmt.Sprintf("four%d", i), smallArg)
		if err != nil {
			return nil, err
		}
		b.four = append(b.four, path)
	}
	for _, p := range append([]string{b.volume}, b.four...) {
		if err := bench.Fill(ctx, bench.Paths(p)); err != nil {
			return nil, err
		}
	}
	return b, nil
}
