package vmbench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"unblend/log"
	"unblend/tools/internal/bench"
	"unblend/tools/internal/control"
	"unblend/tools/internal/operate"
)

// The states of a volume that are compared, and a thin volume of the device mapper.
const (
	WritePlain   Target = "write, no snapshot"
	WriteOnce    Target = "write, right after a snapshot"
	WriteHundred Target = "write, 100 snapshots"
	WriteDeep    Target = "write, 500 snapshots"
	WriteClone   Target = "write, a new clone"
	WriteThin    Target = "write, dm-thin"
	WriteThinned Target = "write, dm-thin after a snapshot"
	ReadPlain    Target = "read, no snapshot"
	ReadDeep     Target = "read, 500 snapshots"
	ReadLog      Target = "read, all in the log, no snapshot"
	ReadLogDeep  Target = "read, all in the log, 500 snapshots"
)

// Sizes of this test bed. The pool is large, so that there is metadata for many snapshots; only what
// is written of it takes memory.
const (
	depthGB      = 36
	depthPoolMiB = 32 << 10
	depthLogMiB  = 32
	depthLogs    = 3  // how often one run writes as much as the log holds
	depthMiB     = 64 // of a volume
	depthQueue   = 32
	depthMany    = 500
	depthSome    = 100
	depthBlocks  = 4 // written between two snapshots

	thinMetaMiB = 64
	thinMiB     = 640 // room for its snapshots
	thinChunk   = 128 // sectors: 64 KiB

	// What will be written of the pool's data area, at most. All of it was written once before the
	// first run: the memory behind the device comes with the first write of a place, and a run that
	// writes new places should not pay for that.
	depthUsedMiB = 1280
)

var depthParts = []struct{ start, size int }{ // MiB: pool, dm-thin's metadata and data
	{1, depthPoolMiB}, {1 + depthPoolMiB, thinMetaMiB}, {1 + depthPoolMiB + thinMetaMiB, thinMiB},
}

// depthBed is a pool and a dm-thin pool on one device.
type depthBed struct {
	ctx    context.Context
	prog   operate.Program
	daemon *operate.Daemon
	client *control.Client
	pairs  int
	snap   int  // number of the next snapshot or clone
	drain  bool // empty the log before each run, so that none has to move what another one wrote
}

// measureDepth compares writes and reads of volumes with and without snapshots, and of a dm-thin
// volume before and after one.
func measureDepth(ctx context.Context, r *Report) error {
	dir, err := os.MkdirTemp("/run", "bench-")
	if err != nil {
		return err
	}
	b := &depthBed{ctx: ctx, prog: operate.Program{Path: "/vm/unblend", Dir: dir}}
	if b.pairs, err = pairsWanted(); err != nil {
		return err
	}
	if err := b.prepare(); err != nil {
		return err
	}
	if r.Runs, err = b.destaged(); err != nil {
		return fmt.Errorf("%w; the daemon's log ends with:\n%s", err, b.prog.LogEnd())
	}
	inLog, err := b.undestaged()
	if err != nil {
		return fmt.Errorf("%w; the daemon's log ends with:\n%s", err, b.prog.LogEnd())
	}
	r.Runs = append(r.Runs, inLog...)
	r.Compare()
	r.PeakRSS, err = b.daemon.PeakRSS()
	return errors.Join(err, b.daemon.Stop())
}

// prepare makes the devices, the pools and the volumes, and fills them.
func (b *depthBed) prepare() error {
	_, err := bench.Sh(b.ctx, "modprobe -a ublk_drv dm-thin-pool && modprobe null_blk nr_devices=1 gb=%d "+
		"memory_backed=1 submit_queues=2", depthGB)
	for i, p := range depthParts {
		if err == nil {
			_, err = bench.Sh(b.ctx, "addpart %s %d %d %d", nullDevice, i+1, p.start<<11, p.size<<11)
		}
	}
	if err == nil {
		_, err = b.prog.Run(b.ctx, "init", poolDevice, fmt.Sprintf("--log-size=%dM", depthLogMiB),
			"--segment-size=1M")
	}
	if err == nil {
		err = b.serve()
	}
	if err == nil {
		err = b.touch()
	}
	if err == nil {
		err = b.makeThin()
	}
	for _, name := range []string{"plain", "once", "hundred", "deep", "golden"} {
		if err == nil {
			err = b.volume(name)
		}
	}
	if err == nil {
		_, err = b.prog.Ask(b.ctx, "snapshot", "golden@v1")
	}
	return errors.Join(err, b.age("hundred", depthSome), b.age("deep", depthMany))
}

// touch writes what will be used of both pools once. The pool has nothing there yet.
func (b *depthBed) touch() error {
	st, err := b.prog.Status(b.ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(st.Regions, func(r control.Region) bool { return r.Class == "data" })
	if i < 0 {
		return errors.New("status names no data area")
	}
	at := st.Regions[i].Start>>20 + int64(depthParts[0].start)
	_, err = bench.Sh(b.ctx, `write() { dd if=/dev/zero of=%s bs=1M seek=$1 count=$2 oflag=direct status=none; }
		write %d %d && write %d %d`, nullDevice, at, depthUsedMiB, depthParts[2].start, thinMiB)
	return err
}

// serve starts the daemon with more flags.
func (b *depthBed) serve(flags ...string) (err error) {
	b.daemon, err = b.prog.Serve(b.ctx, poolDevice, flags...)
	b.client = control.NewClient(b.prog.Socket(), 10*time.Minute)
	return err
}

// volume makes a volume and writes all of it.
func (b *depthBed) volume(name string) error {
	path, err := b.prog.Create(b.ctx, name, fmt.Sprintf("%dM", depthMiB))
	if err != nil {
		return err
	}
	return bench.Fill(b.ctx, bench.Paths(path))
}

// makeThin makes a dm-thin pool and a volume of it, all of which is provisioned.
func (b *depthBed) makeThin() error {
	_, err := bench.Sh(b.ctx, `set -e
		dmsetup create thinpool --noudevsync --table "0 %d thin-pool %[2]sp2 %[2]sp3 %d 0"
		dmsetup message thinpool 0 "create_thin 0"
		dmsetup mknodes
		dmsetup create thin --noudevsync --table "0 %d thin /dev/mapper/thinpool 0"
		dmsetup mknodes`, thinMiB<<11, nullDevice, thinChunk, depthMiB<<11)
	if err != nil {
		return err
	}
	return bench.Fill(b.ctx, bench.Paths("/dev/mapper/thin"))
}

// age takes n snapshots of a volume, with a few blocks written before each.
func (b *depthBed) age(name string, n int) error {
	fd, err := unix.Open("/dev/unblend/"+name, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("volume %q: %w", name, err)
	}
	buf, err := unix.Mmap(-1, 0, log.BlockSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	rng := rand.New(rand.NewPCG(5, uint64(n)))
	for i := 0; i < n && err == nil; i++ {
		for j := 0; j < depthBlocks && err == nil; j++ {
			buf[0], buf[1], buf[2] = byte(i), byte(i>>8), byte(j)+1
			_, err = unix.Pwrite(fd, buf, rng.Int64N(depthMiB<<20/log.BlockSize)*log.BlockSize)
		}
		if err == nil {
			_, err = b.client.Snapshot(b.ctx, control.SnapshotRequest{
				Volumes: []string{name}, Name: fmt.Sprintf("s%03d", i),
			})
		}
	}
	if err != nil {
		err = fmt.Errorf("snapshots of %s: %w", name, err)
	}
	return errors.Join(err, unix.Munmap(buf), unix.Close(fd))
}

// depthRun is one state and how to measure it.
type depthRun struct {
	target Target
	path   string                            // of the device
	before func(b *depthBed) (string, error) // brings the state about; returns the path if it is new
}

// destaged measures what goes through the log to its place. A run writes several times what the log
// holds, so that it destages most of that.
func (b *depthBed) destaged() ([]Run, error) {
	once := func(b *depthBed) (string, error) {
		_, err := b.prog.Ask(b.ctx, "snapshot", fmt.Sprintf("once@s%d", b.snap))
		return "/dev/unblend/once", err
	}
	clone := func(b *depthBed) (string, error) {
		name := fmt.Sprintf("clone%d", b.snap)
		_, err := b.prog.Ask(b.ctx, "clone", "golden@v1", name, "--attach")
		return "/dev/unblend/" + name, err
	}
	thinned := func(b *depthBed) (string, error) {
		_, err := bench.Sh(b.ctx, `set -e; dmsetup suspend thin; dmsetup message thinpool 0 "create_snap %d 0"
			dmsetup resume --noudevsync thin`, b.snap)
		return "/dev/mapper/thin", err
	}
	writes := []depthRun{
		{WritePlain, "/dev/unblend/plain", nil},
		{WriteOnce, "", once},
		{WriteHundred, "/dev/unblend/hundred", nil},
		{WriteDeep, "/dev/unblend/deep", nil},
		{WriteClone, "", clone},
		{WriteThin, "/dev/mapper/thin", nil},
		{WriteThinned, "", thinned},
	}
	size := fmt.Sprintf("--io_size=%dm", depthLogs*depthLogMiB)
	b.drain = true
	runs, err := b.alternate(writes, "--rw=randwrite", size)
	if err != nil {
		return nil, err
	}
	reads, err := b.alternate([]depthRun{
		{ReadPlain, "/dev/unblend/plain", nil}, {ReadDeep, "/dev/unblend/deep", nil},
	}, "--rw=randread", "--time_based", "--runtime="+runTime.String())
	return append(runs, reads...), err
}

// alternate measures all states in turn, every other round backwards.
func (b *depthBed) alternate(what []depthRun, args ...string) ([]Run, error) {
	var runs []Run
	for pair := 1; pair <= b.pairs; pair++ {
		for i := range what {
			w := what[i]
			if pair%2 == 0 {
				w = what[len(what)-1-i]
			}
			b.snap++
			if b.drain {
				r := control.CheckpointRequest{Drain: true}
				if _, err := b.client.Checkpoint(b.ctx, r); err != nil {
					return nil, err
				}
			}
			if w.before != nil {
				var err error
				if w.path, err = w.before(b); err != nil {
					return nil, fmt.Errorf("%s: %w", w.target, err)
				}
			}
			r, err := fioRandom(b.ctx, []string{w.path}, depthQueue, args...)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.target, err)
			}
			runs = append(runs, Run{pair, w.target, depthQueue, r.IOPS, r.P50, r.P99})
		}
	}
	return runs, nil
}

// undestaged measures reads of blocks that are all in the log, in a volume without snapshots and in
// one that has got a snapshot for every few blocks.
func (b *depthBed) undestaged() ([]Run, error) {
	if err := b.daemon.Stop(); err != nil {
		return nil, err
	}
	if err := b.serve("--low=98", "--high=99"); err != nil {
		return nil, err
	}
	for _, name := range []string{"log", "logdeep"} {
		if _, err := b.prog.Create(b.ctx, name, fmt.Sprintf("%dM", depthMiB)); err != nil {
			return nil, err
		}
	}
	b.drain = false
	awake, err := b.keepAwake("/dev/unblend/plain")
	if err != nil {
		return nil, err
	}
	defer awake()
	const size = "--size=4m"
	for _, name := range []string{"log", "logdeep"} {
		if _, err := bench.Fio(b.ctx, bench.Paths("/dev/unblend/"+name), "--rw=write", "--bs=64k",
			size); err != nil {
			return nil, err
		}
	}
	if err := b.ageInLog(); err != nil {
		return nil, err
	}
	runs, err := b.alternate([]depthRun{
		{ReadLog, "/dev/unblend/log", nil}, {ReadLogDeep, "/dev/unblend/logdeep", nil},
	}, "--rw=randread", size, "--time_based", "--runtime="+runTime.String())
	if err != nil {
		return nil, err
	}
	st, err := b.prog.Status(b.ctx)
	if err == nil && st.Work.DestagedBytes > 0 {
		err = fmt.Errorf("%d bytes were destaged, and nothing was to be", st.Work.DestagedBytes)
	}
	return runs, err
}

// ageInLog takes the snapshots of a volume of which everything is in the log.
func (b *depthBed) ageInLog() error {
	for i := range depthMany {
		_, err := b.client.Snapshot(b.ctx, control.SnapshotRequest{
			Volumes: []string{"logdeep"}, Name: fmt.Sprintf("s%03d", i),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepAwake reads a block now and then: when no guest asks for anything, the pool empties its log.
func (b *depthBed) keepAwake(path string) (stop func(), err error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	buf, err := unix.Mmap(-1, 0, log.BlockSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = f.ReadAt(buf, 0)
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		_ = errors.Join(f.Close(), unix.Munmap(buf))
	}, nil
}
