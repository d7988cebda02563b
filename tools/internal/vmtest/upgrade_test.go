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

	"unblend/tools/internal/device"
	"unblend/tools/internal/load"
	"unblend/tools/internal/operate"
)

// nextVersion is the version of the second build.
const nextVersion = "next-version"

// upgrades is the state of TestUpgrade.
type upgrades struct {
	*guest
	p       pool
	d       *operate.Daemon
	devices map[string]string // by name of the volume
	w       *load.Writer
	fio     *fioRun
	under   int // restarts that fio has lived through
}

// TestUpgrade ends the daemon in order while guests have their disks open and write, and starts
// another build of the program, to and fro; in the end the kernel kills the daemon because its
// memory has run out. Guests see a pause, no error, and keep their devices.
func TestUpgrade(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "")
		// -ldflags replaces what the environment says of it.
		next, err := build("unblend-next", "unblend/tools/unblend",
			"-ldflags=-checklinkname=0 -X main.version="+nextVersion)
		if err != nil {
			t.Fatalf("build the program once more: %v", err)
		}
		cfg.Files = append(cfg.Files, next)
		run(t, cfg)
		return
	}
	n := number(t, "UNBLEND_KILLS", 3)
	g := newGuest(t)
	u := &upgrades{guest: g, p: g.nullPool()}
	u.format(u.p)
	u.d = u.serve(u.p)
	job := fioJob{size: 64, seconds: 10 + 6*n}
	for _, name := range fourVolumes[:2] {
		job.disks = append(job.disks, u.create(name, "64M"))
	}
	disk := u.openDisk(u.create(fourVolumes[2], "64M"), 1)
	u.devices = u.attached()
	stop := u.write(disk)
	u.fio = u.startFio(job)
	for _, path := range job.disks { // a disk that nobody has open goes with the daemon, for fio to make a file
		u.eventually("fio has "+path+" open", time.Minute, func() bool {
			users, err := device.Users(path)
			return err == nil && strings.Contains(strings.Join(users, " "), "fio")
		})
	}
	for i := range n {
		u.upgrade(i)
	}
	u.outOfMemory()
	res := u.fio.wait()
	stop()
	u.verify(disk)
	disk.Close()
	u.Logf("%d upgrades and a lack of memory, fio lived through %d of %d restarts: %d errors, longest "+
		"request %v", n, u.under, n+2, res.errors(), res.longest().Round(time.Millisecond))
	// On Linux 7.3 a restart takes 30 s now and then (docs/ENGINE.md, Known limits): then fio has ended.
	if u.under == 0 && res.longest() < 20*time.Second {
		u.Error("fio has seen no restart")
	}
	u.wellServed()
	u.stop(u.d)
	u.nothingIsLeft()
	u.check(u.p)
}

// attached returns the devices by the names of the volumes.
func (u *upgrades) attached() map[string]string {
	u.Helper()
	m := map[string]string{}
	for name, v := range u.volumes() {
		m[name] = v.Device
	}
	return m
}

// write writes to a disk until the returned function is called.
func (u *upgrades) write(disk *load.Disk) (stop func()) {
	u.w = load.NewWriter(disk, 8, load.Mixed(disk.Size(), 128<<10), 1)
	ctx, cancel := context.WithCancel(u.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := u.w.Run(ctx, 0); err != nil {
			u.Error(err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// upgrade ends the daemon and starts the other build.
func (u *upgrades) upgrade(i int) {
	u.Helper()
	time.Sleep(time.Second)
	u.w.ResetPause()
	begin := time.Now()
	u.stop(u.d)
	gone := time.Since(begin)
	u.prog.Path = "/vm/unblend"
	if i%2 == 0 {
		u.prog.Path += "-next"
	}
	u.d = u.serve(u.p)
	version := u.status().Daemon.Version
	if (version == nextVersion) != (i%2 == 0) {
		u.Errorf("upgrade %d: %s serves version %s", i+1, u.prog.Path, version)
	}
	u.back(fmt.Sprintf("upgrade %d to %s: gone after %v", i+1, version, gone.Round(time.Millisecond)))
}

// back waits until the guests go on, on the devices that they had.
func (u *upgrades) back(what string) {
	u.Helper()
	u.progress([]*load.Writer{u.w})
	if u.fio.running() {
		u.under++
	}
	u.Logf("%s, ready %v after its start, pause %v", what, u.d.Ready.Round(time.Millisecond),
		u.w.Stats().Pause.Round(time.Millisecond))
	for name, device := range u.attached() {
		if device != u.devices[name] {
			u.Errorf("%s: volume %s is %s now, it was %s", what, name, device, u.devices[name])
		}
	}
}

// outOfMemory has the kernel kill the daemon, by a limit of its control group below what it has. The
// daemon protects itself against that, which is taken back here.
func (u *upgrades) outOfMemory() {
	u.Helper()
	const group = "/sys/fs/cgroup/unblend-test"
	u.sh("echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir " + group)
	u.Cleanup(func() { u.sh("rmdir " + group) })
	program, inside := u.prog.Path, filepath.Join(u.prog.Dir, "in-group")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs && exec %s \"$@\"\n", group, program)
	if err := os.WriteFile(inside, []byte(script), 0o755); err != nil {
		u.Fatal(err)
	}
	u.stop(u.d)
	u.prog.Path = inside
	u.d = u.serve(u.p)
	u.prog.Path = program
	u.back("in a group")
	u.kernelIsWell()
	u.sh("dmesg -C")
	u.w.ResetPause()
	u.sh(fmt.Sprintf("echo 0 >/proc/%d/oom_score_adj; "+
		"echo $(($(cat %s/memory.current) / 2)) >%[2]s/memory.max", u.d.PID(), group))
	u.eventually("the kernel kills the daemon", time.Minute, u.d.Ended)
	u.killedByKernel(group)
	u.d = u.serve(u.p)
	u.back("killed for lack of memory")
}

// killedByKernel wants the daemon to be gone because of its memory, and nothing else in the kernel's
// log than the words of that.
func (u *upgrades) killedByKernel(group string) {
	u.Helper()
	if events := u.sh("cat " + group + "/memory.events"); !strings.Contains(events, "oom_kill 1") {
		u.Errorf("the daemon is gone, but not for its memory: %s", events)
	}
	said := u.sh("dmesg")
	if !strings.Contains(said, fmt.Sprintf("Killed process %d ", u.d.PID())) {
		u.Errorf("the kernel does not say that it has killed process %d", u.d.PID())
	}
	for line := range strings.Lines(said) {
		if unwell.MatchString(line) && !strings.Contains(line, "Call Trace") {
			u.Errorf("kernel: %s", strings.TrimSpace(line))
		}
	}
	u.sh("dmesg -C")
}
