package vmbench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"unblend/tools/internal/operate"
)

// Sizes of the test bed. The log is a quarter of the pool's part of the device and fills up
// while the runs go on: destage runs beside them.
const (
	deviceGB = 3
	poolMiB  = 2048 // first partition
	logArg   = "512M"
	diskMiB  = 256    // volume, loop device, raw partition
	smallArg = "128M" // each of the four volumes
)

// partitions are made without a table: nothing but the kernel has to know of them.
var partitions = []struct{ start, size int }{ // MiB
	{1, poolMiB}, {1 + poolMiB, diskMiB}, {1 + poolMiB + diskMiB, diskMiB},
}

// bed is what the runs write to: one null_blk device that holds its data in memory, with three
// partitions: the pool, the loop device's backing, and one for the raw device itself.
type bed struct {
	prog   operate.Program
	daemon *operate.Daemon
	paths  map[Target]string
	four   []string
	null   *exec.Cmd
	stop   io.Closer // ends the null server
}

const (
	nullDevice = "/dev/nullb0"
	poolDevice = nullDevice + "p1"
)

// newBed makes everything. nullServer is the command of a null server.
func newBed(ctx context.Context, program, dir string, nullServer *exec.Cmd) (*bed, error) {
	b := &bed{prog: operate.Program{Path: program, Dir: dir}, paths: map[Target]string{}}
	for _, command := range []string{
		"modprobe -a ublk_drv loop",
		fmt.Sprintf("modprobe null_blk nr_devices=1 gb=%d memory_backed=1 submit_queues=2", deviceGB),
	} {
		if _, err := sh("%s", command); err != nil {
			return nil, err
		}
	}
	for i, p := range partitions {
		_, err := sh("addpart %s %d %d %d", nullDevice, i+1, p.start<<11, p.size<<11)
		if err != nil {
			return nil, err
		}
	}
	b.paths[Raw] = nullDevice + "p3"
	var err error
	if b.paths[Loop], err = sh("losetup --direct-io=on --show -f %sp2", nullDevice); err != nil {
		return nil, err
	}
	if err := b.startNull(nullServer); err != nil {
		return nil, err
	}
	return b, b.startPool(ctx)
}

// startNull starts the null server, which prints its device's path when it is there.
func (b *bed) startNull(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if b.stop, err = cmd.StdinPipe(); err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("null server: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("null server: %w", errors.Join(err, cmd.Wait()))
	}
	b.null, b.paths[Null] = cmd, strings.TrimSpace(line)
	return nil
}

// startPool makes the pool and its volumes, and fills all that will be written.
func (b *bed) startPool(ctx context.Context) error {
	if _, err := b.prog.Run(ctx, "init", poolDevice, "--log-size", logArg); err != nil {
		return err
	}
	var err error
	if b.daemon, err = b.prog.Serve(ctx, poolDevice); err != nil {
		return err
	}
	if b.paths[Pool], err = b.prog.Create(ctx, "bench", fmt.Sprintf("%dM", diskMiB)); err != nil {
		return err
	}
	for i := range 4 {
		path, err := b.prog.Create(ctx, fmt.Sprintf("four%d", i), smallArg)
		if err != nil {
			return err
		}
		b.four = append(b.four, path)
	}
	for _, p := range append([]string{b.paths[Raw], b.paths[Loop], b.paths[Pool]}, b.four...) {
		if err := fill(p); err != nil {
			return err
		}
	}
	return nil
}

// close ends the servers.
func (b *bed) close() error {
	return errors.Join(b.stop.Close(), b.null.Wait(), b.daemon.Stop())
}
