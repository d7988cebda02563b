package vmtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/tools/internal/load"
)

// longestPause is how long guests may wait for a daemon that was killed and started again. An
// emulated machine with a host of its own takes two seconds; this is for one that has to share.
const longestPause = time.Minute

// TestKill kills the daemon with -9 again and again while fio and our own writers verify what they
// wrote; in half of the runs below slow devices, so that the dead daemon's writes are still on
// their way when the next one starts, and three threads serve.
func TestKill(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	kills := number(t, "UNBLEND_KILLS", 4)
	t.Run("direct", func(t *testing.T) {
		g := newGuest(t)
		g.kill(g.nullPool(), (kills+1)/2)
	})
	t.Run("delayed", func(t *testing.T) {
		g := newGuest(t)
		p := g.nullPool()
		g.kill(devicePool(g.delay(p.paths[0], 80), g.delay(p.paths[1], 200)), kills/2, "--shards", "3")
	})
}

// delay puts a device under one that holds writes for some milliseconds.
func (g *guest) delay(path string, ms int) string {
	g.Helper()
	name := "slow-" + path[strings.LastIndexByte(path, '/')+1:]
	g.sh(fmt.Sprintf("modprobe dm-delay; n=$(blockdev --getsz %s); "+
		"dmsetup create %s --noudevsync --table \"0 $n delay %s 0 0 %s 0 %d\"; dmsetup mknodes",
		path, name, path, path, ms))
	g.Cleanup(func() { g.sh("dmsetup remove --noudevsync --retry " + name) })
	return "/dev/mapper/" + name
}

// kill runs fio on two volumes and writers on two, and kills the daemon n times meanwhile.
func (g *guest) kill(p pool, n int, more ...string) {
	g.format(p)
	d := g.serve(p, more...)
	ctx, stop := context.WithCancel(g.ctx)
	defer stop()
	var wg sync.WaitGroup
	var writers []*load.Writer
	var disks []*load.Disk
	for i, name := range fourVolumes[2:] {
		disk := g.openDisk(g.create(name, "64M"), uint32(i+1))
		w := load.NewWriter(disk, 8, load.Mixed(disk.Size(), 128<<10), uint64(i+1))
		disks, writers = append(disks, disk), append(writers, w)
		wg.Go(func() {
			if err := w.Run(ctx, 0); err != nil {
				g.Error(err)
			}
		})
	}
	job := fioJob{size: 64, seconds: 10 + 6*n}
	for _, name := range fourVolumes[:2] {
		job.disks = append(job.disks, g.create(name, "64M"))
	}
	fio := g.startFio(job)
	starting := 0
	for i := range n {
		time.Sleep(time.Duration(1000+i%7*300) * time.Millisecond)
		begin := time.Now()
		d.Kill()
		gone := time.Since(begin)
		if i%3 == 1 && g.killStarting(p, time.Duration(50+i*131%800)*time.Millisecond, more) {
			starting++
		}
		d = g.serve(p, more...)
		g.Logf("kill %d: gone after %v, ready %v after its start", i+1,
			gone.Round(time.Millisecond), d.Ready.Round(time.Millisecond))
		g.progress(writers)
	}
	res := fio.wait()
	stop()
	wg.Wait()
	pause := res.longest()
	for i, disk := range disks {
		g.verify(disk)
		s := writers[i].Stats()
		pause = max(pause, s.Pause)
		g.Logf("writer %d: %d writes, %d MiB, longest pause %v", i, s.Writes, s.Bytes>>20,
			s.Pause.Round(time.Millisecond))
		disk.Close()
	}
	if pause > longestPause {
		g.Logf("longest pause %v, at most %v expected on a quiet machine", pause, longestPause)
	}
	g.Logf("%d kills, %d more of daemons that had not recovered yet, longest pause %v", n, starting,
		pause.Round(time.Millisecond))
	g.figures("kills of the daemon", figures{
		"kills": n + starting, "while_starting": starting, "fio_errors": res.errors(),
		"longest_pause_s": pause.Seconds(),
	})
	g.wellServed()
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}

// killStarting starts a daemon and kills it after a while, and reports whether it had not said by then
// that it is ready.
func (g *guest) killStarting(p pool, after time.Duration, more []string) bool {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.ctx, after)
	defer cancel()
	d, err := g.prog.Serve(ctx, p.serveArg(), more...)
	if err == nil {
		d.Kill()
		return false
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		g.Fatal(err)
	}
	return true
}

// progress waits until every writer got something done.
func (g *guest) progress(writers []*load.Writer) {
	g.Helper()
	for i, w := range writers {
		from := w.Stats().Writes
		g.eventually(fmt.Sprintf("writer %d goes on", i), 30*time.Second, func() bool {
			return w.Stats().Writes > from
		})
	}
}
