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
	"unblend/tools/internal/control"
	"unblend/tools/internal/operate"
)

// Who serves the four volumes whose writes are paid for.
const (
	OneShard  Target = "unblend, 1 shard"
	TwoShards Target = "unblend, 2 shards"
	Loop      Target = "kernel loop"
	Qcow      Target = "qcow2 over nbd"
)

// Sizes of this test bed, in MiB.
const (
	costGB     = 2
	costPool   = 512
	costLog    = 128
	costVolume = 16
	costFiles  = 256 // a file system with the qcow2 files
	costFour   = 4
	costTime   = time.Second
)

// server is one that takes part.
type server struct {
	target Target
	comm   string // of its processes; empty: it has none
	paths  []string
	rest   func() error // ends what a run leaves to be done
	close  func() error
}

// costBed is the servers, side by side on one device that is memory.
type costBed struct {
	ctx     context.Context
	dir     string
	servers []*server
}

// measureCost compares what a write of 4 KiB takes of the processors. A run ends when what it has left in
// the log is in its place, so that all of a write's time is in it.
func measureCost(ctx context.Context, r *Report) (err error) {
	n, err := pairsWanted()
	if err != nil {
		return err
	}
	b := &costBed{ctx: ctx}
	if b.dir, err = os.MkdirTemp("/run", "bench-"); err != nil {
		return err
	}
	defer func() {
		for _, s := range b.servers {
			err = errors.Join(err, s.close())
		}
	}()
	if err := b.prepare(); err != nil {
		return err
	}
	for pair := 1; pair <= n; pair++ {
		for i := range b.servers {
			if pair%2 == 0 { // nobody always follows the same
				i = len(b.servers) - 1 - i
			}
			c, err := b.run(b.servers[i], fourDepth, costTime)
			if err != nil {
				return fmt.Errorf("%s: %w", b.servers[i].target, err)
			}
			c.Pair = pair
			r.Costs = append(r.Costs, c)
		}
	}
	return nil
}

// run measures one server.
func (b *costBed) run(s *server, depth int, length time.Duration) (Cost, error) {
	c := Cost{Target: s.target, Depth: depth}
	if err := s.rest(); err != nil {
		return c, err
	}
	before, err := usageOf(s.comm)
	if err != nil {
		return c, err
	}
	x, err := fioWrite(b.ctx, s.paths, depth, length)
	if err != nil {
		return c, err
	}
	if err := s.rest(); err != nil {
		return c, err
	}
	after, err := usageOf(s.comm)
	if err != nil {
		return c, err
	}
	c.of(after.sub(before), x)
	return c, nil
}

// of fills in what so many writes have taken.
func (c *Cost) of(u usage, x bench.Figures) {
	writes := float64(max(x.Writes, 1))
	c.IOPS = x.IOPS
	c.All = float64((u.busy - u.others).Nanoseconds()) / 1e3 / writes
	c.Server = float64(u.server.Nanoseconds()) / 1e3 / writes
}

// prepare makes the device and the servers, and fills their volumes.
func (b *costBed) prepare() error {
	_, err := bench.Sh(b.ctx, "modprobe -a ublk_drv loop nbd && "+
		"modprobe null_blk nr_devices=1 gb=%d memory_backed=1 submit_queues=2", costGB)
	at := 1
	for i, size := range []int{costPool, costPool, costFour * costVolume, costFiles} {
		if err == nil {
			_, err = bench.Sh(b.ctx, "addpart %s %d %d %d", nullDevice, i+1, at<<11, size<<11)
		}
		at += size
	}
	for _, f := range []func() (*server, error){
		func() (*server, error) { return b.pool(OneShard, 1) },
		func() (*server, error) { return b.pool(TwoShards, 2) },
		b.loop, b.qcow,
	} {
		var s *server
		if err == nil {
			s, err = f()
		}
		if s != nil {
			b.servers = append(b.servers, s)
		}
		if err == nil {
			err = bench.Fill(b.ctx, bench.Paths(s.paths...))
		}
	}
	return err
}

// pool serves a pool of its own with so many shards. Its processes have a name of their own.
func (b *costBed) pool(t Target, shards int) (*server, error) {
	comm := fmt.Sprintf("unblend%d", shards)
	p := operate.Program{Path: filepath.Join(b.dir, comm), Dir: filepath.Join(b.dir, comm+".d")}
	if err := os.Mkdir(p.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Symlink("/vm/unblend", p.Path); err != nil {
		return nil, err
	}
	device := fmt.Sprintf("%sp%d", nullDevice, shards)
	_, err := p.Run(b.ctx, "init", device, fmt.Sprintf("--log-size=%dM", costLog), "--segment-size=4M")
	if err != nil {
		return nil, err
	}
	d, err := p.Serve(b.ctx, device, fmt.Sprintf("--shards=%d", shards), "--link-dir",
		filepath.Join(p.Dir, "links"))
	if err != nil {
		return nil, err
	}
	client := control.NewClient(p.Socket(), 10*time.Minute)
	s := &server{target: t, comm: comm, close: d.Stop, rest: func() error {
		_, err := client.Checkpoint(b.ctx, control.CheckpointRequest{Drain: true})
		return err
	}}
	for i := range costFour {
		path, err := p.Create(b.ctx, fmt.Sprintf("%s-%d", comm, i), fmt.Sprintf("%dM", costVolume))
		if err != nil {
			return s, err
		}
		s.paths = append(s.paths, path)
	}
	return s, nil
}

// nothing is what a server without a log has left to do.
func nothing() error { return nil }

// loop makes four loop devices, each on a part of the device.
func (b *costBed) loop() (*server, error) {
	s := &server{target: Loop, rest: nothing}
	s.close = func() error {
		_, err := bench.Sh(b.ctx, "losetup -d %s", strings.Join(s.paths, " "))
		return err
	}
	for i := range costFour {
		path, err := bench.Sh(b.ctx, "losetup --direct-io=on --show -f -o %d --sizelimit %d %sp3",
			i*costVolume<<20, costVolume<<20, nullDevice)
		if err != nil {
			return s, err
		}
		s.paths = append(s.paths, path)
	}
	return s, nil
}

// qcow makes four qcow2 files in an ext4 file system, each behind a qemu-nbd without the host's cache.
func (b *costBed) qcow() (*server, error) {
	s := &server{target: Qcow, comm: "qemu-nbd", rest: nothing}
	root := filepath.Join(b.dir, "fs")
	s.close = func() error {
		_, err := bench.Sh(b.ctx, "for d in %s; do qemu-nbd --disconnect $d; done",
			strings.Join(s.paths, " "))
		return err // the machine ends next
	}
	_, err := bench.Sh(b.ctx, `set -e; mkdir %[1]s
		mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 %[2]sp4; mount %[2]sp4 %[1]s`,
		root, nullDevice)
	if err != nil {
		return s, err
	}
	for i := range costFour {
		path := fmt.Sprintf("/dev/nbd%d", i)
		_, err := bench.Sh(b.ctx, `set -e; f=%[1]s/volume%[2]d
			qemu-img create -q -f qcow2 $f %[3]dM
			qemu-nbd --connect=%[4]s --socket=%[1]s/nbd%[2]d --cache=none --aio=native -f qcow2 $f
			while test $(cat /sys/block/nbd%[2]d/size) = 0; do sleep 0.1; done`, root, i, costVolume, path)
		if err != nil {
			return s, err
		}
		s.paths = append(s.paths, path)
	}
	return s, nil
}
