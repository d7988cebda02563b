package vmtest

import (
	"strings"
	"testing"

	"unblend/tools/internal/control"
)

// TestWithoutDriver serves a pool where the ublk module is not loaded: everything but devices is
// there, the reason is said, and no restart is needed once the module is.
func TestWithoutDriver(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	g := newGuest(t)
	p := g.filePool()
	g.format(p)
	g.sh("modprobe -r ublk_drv")
	d := g.serve(p)
	st := g.status()
	if st.Daemon.Ublk || len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0].Message, "ublk_drv") {
		t.Errorf("without the driver: %+v", st.Warnings)
	}
	g.refused(6, "ublk_drv", "create", "web1", "--size=1G")
	g.do("create", "web1", "--size=1G", "--no-attach")
	g.refused(6, "ublk_drv", "attach", "web1")
	if v := g.volumes()["web1"]; v.State != control.VolumeDetached {
		t.Errorf("without the driver: %+v", v)
	}
	g.sh("modprobe ublk_drv")
	g.do("attach", "web1")
	disk := g.openDisk("/dev/unblend/web1", 1)
	g.write(disk, 10, 1)
	disk.Close()
	g.wellServed()
	g.stop(d)

	// A volume that was attached waits for the driver over a restart.
	g.sh("modprobe -r ublk_drv")
	d = g.serve(p)
	if st := g.status(); st.State == control.PoolOK && len(st.Warnings) == 0 {
		t.Error("nobody says that an attached volume has no device")
	}
	g.sh("modprobe ublk_drv")
	g.do("attach", "web1")
	g.reopen(disk, "/dev/unblend/web1")
	g.verify(disk)
	disk.Close()
	g.stop(d)
	g.nothingIsLeft()
}
