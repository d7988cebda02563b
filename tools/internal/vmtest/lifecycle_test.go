package vmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
	"unblend/tools/internal/vm"
)

// TestLifecycle takes a pool in a file and one on a device from init to the last rm (the other tests
// have pools of two devices): four volumes are written, detached and attached, refused while they
// are open, carried over a restart, and removed; nothing is left behind.
func TestLifecycle(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "")
		cfg.Drives = []vm.Drive{{Name: "pool", Path: image(t, poolMiB), Bus: vm.NVMe}}
		run(t, cfg)
		return
	}
	for name, make := range map[string]func(g *guest) pool{
		"file": (*guest).filePool,
		"nvme": func(*guest) pool { return devicePool("/dev/vm/pool") },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t)
			g.life(make(g))
		})
	}
}

var fourVolumes = []string{"web1", "db.2", "log+3", "mail-4"}

func (g *guest) life(p pool) {
	g.step("init")
	g.format(p)
	g.step("serve")
	d := g.serve(p)
	g.step("create, write, verify")
	disks := map[string]*load.Disk{}
	for i, name := range fourVolumes {
		disks[name] = g.openDisk(g.create(name, "24M"), uint32(i+1))
		g.write(disks[name], 60, uint64(i+1))
		g.verify(disks[name])
	}
	g.step("refusals")
	g.refusals(p, disks)
	g.step("detach, attach, verify")
	for name, disk := range disks {
		disk.Close()
		g.do("detach", name)
		if v := g.volumes()[name]; v.State != control.VolumeDetached || v.Device != "" {
			g.Errorf("after detach: %+v", v)
		}
		g.do("attach", name)
		g.reopen(disk, "/dev/unblend/"+name)
		g.verify(disk)
		disk.Close()
	}
	g.wellServed()
	g.step("stop")
	g.stop(d)
	g.nothingIsLeft()
	g.step("check")
	g.check(p)
	g.step("serve again")
	d = g.serve(p)
	g.step("verify, write, rm")
	if n := g.wellServed().Daemon.Restored; n != len(disks) {
		g.Errorf("%d volumes are back, want %d", n, len(disks))
	}
	for name, disk := range disks {
		g.reopen(disk, "/dev/unblend/"+name)
		g.verify(disk)
		g.write(disk, 20, 99)
		g.verify(disk)
		disk.Close()
		g.do("rm", name)
		g.refused(3, `no such volume`, "attach", name)
	}
	g.do("create", "next", "--size=1G", "--no-attach")
	if v := g.volumes(); len(v) != 1 || v["next"].Device != "" {
		g.Errorf("volumes after all: %+v", v)
	}
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}

// refusals asks for what must not be done while volumes are open.
func (g *guest) refusals(p pool, disks map[string]*load.Disk) {
	g.Helper()
	g.refused(7, `volume "web1" is open by `, "rm", "web1")
	g.refused(7, `volume "web1" is open by `, "detach", "web1")
	g.refused(1, `the name is taken`, "create", "web1", "--size=1G")
	g.verify(disks["web1"])
	if _, err := os.Stat("/dev/unblend/web1"); err != nil {
		g.Errorf("the link after refusals: %v", err)
	}
	other := filepath.Join(g.prog.Dir, "other")
	for _, more := range [][]string{
		{"--socket", other, "--link-dir", other + ".links"}, // the pool is taken
		{"--socket", other}, // the host is
		{"--socket", g.prog.Socket(), "--link-dir", other + ".links"}, // the socket is
	} {
		args := append([]string{"serve", p.serveArg(), "--wait=1s"}, more...)
		begin := time.Now()
		out, err := exec.Command(g.prog.Path, args...).CombinedOutput()
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.ExitCode() != 7 || len(out) == 0 {
			g.Errorf("%s: %v, %s; want status 7", strings.Join(args, " "), err, out)
		}
		if took := time.Since(begin); took > 15*time.Second {
			g.Logf("refused only after %v, with --wait=1s", took)
		}
	}
}
