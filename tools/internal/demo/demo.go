package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/control"
	"unblend/tools/internal/extents"
	"unblend/tools/internal/operate"

	"golang.org/x/sys/unix"
)

// Sizes of the pool, as init takes them.
const (
	poolSize = "1536M"
	logSize  = "192M"
)

// downTime is how long the daemon stays dead, as systemd would leave it.
const downTime = time.Second

// demo is one run.
type demo struct {
	opt    options
	begin  time.Time
	place  *place
	prog   operate.Program
	daemon *operate.Daemon
	guests []*guest
	logged logged
}

// logged is what daemons say they wrote to the log while the guests wrote.
type logged struct{ writes, bytes uint64 }

// countLog adds what the present daemon has written to the log so far.
func (d *demo) countLog(ctx context.Context) error {
	st, err := d.prog.Status(ctx)
	d.logged.writes += st.Log.Writes
	d.logged.bytes += st.Log.WriteBytes
	return err
}

// step says what comes next.
func (d *demo) step(format string, args ...any) {
	fmt.Printf("\n%5.1f s  %s\n", time.Since(d.begin).Seconds(), fmt.Sprintf(format, args...))
}

// note adds to the present step.
func note(format string, args ...any) { fmt.Printf("         "+format+"\n", args...) }

// run is the demo from its first word to its last.
func (d *demo) run(ctx context.Context) error {
	d.introduce()
	for _, step := range []func(context.Context) error{
		d.prepare, d.initPool, d.serve, d.create, d.write, d.verify, d.check,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	return nil
}

// introduce says what is going to happen, and where.
func (d *demo) introduce() {
	var u unix.Utsname
	_ = unix.Uname(&u) // its only error is a bad address
	fmt.Printf("unblend on Linux %s: four guests write at once, each in its own way.\n",
		unix.ByteSliceToString(u.Release[:]))
	fmt.Println("The daemon under them is killed in the middle and started again. Then every byte is")
	fmt.Println("compared with what was written.")
	fmt.Println()
	if !d.opt.host {
		fmt.Println("All of it is emulated in a virtual machine: mind the ratios, not the speed.")
		return
	}
	fmt.Println("What this does on this machine: load the module ublk_drv; write a file of " + poolSize)
	fmt.Println("below " + d.opt.dir + "; run the daemon; make four block devices with links in")
	fmt.Println("/dev/unblend; remove all of it. Nothing else is touched.")
}

// prepare loads the driver and makes the place for the pool.
func (d *demo) prepare(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("block devices need root: sudo make demo HOST=1")
	}
	d.step("Load the kernel's ublk driver.")
	if err := sh(ctx, "modprobe", "ublk_drv"); err != nil {
		return fmt.Errorf("this kernel has no ublk driver: %w", err)
	}
	var err error
	if d.opt.host {
		d.place, err = hostPlace(d.opt.dir)
	} else {
		d.place, err = virtualPlace(ctx)
	}
	if err != nil {
		return err
	}
	path, err := filepath.Abs(d.opt.unblend)
	if err != nil {
		return err
	}
	d.prog = operate.Program{Path: path, Dir: d.place.dir}
	return nil
}

func (d *demo) initPool(ctx context.Context) error {
	d.step("Make a pool in one file: log, metadata and data.")
	args := []string{"init", d.place.file, "--size", poolSize, "--log-size", logSize}
	note("$ unblend %s", strings.Join(args, " "))
	_, err := d.prog.Run(ctx, args...)
	return err
}

func (d *demo) serve(ctx context.Context) error {
	d.step("Start the daemon.")
	note("$ unblend serve %s", d.place.file)
	var err error
	d.daemon, err = d.prog.Serve(ctx, d.place.file)
	if err == nil {
		note("ready after %.1f s", d.daemon.Ready.Seconds())
	}
	return err
}

func (d *demo) create(ctx context.Context) error {
	d.step("Create four volumes. Each is a block device, as a virtual machine would get it.")
	d.guests = newGuests()
	for i, g := range d.guests {
		note("$ unblend create %s --size %s", g.name, volumeArg)
		var err error
		if g.path, err = d.prog.Create(ctx, g.name, volumeArg); err != nil {
			return err
		}
		if err := g.open(i + 1); err != nil {
			return err
		}
		note("%s", g.path)
	}
	return nil
}

// write runs the loads, the kill in their middle, and shows what went where.
func (d *demo) write(ctx context.Context) error {
	d.step("The guests write for %.0f s, past the page cache, every sector stamped:",
		d.opt.load.Seconds())
	for _, g := range d.guests {
		note("%-9s %s", g.name, g.text)
	}
	before, err := d.counts()
	if err != nil {
		return err
	}
	w, err := d.watch(ctx)
	if errors.Is(err, blocktrace.ErrUnavailable) {
		note("(the order of the requests stays unknown: %v)", err)
	} else if err != nil {
		return err
	}
	err = d.loads(ctx)
	if w != nil {
		err = errors.Join(err, w.stop())
	}
	if err != nil {
		return err
	}
	if err := d.countLog(ctx); err != nil {
		return err
	}
	after, err := d.counts()
	if err != nil {
		return err
	}
	d.show(before, after, w)
	return nil
}

// watch starts to listen to the kernel.
func (d *demo) watch(ctx context.Context) (*watch, error) {
	st, err := d.prog.Status(ctx)
	if err != nil {
		return nil, err
	}
	var devs []blocktrace.Device
	var sizes []int64
	for _, g := range d.guests {
		devs, sizes = append(devs, g.dev), append(sizes, g.disk.Size())
	}
	disk := d.place.disk
	var l extents.Layout
	if disk != nil {
		if l, err = extents.Of(d.place.file, d.place.start); err != nil {
			note("(where the log lies on the disk stays unknown: %v)", err)
			disk = nil
		}
	}
	return newWatch(devs, sizes, disk, l, st.Regions)
}

// loads lets the guests write, kills the daemon in the middle and starts it again.
func (d *demo) loads(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, d.opt.load)
	defer stop()
	ended := startAll(ctx, d.guests)
	p := newProgress(d)
	p.watch(ctx, d.opt.load/2)
	if ctx.Err() == nil {
		if err := d.killAndRestart(); err != nil {
			return err // and the guests wait for ever
		}
	}
	p.watch(ctx, d.opt.load)
	return <-ended
}

func (d *demo) killAndRestart() error {
	fmt.Printf("         -- kill -9 %d: the daemon is gone, the guests wait\n", d.daemon.PID())
	for _, g := range d.guests {
		g.writer.ResetPause()
	}
	if err := d.countLog(context.Background()); err != nil {
		return err
	}
	d.daemon.Kill()
	time.Sleep(downTime)
	// Not with the loads' time limit: the guests need a daemon to end.
	next, err := d.prog.Serve(context.Background(), d.place.file)
	if err != nil {
		return err
	}
	d.daemon = next
	fmt.Printf("         -- started again %.0f s later, ready after %.1f s\n", downTime.Seconds(),
		next.Ready.Seconds())
	return nil
}

func (d *demo) verify(ctx context.Context) error {
	d.step("Read all four volumes and compare every byte with what was written last.")
	begin := time.Now()
	n, err := verifyAll(ctx, d.guests)
	if err != nil {
		return err
	}
	written := int64(0)
	for _, g := range d.guests {
		written += g.disk.Written()
	}
	note("%d MiB compared in %.1f s, %d MiB of them written, the rest zeros: all right", n>>20,
		time.Since(begin).Seconds(), written>>20)
	return d.status(ctx)
}

// status asks the daemon itself.
func (d *demo) status(ctx context.Context) error {
	st, err := d.prog.Status(ctx)
	if err != nil {
		return err
	}
	peak, err := d.daemon.PeakRSS()
	if err != nil {
		return err
	}
	note("$ unblend status --json")
	note("state %s, %d blocks unreadable, %d lost; the daemon took %d MiB of memory at most",
		st.State, st.Damage.ReadErrors, st.Damage.LostBlocks, peak>>20)
	if st.State != control.PoolOK || st.Damage.ReadErrors+st.Damage.LostBlocks > 0 {
		return fmt.Errorf("the pool is not well: %+v", st.Warnings)
	}
	return nil
}

// check stops the daemon and checks the pool offline.
func (d *demo) check(ctx context.Context) error {
	d.step("Stop the daemon and check the whole pool offline.")
	if err := d.closeGuests(); err != nil {
		return err
	}
	if err := d.daemon.Stop(); err != nil {
		return err
	}
	note("$ unblend check %s --data", d.place.file)
	out, err := d.prog.Run(ctx, "check", d.place.file, "--data")
	for line := range strings.Lines(out) {
		note("%s", strings.TrimRight(line, "\n"))
	}
	return err
}

func (d *demo) closeGuests() error {
	var err error
	for _, g := range d.guests {
		if g.disk != nil {
			err = errors.Join(err, g.disk.Close())
		}
	}
	return err
}

// cleanup leaves the machine as it was. A daemon that died would leave its devices behind, so it is
// started once more to remove them.
func (d *demo) cleanup() error {
	if d.place == nil {
		return nil
	}
	err := d.closeGuests()
	if d.daemon != nil {
		if d.daemon.Ended() && len(d.guests) > 0 {
			next, serveErr := d.prog.Serve(context.Background(), d.place.file)
			err = errors.Join(err, serveErr)
			if serveErr == nil {
				d.daemon = next
			}
		}
		if !d.daemon.Ended() {
			err = errors.Join(err, d.daemon.Stop())
		}
	}
	return errors.Join(err, d.place.remove())
}
