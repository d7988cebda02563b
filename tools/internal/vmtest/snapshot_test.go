package vmtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
	"unblend/tools/internal/operate"
)

// manyClones is how many clones one call makes here.
const manyClones = 1000

// snapshots is the state of TestSnapshots.
type snapshots struct {
	*guest
	p     pool
	d     *operate.Daemon
	disks map[string]*load.Disk // open, by name of the volume or snapshot
}

// TestSnapshots takes snapshots of two volumes at once under load, makes clones of one of them, reads
// and writes all of these, across a kill, and rolls back, renames, grows and removes them. What each
// holds is verified again and again: what is written to one must never show in another.
func TestSnapshots(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	g := newGuest(t)
	s := &snapshots{guest: g, p: g.nullPool(), disks: map[string]*load.Disk{}}
	g.format(s.p)
	s.d = g.serve(s.p)
	for i, name := range []string{"web", "db"} {
		s.disks[name] = g.openDisk(g.create(name, "32M"), uint32(i+1))
		g.write(s.disks[name], 150, uint64(i+1))
	}
	s.freeze()
	s.cloneAll()
	s.killed()
	s.back()
	s.rename()
	s.grow()
	s.imported()
	s.remove()
	s.restart()
}

// verifyAll compares all disks with what they must hold.
func (s *snapshots) verifyAll() {
	s.Helper()
	for name, disk := range s.disks {
		if _, err := disk.Verify(s.ctx); err != nil {
			s.Errorf("%s: %v", name, err)
		}
	}
}

// fork opens a snapshot or clone, which must hold what another one does.
func (s *snapshots) fork(name, of string) {
	s.Helper()
	disk, err := s.disks[of].Fork("/dev/unblend/"+name, strings.Contains(name, "@"))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { disk.Close() })
	s.disks[name] = disk
	s.verify(disk)
}

// close closes a disk and forgets it.
func (s *snapshots) close(name string) {
	s.Helper()
	if err := s.disks[name].Close(); err != nil {
		s.Error(err)
	}
	delete(s.disks, name)
}

// writing writes to disks until the returned function is called.
func (s *snapshots) writing(names ...string) (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	for i, name := range names {
		disk := s.disks[name]
		w := load.NewWriter(disk, 4, load.Mixed(disk.Size(), 64<<10), uint64(100+i))
		wg.Go(func() {
			if err := w.Run(ctx, 0); err != nil {
				s.Errorf("%s: %v", name, err)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// freeze takes a snapshot of both volumes, of which one is written meanwhile.
func (s *snapshots) freeze() {
	s.step("snapshot under load")
	stop := s.writing("db")
	time.Sleep(300 * time.Millisecond)
	before, _ := s.disks["db"].Numbers()
	begin := time.Now()
	s.do("snapshot", "web@a", "db@a")
	s.Logf("a snapshot of two volumes under load took %v", time.Since(begin).Round(time.Millisecond))
	_, last := s.disks["db"].Numbers()
	time.Sleep(300 * time.Millisecond)
	stop()
	s.do("attach", "web@a")
	s.do("attach", "db@a")
	s.fork("web@a", "web")
	if err := s.disks["db"].VerifyMoment(s.ctx, "/dev/unblend/db@a", before, last); err != nil {
		s.Errorf("db@a: %v", err)
	}
	s.do("detach", "db@a")
	s.sh("! dd if=/dev/zero of=/dev/unblend/web@a bs=4k count=1 oflag=direct 2>/dev/null")
	s.refused(1, "taken", "snapshot", "web@a")
	s.verifyAll()
}

// cloneAll makes one clone with a device and many without, and writes to some of them.
func (s *snapshots) cloneAll() {
	s.step("clones")
	s.do("clone", "web@a", "one", "--attach")
	begin := time.Now()
	s.do("clone", "web@a", "desk-%05d", fmt.Sprintf("--count=%d", manyClones), "--first=1")
	s.Logf("%d clones took %v", manyClones, time.Since(begin).Round(time.Millisecond))
	if n := len(s.volumes()); n != manyClones+5 {
		s.Errorf("%d volumes and snapshots, want %d", n, manyClones+5)
	}
	s.do("attach", "desk-00500")
	s.fork("one", "web@a")
	s.fork("desk-00500", "web@a")
	for i, name := range []string{"one", "web", "desk-00500"} {
		s.write(s.disks[name], 60, uint64(i+10))
		s.verifyAll()
	}
	s.do("snapshot", "web@b")
	s.do("attach", "web@b")
	s.fork("web@b", "web")
	s.write(s.disks["web"], 60, 20)
	s.verifyAll()
	v := s.volumes()
	if v["web"].Origin != "web@b" || v["web@b"].Origin != "web@a" || v["one"].Origin != "web@a" ||
		v["web@a"].Children != manyClones+2 || v["one"].State != control.VolumeAttached {
		s.Errorf("web %+v, web@a %+v, one %+v", v["web"], v["web@a"], v["one"])
	}
	s.wellServed()
}

// killed kills the daemon while everything is written, twice, once right behind a snapshot.
func (s *snapshots) killed() {
	s.step("kill under load")
	attached := len(s.disks)
	for i := range 2 {
		stop := s.writing("web", "db", "one", "desk-00500")
		time.Sleep(400 * time.Millisecond)
		if i > 0 {
			s.do("snapshot", "one@mid", "db@mid")
		}
		s.d.Kill()
		s.d = s.serve(s.p)
		time.Sleep(400 * time.Millisecond)
		stop()
		if n := s.status().Daemon.Restored; n != attached {
			s.Errorf("kill %d: %d devices are back, want %d", i+1, n, attached)
		}
		s.verifyAll()
	}
	if v := s.volumes()["web@a"]; !v.ReadOnly || v.State != control.VolumeAttached {
		s.Errorf("after kills: %+v", v)
	}
	s.wellServed()
}

// back rolls a volume back, once nobody has it open.
func (s *snapshots) back() {
	s.step("rollback")
	s.refused(7, `volume "web" is open by `, "rollback", "web@a")
	before := s.volumes()["web"]
	s.close("web")
	s.do("rollback", "web@a")
	if v := s.volumes()["web"]; v.Device != before.Device || v.Origin != "web@a" || v.ID == before.ID {
		s.Errorf("after a rollback: %+v, before %+v", v, before)
	}
	s.fork("web", "web@a")
	s.write(s.disks["web"], 60, 30)
	s.verifyAll()
}

// rename renames a volume that is written, with its snapshots.
func (s *snapshots) rename() {
	s.step("rename")
	stop := s.writing("web", "one")
	s.do("rename", "web", "www")
	s.do("rename", "www@b", "www@later")
	stop()
	for from, to := range map[string]string{"web": "www", "web@a": "www@a", "web@b": "www@later"} {
		s.disks[to] = s.disks[from]
		delete(s.disks, from)
		if _, err := os.Lstat("/dev/unblend/" + from); err == nil {
			s.Errorf("the link %s is left behind", from)
		}
	}
	s.agree()
	s.verifyAll()
	s.d.Kill()
	s.d = s.serve(s.p)
	s.agree()
	s.verifyAll()
	s.refused(1, "taken", "rename", "www", "one")
}

// grow makes a volume larger that is open. Where the kernel cannot, the device follows later.
func (s *snapshots) grow() {
	s.step("resize")
	const size, name = 48 << 20, "desk-00500"
	deviceSize := func() string { return s.sh("blockdev --getsize64 /dev/unblend/" + name) }
	s.refused(2, "can only grow", "resize", name, "--size=16M")
	s.do("resize", name, "--size=48M")
	v := s.volumes()[name]
	if v.DeviceSize == 0 && deviceSize() != fmt.Sprint(size) || v.Size != size {
		s.Errorf("the device has %s bytes: %+v", deviceSize(), v)
	}
	s.Logf("the live device has %s of %d bytes", deviceSize(), v.Size)
	s.d.Kill() // the next daemon recognizes the device, whatever its size
	s.d = s.serve(s.p)
	s.verifyAll()
	s.close(name)
	s.do("detach", name)
	s.do("attach", name)
	if v := s.volumes()[name]; v.DeviceSize != 0 || deviceSize() != fmt.Sprint(size) {
		s.Errorf("attached again, the device has %s bytes: %+v", deviceSize(), v)
	}
	s.sh("! dd if=/dev/unblend/" + name + " bs=1M skip=32 iflag=direct status=none | tr -d '\\0' | grep -q .")
}

// imported makes a volume of an image, and clones that.
func (s *snapshots) imported() {
	s.step("import")
	path := filepath.Join(s.TempDir(), "golden.img")
	s.sh("modprobe ext4; truncate -s 24M " + path + " && mkfs.ext4 -q -d /etc/init.d " + path)
	s.do("import", path, "golden")
	s.do("snapshot", "golden@v1")
	s.do("clone", "golden@v1", "guest", "--attach")
	s.sh("cmp " + path + " /dev/unblend/guest")
	s.refused(1, "taken", "import", path, "golden")
	s.refused(7, "unblend rm 'golden@*' golden --yes", "rm", "golden")
	s.do("rm", "golden@*", "golden", "--yes")
	s.sh("cmp " + path + " /dev/unblend/guest && e2fsck -fn /dev/unblend/guest")
	s.do("rm", "guest")
}

// remove removes most of what there is. Clones go on without what they come from.
func (s *snapshots) remove() {
	s.step("rm")
	s.refused(2, fmt.Sprintf("this would remove %d volumes and 0 snapshots", manyClones), "rm", "desk-*")
	begin := time.Now()
	s.do("rm", "desk-*", "--yes")
	s.Logf("rm of %d clones took %v", manyClones, time.Since(begin).Round(time.Millisecond))
	s.refused(7, "is open by ", "rm", "www@*", "www", "--yes")
	for _, name := range []string{"www", "www@a", "www@later"} {
		s.verify(s.disks[name])
		s.close(name)
	}
	s.refused(7, "unblend rm 'www@*' www --yes", "rm", "www")
	s.do("rm", "www@*", "www", "--yes")
	s.write(s.disks["one"], 60, 40)
	s.verifyAll()
	if v := s.volumes(); len(v) != 5 {
		s.Errorf("left: %+v, want one, one@mid, db, db@a and db@mid", v)
	}
	s.agree()
	s.wellServed()
}

// restart ends the daemon in order and starts it again.
func (s *snapshots) restart() {
	s.step("restart")
	for _, disk := range s.disks {
		disk.Close()
	}
	s.stop(s.d)
	s.nothingIsLeft()
	s.check(s.p)
	s.d = s.serve(s.p)
	for name, disk := range s.disks {
		s.reopen(disk, "/dev/unblend/"+name)
	}
	s.verifyAll()
	s.wellServed()
	for name, disk := range s.disks {
		disk.Close()
		s.do("detach", name)
	}
	s.do("rm", "*", "*@*", "--yes")
	s.checkpoint()
	s.stop(s.d)
	s.nothingIsLeft()
	s.check(s.p)
}
