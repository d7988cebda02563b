package vmtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/control"
)

// TestLoss takes devices away: for good, so that the last checkpoint has to do, and while guests
// write.
func TestLoss(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	t.Run("log fails", func(t *testing.T) { newGuest(t).logFails() })
	// Last, because the device of a volume whose newest content is lost stays as it is: its guest is
	// better left waiting than given the past.
	t.Run("log lost", func(t *testing.T) { newGuest(t).logLost() })
}

// checkpoint has the daemon write down what it knows, after moving everything out of the log.
func (g *guest) checkpoint() {
	g.Helper()
	c := control.NewClient(g.prog.Socket(), time.Minute)
	if _, err := c.Checkpoint(g.ctx, control.CheckpointRequest{Drain: true}); err != nil {
		g.Fatal(err)
	}
}

// sum returns a checksum of a device's bytes.
func (g *guest) sum(path string) string {
	g.Helper()
	return g.sh("sha256sum <" + path)
}

// logLost writes two volumes, one of which is detached before the last checkpoint, kills the daemon
// and takes the log device away.
func (g *guest) logLost() {
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	for i, name := range []string{"kept", "late"} {
		disk := g.openDisk(g.create(name, "16M"), uint32(i+1))
		g.write(disk, 50, uint64(i+1))
		disk.Close()
	}
	want := g.sum("/dev/unblend/kept")
	g.do("detach", "kept")
	g.checkpoint()
	at := g.status().Pool.Checkpoint
	g.sh("dd if=/dev/urandom of=/dev/unblend/late bs=64k count=64 oflag=direct status=none")
	d.Kill()
	if err := os.WriteFile("/sys/kernel/config/nullb/nulllog/power", []byte("0"), 0); err != nil {
		g.Fatal(err)
	}
	g.refused(5, "--without-log", "serve", p.paths[1])
	d = g.serve(p, "--without-log")
	st := g.status()
	if st.State != control.PoolReadOnly || !st.Pool.WithoutLog || st.Pool.Checkpoint.Before(at) {
		g.Errorf("without the log: %s, %+v", st.State, st.Pool)
	}
	text, when := fmt.Sprint(st.Warnings), st.Pool.Checkpoint.Format(time.RFC3339)
	if !strings.Contains(text, "late") || strings.Contains(text, "kept") ||
		!strings.Contains(text, when) {
		g.Errorf("warnings do not name volume late and time %s, or do name kept: %s", when, text)
	}
	if n := len(g.volumes()); n != 2 {
		g.Errorf("%d volumes without the log, want 2", n)
	}
	g.do("attach", "kept")
	if got := g.sum("/dev/unblend/kept"); got != want {
		g.Errorf("volume kept has changed")
	}
	g.sh("! dd if=/dev/zero of=/dev/unblend/kept bs=4k count=1 oflag=direct 2>/dev/null")
	g.refused(5, "read-only", "create", "more", "--size=1G")
	g.refused(5, "read-only", "rm", "kept")
	g.do("detach", "kept")
	g.stop(d)
}

// logFails makes the log device fail under load: the guests get errors, the pool turns read-only
// and says why, what is in the maps stays readable; with the device back, a new daemon has
// everything that was acknowledged.
func (g *guest) logFails() {
	p := g.nullPool()
	name, restore := g.switchable(p.paths[0])
	p = devicePool("/dev/mapper/"+name, p.paths[1])
	g.format(p)
	d := g.serve(p)
	disk := g.openDisk(g.create("web1", "16M"), 1)
	g.write(disk, 80, 1)
	g.checkpoint()
	want := g.sum("/dev/unblend/web1")
	g.sh("dmsetup suspend --noflush " + name + "; dmsetup load " + name + " --table \"0 " +
		g.sh("blockdev --getsz "+p.paths[0]) + " error\"; dmsetup resume --noudevsync " + name)
	g.sh("! dd if=/dev/zero of=/dev/unblend/web1 bs=4k count=1 oflag=direct 2>/dev/null")
	st := g.status()
	if st.State != control.PoolReadOnly || st.Pool.Reason == "" || len(st.Warnings) == 0 ||
		st.Devices[0].WriteErrors == 0 {
		g.Errorf("with a failed log: %s, %q, %+v, %+v", st.State, st.Pool.Reason, st.Warnings,
			st.Devices)
	}
	g.Logf("with a failed log: %+v", st.Warnings)
	if got := g.sum("/dev/unblend/web1"); got != want {
		g.Error("what is in the maps cannot be read any more")
	}
	g.refused(5, "read-only", "create", "more", "--size=1G")
	disk.Close()
	restore()
	g.stop(d)
	d = g.serve(p)
	g.reopen(disk, "/dev/unblend/web1")
	g.verify(disk)
	g.write(disk, 20, 2)
	g.verify(disk)
	disk.Close()
	g.wellServed()
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}

// switchable puts a device under one whose table can be changed, and returns its name and what
// makes it work again.
func (g *guest) switchable(path string) (name string, restore func()) {
	g.Helper()
	name = "switch"
	table := fmt.Sprintf("\"0 $(blockdev --getsz %s) linear %s 0\"", path, path)
	g.sh("modprobe dm-mod; dmsetup create " + name + " --noudevsync --table " + table +
		"; dmsetup mknodes")
	g.Cleanup(func() { g.sh("dmsetup remove --noudevsync --retry " + name) })
	return name, func() {
		g.Helper()
		g.sh("dmsetup suspend --noflush " + name + "; dmsetup load " + name + " --table " + table +
			"; dmsetup resume --noudevsync " + name)
	}
}
