package vmtest

import (
	"path/filepath"
	"testing"
	"time"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/harddisk"
)

// How far the device may be from the model on virtual time: it cannot be faster, but for chance; where the
// processor copies every byte it may be much slower.
const (
	modelMost, modelLeast, modelLeastCopying = 1.15, 0.75, 0.4
)

// TestHardDisk compares the modelled hard disk as a device with the model on virtual time, verifies what it
// holds, and has a pool on two of them. The machine's clock counts instructions: else a busy host would make
// a slow disk.
func TestHardDisk(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "")
		disk, err := build("harddiskd", "unblend/tools/internal/harddisk/harddiskd")
		if err != nil {
			t.Fatalf("build the disk: %v", err)
		}
		cfg.Files, cfg.Counted, cfg.Timeout = append(cfg.Files, disk), true, 20*time.Minute
		run(t, cfg)
		return
	}
	g := newGuest(t)
	full, loads := harddisk.Full()
	d := g.hardDisk(full)
	for _, p := range loads {
		length := 3 * time.Second
		if !p.Random {
			length = 500 * time.Millisecond
		}
		g.isTheModel(d, full, p, length)
	}
	g.endHardDisk(d)
	g.cacheIsVolatile()
	g.poolOnHardDisks()
}

// hardDisk starts a disk.
func (g *guest) hardDisk(cfg harddisk.Config) *harddisk.Disk {
	g.Helper()
	d, err := harddisk.Start("/vm/harddiskd", cfg)
	if err != nil {
		g.Fatal(err)
	}
	return d
}

// endHardDisk removes a disk.
func (g *guest) endHardDisk(d *harddisk.Disk) {
	g.Helper()
	if err := d.Stop(); err != nil {
		g.Error(err)
	}
}

// isTheModel runs a load on the device and on the model.
func (g *guest) isTheModel(
	d *harddisk.Disk, cfg harddisk.Config, p harddisk.Published, length time.Duration,
) {
	g.Helper()
	want, err := cfg.Simulated(p.Load, 300)
	if err != nil {
		g.Fatal(err)
	}
	got, err := bench.Fio(g.ctx, bench.Paths(d.Path), append(bench.For(length), p.FioArgs()...)...)
	if err != nil {
		g.Fatal(err)
	}
	g.Logf("%-42s %6.1f/s, virtual time %6.1f, published %6.1f", p.Name, got.IOPS, want, p.Rate)
	least := modelLeast
	if !p.Random {
		least = modelLeastCopying
	}
	if got.IOPS > want*modelMost || got.IOPS < want*least {
		g.Errorf("%s: %.1f/s, want %.2f to %.2f times the %.1f of virtual time", p.Name, got.IOPS, least,
			modelMost, want)
	}
}

// cacheIsVolatile verifies what a disk with a write cache holds, with flushes between the writes, and
// that the kernel knows of the cache.
func (g *guest) cacheIsVolatile() {
	g.Helper()
	d := g.hardDisk(harddisk.Config{Size: 1 << 30, Volatile: true})
	queue := "/sys/block/" + filepath.Base(d.Path) + "/queue"
	if got := g.sh("cd " + queue + " && cat rotational write_cache fua | xargs"); got != "1 write back 1" {
		g.Errorf("the kernel says %q of a hard disk with a write cache", got)
	}
	f, err := bench.Fio(g.ctx, bench.Paths(d.Path), "--rw=randwrite", "--bsrange=4k-64k", "--size=4m",
		"--iodepth=8", "--fsync=16", "--verify=crc32c", "--verify_fatal=1")
	if err != nil || f.Writes == 0 {
		g.Errorf("%d writes, %v", f.Writes, err)
	}
	g.endHardDisk(d)
}

// poolOnHardDisks has a pool with log and data on two disks: it knows what they are.
func (g *guest) poolOnHardDisks() {
	g.Helper()
	fast, capacity := g.hardDisk(harddisk.Config{Size: 1 << 30}), g.hardDisk(harddisk.Config{Size: 1 << 30})
	p := devicePool(fast.Path, capacity.Path)
	g.format(p)
	d := g.serve(p, fast.Path) // serve looks for no pool on ublk devices, which are guests'
	disk := g.openDisk(g.create("web1", "64M"), 1)
	g.write(disk, 50, 4)
	g.verify(disk)
	disk.Close()
	for _, dev := range g.status().Devices {
		if !dev.Rotational {
			g.Errorf("%+v: not known as a hard disk", dev)
		}
	}
	g.stop(d)
	g.endHardDisk(fast)
	g.endHardDisk(capacity)
}
