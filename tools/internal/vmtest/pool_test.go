package vmtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
	"unblend/tools/internal/operate"
)

// pool is what a test keeps its volumes in.
type pool struct {
	paths []string // of its devices, the log's first
	init  []string // arguments of init
}

// serveArg returns the device that serve is told: the last one, so that it has to find the log.
func (p pool) serveArg() string { return p.paths[len(p.paths)-1] }

// Sizes of the pools and their logs here: small, so that the log wraps while a test runs.
const (
	poolMiB = 768
	logSize = "--log-size=32M"
	segSize = "--segment-size=1M"
)

// fileInit returns the arguments of init for a pool in a file.
func fileInit(path string) []string {
	return []string{path, fmt.Sprintf("--size=%dM", poolMiB), logSize, segSize}
}

// filePool is a pool in a file.
func (g *guest) filePool() pool {
	path := filepath.Join(g.TempDir(), "pool")
	return pool{[]string{path}, fileInit(path)}
}

// devicePool is a pool on devices: one, or log and data.
func devicePool(paths ...string) pool {
	p := pool{paths, []string{paths[0], logSize, segSize}}
	if len(paths) == 2 {
		p.init = []string{"--log", paths[0], "--data", paths[1], logSize, segSize}
	}
	return p
}

// nullBlock makes a memory-backed null_blk device of mib MiB, which the end of the test removes.
func (g *guest) nullBlock(name string, mib int) string {
	g.Helper()
	dir := filepath.Join("/sys/kernel/config/nullb", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		g.Fatal(err)
	}
	for _, a := range []struct{ file, value string }{
		{"size", strconv.Itoa(mib)},
		{"memory_backed", "1"},
		{"blocksize", "512"},
		{"discard", "1"},
		{"power", "1"},
	} {
		if err := os.WriteFile(filepath.Join(dir, a.file), []byte(a.value), 0o644); err != nil {
			g.Fatal(err)
		}
	}
	g.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			g.Error(err)
		}
	})
	return "/dev/" + name
}

// nullPool is a pool on two null_blk devices.
func (g *guest) nullPool() pool {
	g.Helper()
	g.sh("mountpoint -q /sys/kernel/config || mount -t configfs c /sys/kernel/config")
	return devicePool(g.nullBlock("nulllog", poolMiB/8), g.nullBlock("nulldata", poolMiB))
}

// format makes the pool.
func (g *guest) format(p pool) {
	g.Helper()
	g.do("init", p.init...)
}

// serve starts the daemon, which the end of the test kills if it still runs.
func (g *guest) serve(p pool, more ...string) *operate.Daemon {
	g.Helper()
	if n := os.Getenv("UNBLEND_SHARDS"); n != "" && !slices.Contains(more, "--shards") {
		more = append(more, "--shards", n)
	}
	ready := g.watchStart()
	d, err := g.prog.Serve(g.ctx, p.serveArg(), more...)
	ready()
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(d.Kill)
	return d
}

// stop ends a daemon in order.
func (g *guest) stop(d *operate.Daemon) {
	g.Helper()
	if err := d.Stop(); err != nil {
		g.Fatal(err)
	}
}

// create makes a volume and returns its path, which must lead to a block device by then.
func (g *guest) create(name, size string) string {
	g.Helper()
	path, err := g.prog.Create(g.ctx, name, size)
	if err != nil {
		g.Fatal(err)
	}
	if want := "/dev/unblend/" + name; path != want {
		g.Errorf("create printed %s, want %s", path, want)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode()&os.ModeDevice == 0 {
		g.Fatalf("%s after create: %v, %v", path, st, err)
	}
	return path
}

// status asks the daemon how the pool is.
func (g *guest) status() control.Status {
	g.Helper()
	st, err := g.prog.Status(g.ctx)
	if err != nil {
		g.Fatal(err)
	}
	return st
}

// wellServed fails the test if the daemon has anything to complain of.
func (g *guest) wellServed() control.Status {
	g.Helper()
	st := g.status()
	if st.State != control.PoolOK || len(st.Warnings) > 0 || st.Damage != (control.DamageStatus{}) {
		g.Errorf("the pool is %s: %+v, %+v", st.State, st.Warnings, st.Damage)
	}
	return st
}

// check verifies the whole pool offline.
func (g *guest) check(p pool) {
	g.Helper()
	out, err := g.ask("check", append([]string{"--json"}, p.paths...)...)
	var r control.CheckResult
	if err == nil {
		err = json.Unmarshal([]byte(out), &r)
	}
	if err != nil || r.State != control.CheckOK {
		g.Errorf("check: %v, %s", err, out)
	}
}

// openDisk opens a volume to write to it. It must hold zeros.
func (g *guest) openDisk(path string, id uint32) *load.Disk {
	g.Helper()
	d, err := load.Open(path, id)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { d.Close() })
	return d
}

// write does n writes of mixed sizes.
func (g *guest) write(d *load.Disk, n int, seed uint64) {
	g.Helper()
	w := load.NewWriter(d, 8, load.Mixed(d.Size(), 256<<10), seed)
	if err := w.Run(g.ctx, n); err != nil {
		g.Fatal(err)
	}
}

// verify compares a whole disk with what was written to it.
func (g *guest) verify(d *load.Disk) {
	g.Helper()
	if _, err := d.Verify(g.ctx); err != nil {
		g.Error(err)
	}
}

// reopen opens a disk again after its device was away.
func (g *guest) reopen(d *load.Disk, path string) {
	g.Helper()
	if err := d.Reopen(path); err != nil {
		g.Fatal(err)
	}
}

// nothingIsLeft checks that no trace of any daemon is there.
func (g *guest) nothingIsLeft() {
	g.Helper()
	for _, pattern := range []string{"/dev/ublkb*", "/dev/ublkc*", "/dev/unblend*", "/sys/block/ublkb*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) > 0 {
			g.Errorf("left behind: %s, %v", strings.Join(found, " "), err)
		}
	}
	if _, err := os.Stat(g.prog.Socket()); !errors.Is(err, os.ErrNotExist) {
		g.Errorf("the socket is left behind: %v", err)
	}
}

// volumes returns the volumes and snapshots by name.
func (g *guest) volumes() map[string]control.Volume {
	g.Helper()
	var l control.List
	if err := json.Unmarshal([]byte(g.do("list", "--snapshots", "--json")), &l); err != nil {
		g.Fatal(err)
	}
	m := map[string]control.Volume{}
	for _, v := range l.Volumes {
		m[v.Name] = v
	}
	return m
}

// eventually waits until a condition holds.
func (g *guest) eventually(what string, within time.Duration, holds func() bool) {
	g.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			g.Fatalf("not within %v: %s", within, what)
		}
	}
}
