package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/tools/internal/shard"
	"unblend/ublk"
	"unblend/uring"
)

// emptyShard runs a loop on a new pool.
func emptyShard(t *testing.T) *shard.Shards {
	t.Helper()
	b, err := device.OpenPool(newPool(t).Paths, device.PoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{backing: b}
	complete(&d.cfg)
	d.cfg.Memory = control.MinMemory
	p, err := placement.Open(b.Disks(), d.options())
	if err != nil {
		t.Fatal(err)
	}
	s, err := shard.Start(shard.Config{
		Pool: p, Files: files(b), Memory: 4 << 20, LogEnd: 1, MaxBlocks: [log.Devs]int{},
	})
	if errors.Is(err, uring.ErrDisabled) {
		t.Skip(errors.Join(err, b.Close()))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Stop(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestLocks holds that a volume and its snapshots are one to the locks, and that several are taken
// without anybody waiting in a circle.
func TestLocks(t *testing.T) {
	d, ctx := &daemon{}, context.Background()
	unlock, err := d.lock(ctx, "a@1", "b", "a", "a@2")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := d.lock(short, "c", "b@7"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a snapshot of a volume that is taken: %v", err)
	}
	if c, err := d.lock(ctx, "c"); err != nil {
		t.Errorf("what was not reached in time is kept: %v", err)
	} else {
		c()
	}
	unlock()
	var wg sync.WaitGroup
	for i := range 40 {
		names := []string{"a", "b@1", "c"}
		slices.SortFunc(names, func(x, y string) int { return (i%2*2 - 1) * strings.Compare(x, y) })
		wg.Go(func() {
			unlock, err := d.lock(ctx, names[i%3:]...)
			if err != nil {
				t.Error(err)
				return
			}
			unlock()
		})
	}
	wg.Wait()
	if len(d.names.m) != 0 {
		t.Errorf("%d names are kept after the last use", len(d.names.m))
	}
}

// TestRenameTables holds that links, attachments and device numbers follow a volume's new name, with
// its snapshots, and that others' stay.
func TestRenameTables(t *testing.T) {
	d := &daemon{
		cfg:     control.ServeConfig{LinkDir: t.TempDir()},
		numbers: map[int]string{0: "web", 1: "web@s", 2: "web2", 3: "web2@s", 9: "web@t"},
		served:  map[string]*served{},
	}
	for n, name := range d.numbers {
		if n < 9 { // the last one could not be restored
			d.served[name] = &served{name: name, dev: &ublk.Device{Info: ublk.Info{ID: uint32(n)}}}
			if err := d.link(name, uint32(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	steps := []struct {
		from, to string
		want     map[int]string
	}{
		{"web@s", "web@good", map[int]string{0: "web", 1: "web@good", 2: "web2", 3: "web2@s", 9: "web@t"}},
		{"web", "www", map[int]string{0: "www", 1: "www@good", 2: "web2", 3: "web2@s", 9: "www@t"}},
		{"web", "x", map[int]string{0: "www", 1: "www@good", 2: "web2", 3: "web2@s", 9: "www@t"}},
	}
	for _, x := range steps {
		if err := d.moveLinks(d.rename(x.from, x.to)); err != nil {
			t.Error(err)
		}
		if !maps.Equal(d.numbers, x.want) {
			t.Errorf("%s to %s: numbers %v, want %v", x.from, x.to, d.numbers, x.want)
		}
		entries, err := os.ReadDir(d.cfg.LinkDir)
		if err != nil || len(entries) != 4 || len(d.served) != 4 {
			t.Errorf("%s to %s: links %v, %v, %d served", x.from, x.to, entries, err, len(d.served))
		}
		for n, name := range x.want {
			if n == 9 {
				continue
			}
			to, err := os.Readlink(d.linkPath(name))
			if s := d.served[name]; s == nil || s.name != name || s.id() != uint32(n) ||
				to != fmt.Sprintf("/dev/ublkb%d", n) {
				t.Errorf("%s to %s: %s: served %+v, link to %s, %v", x.from, x.to, name, s, to, err)
			}
		}
	}
}

// TestSnapshotsWithoutDriver does with a real pool what needs no devices: everything that happens in
// the catalogue, across a restart.
func TestSnapshotsWithoutDriver(t *testing.T) {
	noDriver(t)
	cfg, ctx := newPool(t), context.Background()
	c, stop := start(t, cfg)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"a", "b"} {
		_, err := c.Create(ctx, control.CreateRequest{Name: name, Size: 1 << 30, NoAttach: true})
		must("create", err)
	}
	made, err := c.Snapshot(ctx, control.SnapshotRequest{Volumes: []string{"a", "b"}, Name: "s"})
	must("snapshot", err)
	if v := made.Volumes; len(v) != 2 || v[1].Name != "b@s" || !v[0].Snapshot || !v[0].ReadOnly {
		t.Errorf("snapshot: %+v", v)
	}
	r, err := c.Clone(ctx, control.CloneRequest{Source: "a@s", Name: "one", QueueDepth: 7})
	must("clone", err)
	if r.Volume.Origin != "a@s" || r.Volume.Size != 1<<30 || r.Volume.QueueDepth != 7 {
		t.Errorf("clone: %+v", r.Volume)
	}
	r, err = c.Clone(ctx, control.CloneRequest{Source: "b@s", Name: "n-", Count: 500, First: 1, Width: 3})
	must("clones", err)
	if r.Volume.Name != "n-001" || r.Last != "n-500" || r.Volume.QueueDepth != defaultDepth {
		t.Errorf("clones: %+v", r)
	}
	_, err = c.Rename(ctx, control.RenameRequest{Name: "b", To: "bb"})
	must("rename", err)
	v, err := c.Resize(ctx, control.ResizeRequest{Name: "a", Size: 2 << 30})
	must("resize", err)
	if v.Volume.Size != 2<<30 || v.Volume.DeviceSize != 0 {
		t.Errorf("resize: %+v", v)
	}
	v, err = c.Rollback(ctx, control.RollbackRequest{Name: "a@s"})
	must("rollback", err)
	if v.Volume.Name != "a" || v.Volume.Size != 1<<30 || v.Volume.Origin != "a@s" {
		t.Errorf("rollback: %+v", v)
	}
	snapshotRefusals(t, c)
	if err := stop(); err != nil {
		t.Errorf("end: %v", err)
	}
	c, _ = start(t, cfg)
	afterRestart(t, c)
}

// snapshotRefusals asks for what must not be done.
func snapshotRefusals(t *testing.T, c *control.Client) {
	t.Helper()
	ctx := context.Background()
	_, taken := c.Snapshot(ctx, control.SnapshotRequest{Volumes: []string{"a"}, Name: "s"})
	_, absent := c.Snapshot(ctx, control.SnapshotRequest{Volumes: []string{"a", "x"}, Name: "t"})
	_, clash := c.Clone(ctx, control.CloneRequest{Source: "a@s", Name: "n-", Count: 9, First: 500, Width: 3})
	_, noSource := c.Clone(ctx, control.CloneRequest{Source: "a@x", Name: "y"})
	_, attached := c.Clone(ctx, control.CloneRequest{Source: "a@s", Name: "y", Attach: true})
	_, back := c.Rollback(ctx, control.RollbackRequest{Name: "a@x"})
	_, name := c.Rename(ctx, control.RenameRequest{Name: "a", To: "one"})
	_, shrink := c.Resize(ctx, control.ResizeRequest{Name: "a", Size: 1 << 20})
	_, has := c.Remove(ctx, control.RemoveRequest{Name: "a"})
	_, some := c.Remove(ctx, control.RemoveRequest{Names: []string{"one", "x"}})
	for what, x := range map[string]struct {
		err  error
		exit int
		says string
	}{
		"a taken name":         {taken, 1, "taken"},
		"an absent volume":     {absent, 3, `"x"`},
		"a range that clashes": {clash, 1, `"n-500"`},
		"no such snapshot":     {noSource, 3, `"a@x"`},
		"no driver":            {attached, 6, "without --attach"},
		"rollback to nothing":  {back, 3, `"a@x"`},
		"a taken volume name":  {name, 1, "taken"},
		"a smaller size":       {shrink, 2, "can only grow"},
		"snapshots left":       {has, 7, `has snapshots: 1; to remove them as well: unblend rm 'a@*' a --yes`},
		"one of two":           {some, 3, `"x"`},
	} {
		if e := control.ErrorOf(x.err); e == nil || e.ExitCode() != x.exit ||
			!strings.Contains(e.Error(), x.says) {
			t.Errorf("%s: %v, want exit code %d and %q", what, x.err, x.exit, x.says)
		}
	}
}

// afterRestart compares what the next daemon finds, and removes it.
func afterRestart(t *testing.T, c *control.Client) {
	t.Helper()
	ctx := context.Background()
	l, err := c.List(ctx, control.ListRequest{Snapshots: true})
	if err != nil {
		t.Fatal(err)
	}
	var names, ranged []string
	for _, v := range l.Volumes {
		if strings.HasPrefix(v.Name, "n-") {
			ranged = append(ranged, v.Name)
		} else {
			names = append(names, v.Name)
		}
	}
	if got := strings.Join(names, " "); got != "a a@s bb bb@s one" || len(ranged) != 500 {
		t.Errorf("after a restart: %s and %d more", got, len(ranged))
	}
	st, err := c.Status(ctx)
	if err != nil || st.Volumes.Total != 503 || st.Volumes.Snapshots != 2 || st.State != control.PoolOK {
		t.Errorf("%+v, %v", st.Volumes, err)
	}
	all := append([]string{"a", "bb@s", "one", "bb", "a@s"}, ranged...)
	for part := range slices.Chunk(all, control.MaxNames) {
		d, err := c.Remove(ctx, control.RemoveRequest{Names: part})
		if err != nil || d.Count != len(part) {
			t.Errorf("rm: %+v, %v", d, err)
		}
	}
	if l, err := c.List(ctx, control.ListRequest{Snapshots: true}); err != nil || len(l.Volumes) != 0 {
		t.Errorf("after rm of all: %+v, %v", l, err)
	}
}
