package vmtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/operate"
	"unblend/tools/internal/vm"
)

const (
	perAttached = 50 // one clone in so many is attached

	cloneLogMiB  = 4096 // the default size of a log
	cloneDataMiB = 600 << 10

	goldenSize = "20G"
	tailMiB    = 4   // of the image that no clone overwrites
	busyMiB    = 64  // a volume that has nothing to do with clones, and is always written
	fullLog    = 950 // thousandths
	fioFiles   = 10  // disks of one fio job

	cloneTime = 10 * time.Second // that 10,000 clones may take

	quietTime = 5 * time.Second // in which the load is measured when nothing else happens
)

// clones is the state of TestClones.
type clones struct {
	*guest
	p       pool
	d       *operate.Daemon
	n, nAtt int // clones, attached ones
	logMiB  int
	perDisk int // MiB that are written to each attached clone
	busy    *busyVolume
	before  control.Status // of the pool without image and clones

	withImage control.Status // without clones
	disks     []string
	count     figures
}

// TestClones makes many clones of one golden image in one call, attaches some, and lets fio write to
// all of those and verify, until the log is full. Then the daemon is killed: all must be back, without
// an error. In the end all clones are removed while another volume is written; what the pool has in
// use then must be what it had before the image came.
//
// It runs only where UNBLEND_CLONES says how many clones. With 10000, of which 200 are attached, and
// a log of the default size it takes a quarter of an hour and 7 GB of memory; UNBLEND_LOG_MIB=1024
// makes the log smaller.
func TestClones(t *testing.T) {
	n := asked(t, "UNBLEND_CLONES")
	if !inGuest() {
		cfg := machine(t, "")
		cfg.Memory = "7G"
		cfg.Drives = []vm.Drive{{Name: "data", Path: image(t, cloneDataMiB)}}
		run(t, cfg)
		return
	}
	c := &clones{
		guest: newGuest(t), n: n, nAtt: max(n/perAttached, 1), count: figures{},
		logMiB: number(t, "UNBLEND_LOG_MIB", cloneLogMiB),
	}
	c.perDisk = c.logMiB*23/20/c.nAtt + 1
	c.makePool()
	c.makeClones()
	c.attach()
	c.killed()
	c.removeAll()
	c.restart()
	c.figures("clones", c.count)
}

// makePool makes the pool, with one volume all of which has its place.
func (c *clones) makePool() {
	c.sh("mountpoint -q /sys/kernel/config || mount -t configfs c /sys/kernel/config")
	// The metadata area, a hundredth of the data device, is on both.
	c.p.paths = []string{c.nullBlock("nulllog", c.logMiB+cloneDataMiB/90), "/dev/vm/data"}
	c.p.init = []string{
		"--log", c.p.paths[0], "--data", c.p.paths[1], fmt.Sprintf("--log-size=%dM", c.logMiB),
		fmt.Sprintf("--segment-size=%dM", max(c.logMiB/256, 1)), // the default, or as many
	}
	c.format(c.p)
	// The log is to be full when the daemon is killed, so nothing is moved out of it before.
	c.d = c.serve(c.p, "--low=98", "--high=99")
	c.busy = c.newBusy("busy", busyMiB)
	c.checkpoint()
	c.before = c.wellServed()
}

// makeClones makes the image and the clones.
func (c *clones) makeClones() {
	c.step("golden image and clones")
	imageMiB := c.perDisk + tailMiB
	golden := c.create("golden", goldenSize)
	c.sh(fmt.Sprintf("dd if=/dev/urandom of=%s bs=1M count=%d oflag=direct iflag=fullblock "+
		"status=none", golden, imageMiB))
	c.do("snapshot", "golden@v1")
	c.checkpoint()
	c.withImage = c.wellServed()
	rss := c.rss()
	begin := time.Now()
	c.do("clone", "golden@v1", "desk-%05d", fmt.Sprintf("--count=%d", c.n), "--first=1")
	took := time.Since(begin)
	grown := c.rss() - rss
	c.Logf("%d clones of %s with %d MiB in it took %v, memory grew by %d bytes for each", c.n,
		goldenSize, imageMiB, took.Round(time.Millisecond), grown/int64(c.n))
	c.count["clones"], c.count["clone_s"] = c.n, took.Seconds()
	if st := c.wellServed(); st.Volumes.Total != c.n+2 {
		c.Errorf("%d volumes, want %d", st.Volumes.Total, c.n+2)
	}
	if took > cloneTime {
		c.Errorf("%d clones took %v, %v at most wanted", c.n, took, cloneTime)
	}
}

// rss returns what the daemon has in memory now.
func (c *clones) rss() int64 {
	c.Helper()
	return c.status().Daemon.RSS
}

// attach attaches some clones, spread over all.
func (c *clones) attach() {
	c.step("attach")
	client := control.NewClient(c.prog.Socket(), time.Minute)
	var times []time.Duration
	for i := range c.nAtt {
		name := fmt.Sprintf("desk-%05d", i*c.n/c.nAtt+2)
		begin := time.Now()
		r, err := client.Attach(c.ctx, control.AttachRequest{Name: name})
		if err != nil {
			c.Fatal(err)
		}
		times = append(times, time.Since(begin))
		c.disks = append(c.disks, r.Volume.Link)
	}
	slices.Sort(times)
	ms := func(i int) time.Duration { return times[i].Round(time.Millisecond) }
	c.Logf("%d attached: median %v each, fastest %v, slowest %v", c.nAtt, ms(c.nAtt/2), ms(0),
		ms(c.nAtt-1))
	c.count["attached"], c.count["attach_s"] = c.nAtt, times[c.nAtt/2].Seconds()
}

// startFio lets fio write all of the attached clones but for the image's tail, and verify it.
func (c *clones) startFio() *fioRun {
	lines := []string{
		"[global]", "direct=1", "ioengine=libaio", "iodepth=4", "bsrange=4k-256k", "randseed=7",
		"thread=1", "rw=randwrite", "verify=crc32c", "verify_fatal=1", "group_reporting=1",
	}
	for part := range slices.Chunk(c.disks, fioFiles) {
		lines = append(lines, "[clones]", "filename="+strings.Join(part, ":"),
			fmt.Sprintf("size=%dm", c.perDisk*len(part)))
	}
	return c.fio(lines)
}

// killed kills the daemon when the log is full, while everything is written.
func (c *clones) killed() {
	c.step("fio until the log is full")
	fio := c.startFio()
	stop := c.busy.start()
	full, client := control.Status{}, control.NewClient(c.prog.Socket(), time.Minute)
	c.eventually("the log is full", 10*time.Minute, func() bool {
		time.Sleep(500 * time.Millisecond)
		var err error
		if full, err = client.Status(c.ctx); err != nil {
			c.Fatal(err)
		}
		return full.Log.Pressure >= fullLog
	})
	peak := c.peakRSS(c.d)
	c.Logf("the log has %d MiB in use of %d, %d blocks in the index, peak memory %d MiB",
		full.Log.Used>>20, full.Log.Size>>20, full.Log.Index, peak>>20)
	c.busy.w.ResetPause()
	c.step("kill, recovery, the rest of fio")
	c.d.Kill()
	c.d = c.serve(c.p)
	c.Logf("ready %v after its start", c.d.Ready.Round(time.Millisecond))
	if n := c.status().Daemon.Restored; n != c.nAtt+2 {
		c.Errorf("%d volumes are back, want %d", n, c.nAtt+2)
	}
	c.busy.progress()
	pause := c.busy.w.Stats().Pause
	res := fio.wait()
	stop()
	peak = max(peak, c.peakRSS(c.d))
	c.Logf("%d volumes back; a writer waited %v, the longest request of fio took %v; peak memory "+
		"%d MiB; fio wrote %d MiB", c.nAtt+2, pause.Round(time.Millisecond),
		res.longest().Round(time.Millisecond), peak>>20, res.written()>>20)
	if peak > maxRSS {
		c.Errorf("peak memory %d MiB, at most %d wanted", peak>>20, maxRSS>>20)
	}
	for f, v := range map[string]any{
		"log_MiB": full.Log.Size >> 20, "log_permille": full.Log.Pressure, "index": full.Log.Index,
		"ready_s": c.d.Ready.Seconds(), "pause_s": pause.Seconds(), "fio_errors": res.errors(),
		"longest_s": res.longest().Seconds(), "rss_MiB": peak >> 20,
	} {
		c.count[f] = v
	}
	c.tails()
	c.wellServed()
}

// tails compares what clones share with the image to the image, on some of them.
func (c *clones) tails() {
	c.Helper()
	tail := func(path string) string {
		return c.sh(fmt.Sprintf("dd if=%s bs=1M skip=%d count=%d iflag=direct status=none | sha256sum",
			path, c.perDisk, tailMiB))
	}
	want := tail("/dev/unblend/golden")
	for i := 0; i < len(c.disks); i += max(len(c.disks)/8, 1) {
		if tail(c.disks[i]) != want {
			c.Errorf("%s has not the image's tail", c.disks[i])
		}
	}
}

// removeAll removes all clones, then the image, while another volume is written.
func (c *clones) removeAll() {
	c.step("rm of all clones under load")
	c.checkpoint()
	stop := c.busy.start()
	quiet := c.busy.during(func() { time.Sleep(quietTime) })
	call := c.busy.during(func() { c.do("rm", "desk-*", "--yes") })
	freeing := c.busy.during(func() { c.freed(c.withImage) })
	after := c.busy.during(func() { time.Sleep(quietTime) })
	stop()
	c.Logf("rm of %d clones returned after %v, all space was back after another %v; a volume was "+
		"written at %v before, %v during the call, %v until the space was back, %v then", c.n,
		call.took.Round(time.Millisecond), freeing.took.Round(time.Millisecond), quiet, call,
		freeing, after)
	for f, r := range map[string]rate{"rm": call, "freeing": freeing} {
		c.count[f+"_s"] = r.took.Seconds()
		c.count[f+"_load"] = r.perSecond() / max(quiet.perSecond(), after.perSecond())
	}
	c.step("rm of the image")
	c.do("rm", "golden@*", "golden", "--yes")
	c.freed(c.before)
	c.checkpoint()
	c.sameSpace(c.before, c.wellServed())
	c.agree()
}

// restart ends the daemon in order and starts it again.
func (c *clones) restart() {
	c.step("restart")
	c.busy.disk.Close()
	c.stop(c.d)
	c.nothingIsLeft()
	c.check(c.p)
}
