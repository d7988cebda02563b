package vmtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"unblend/tools/internal/control"
	"unblend/tools/internal/vm"
)

// image makes a file of zeros for a drive.
func image(t *testing.T, mib int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, mib<<20); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReboot fills a file system, powers the machine off with the file system mounted and the
// daemon running, and boots it again: the volumes come back by themselves, with all that was synced.
func TestReboot(t *testing.T) {
	if inGuest() {
		g := newGuest(t)
		map[string]func(){"before": g.beforeReboot, "after": g.afterReboot}[stage()]()
		return
	}
	need(t)
	t.Parallel()
	pool, share := image(t, poolMiB), t.TempDir()
	for _, stage := range []string{"before", "after"} {
		cfg := machine(t, stage)
		cfg.Drives = []vm.Drive{{Name: "pool", Path: pool}}
		cfg.Share = share
		run(t, cfg)
		if t.Failed() {
			return
		}
	}
}

// notes is a file that survives a reboot.
const notes = "/rw/notes"

func (g *guest) beforeReboot() {
	p := devicePool("/dev/vm/pool")
	g.format(p)
	// Started by hand: it is to outlive the test.
	g.sh(g.prog.Path + " serve " + p.serveArg() + " --socket " + g.prog.Socket() +
		" </dev/null >" + g.prog.Log() + " 2>&1 & disown; for i in $(seq 600); do test -S " +
		g.prog.Socket() + " && break; sleep 0.1; done")
	x := g.newTree(0, "ext4", g.create("ext4", "128M"))
	g.create("empty", "1G")
	g.do("create", "detached", "--size=1G", "--no-attach")
	x.fill("first")
	if err := os.WriteFile(notes, []byte(x.sum()), 0o644); err != nil {
		g.Fatal(err)
	}
	g.sh("sync")
}

func (g *guest) afterReboot() {
	p := devicePool("/dev/vm/pool")
	d := g.serve(p)
	vs := g.volumes()
	for name, state := range map[string]string{
		"ext4": control.VolumeAttached, "empty": control.VolumeAttached,
		"detached": control.VolumeDetached,
	} {
		_, err := os.Stat("/dev/unblend/" + name)
		if there := err == nil; vs[name].State != state || there != (state == control.VolumeAttached) {
			g.Errorf("%s after a reboot: %+v, link %v", name, vs[name], err)
		}
	}
	if st := g.wellServed(); st.Daemon.Restored != 2 {
		g.Errorf("%d volumes are back, want 2", st.Daemon.Restored)
	}
	want, err := os.ReadFile(notes)
	if err != nil {
		g.Fatal(err)
	}
	x := g.oldTree(0, "ext4", "/dev/unblend/ext4")
	x.mount() // replays its journal
	x.same(strings.TrimSpace(string(want)), "a reboot")
	x.unmount()
	x.fsck()
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}
