package vmtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/faultdisk"
	"unblend/tools/internal/operate"
	"unblend/ublk"

	"golang.org/x/sys/unix"
)

const (
	cutDepth      = 6 // workers of each volume
	cutVolumeSize = 8 << 20
	cutPatience   = 2 * time.Minute  // for requests to be answered after a restart
	cutCheckEvery = 4                // cycles
	cutWriteTime  = 15 * time.Second // at most, before a cut
)

// TestPowerCut cuts the power under log and data device at one instant, again and again, while four
// volumes are written, and kills the daemon with it. The devices stay, and with them the requests
// that were not answered: the next daemon gets them again. When it has answered them, every sector
// must hold what was acknowledged last.
//
// In half of the cycles the disks are slow, so that writes are under way at the cut; in a third the
// power fails again while the daemon recovers. The journal is this process's memory.
func TestPowerCut(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	cuts := number(t, "UNBLEND_CUTS", 3)
	c := newCutter(t, cutDisks())
	c.g.format(c.p)
	c.start()
	c.makeVolumes()
	for i := range cuts {
		c.cycle(i)
	}
	c.g.stop(c.d)
	c.g.check(c.p)
	c.report(cuts)
}

// TestPowerCutLying shows that TestPowerCut can fail: disks that say that they have made durable
// what they have not lose writes.
func TestPowerCutLying(t *testing.T) {
	if number(t, "UNBLEND_CUTS", 3) < 5 {
		t.Skip("needs UNBLEND_CUTS=5 or more")
	}
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	disks := cutDisks()
	for i := range disks {
		disks[i].File = filepath.Join(t.TempDir(), disks[i].Name)
	}
	c := newCutter(t, disks)
	c.g.format(c.p)
	c.start()
	c.makeVolumes()
	// In order, so that what is here from before the lies survives, volumes and all.
	c.closeVolumes()
	c.g.stop(c.d)
	c.closeDisks()
	for i := range disks {
		disks[i].Lying = true
	}
	c.openDisks(disks)
	c.start()
	c.openVolumes()
	for i := range 5 {
		c.write(i)
		c.cut(uint64(i), faultdisk.Prefix)
		c.attach()
		c.start()
		c.answered()
		if f := c.look(); f.wrong > 0 {
			t.Logf("cycle %d: %d acknowledged writes are lost, %d sectors", i, f.lost, f.wrong)
			return
		}
	}
	t.Error("disks that lie have lost nothing: this test sees nothing")
}

// cutDisks are a log device and a data device.
func cutDisks() []faultdisk.DiskConfig {
	return []faultdisk.DiskConfig{
		{Name: "log", Size: 96 << 20}, {Name: "data", Size: 512 << 20},
	}
}

// cutter cuts the power of a pool.
type cutter struct {
	g       *guest
	p       pool // its devices are in the order of the disks
	names   []string
	srv     *faultdisk.Server
	d       *operate.Daemon
	ready   time.Duration // how long the last start took
	vols    []*cutVolume
	writers *cutWriters
	points  *checkpoints

	total struct {
		acks, recoveries, checks int
		harmful                  int // cuts under load of disks that had something to lose
		sectors, dropped         int // in caches or under way; of them not kept
		findings                 cutFindings
	}
}

func newCutter(t *testing.T, disks []faultdisk.DiskConfig) *cutter {
	t.Helper()
	c := &cutter{g: newGuest(t)}
	c.g.sh(fmt.Sprintf("modprobe nbd nbds_max=%d", len(disks)))
	var paths []string
	for i, d := range disks {
		c.names = append(c.names, d.Name)
		paths = append(paths, fmt.Sprintf("/dev/nbd%d", i))
	}
	c.p = devicePool(paths...)
	c.openDisks(disks)
	t.Cleanup(c.end)
	return c
}

func (c *cutter) openDisks(disks []faultdisk.DiskConfig) {
	c.g.Helper()
	var err error
	if c.srv, err = faultdisk.New(faultdisk.Config{Disks: disks}); err != nil {
		c.g.Fatal(err)
	}
	c.attach()
}

// attach makes the disks the kernel's, and looks whether it shows what they hold.
func (c *cutter) attach() {
	c.g.Helper()
	for i, path := range c.p.paths {
		if err := c.srv.Attach(c.names[i], path); err != nil {
			c.g.Fatal(err)
		}
	}
	want, got := make([]byte, cutBlock), make([]byte, cutBlock)
	for i, path := range c.p.paths {
		if err := c.srv.ReadAt(c.names[i], want, 0); err != nil {
			c.g.Fatal(err)
		}
		if err := readFirst(path, got); err != nil || !bytes.Equal(got, want) {
			c.g.Fatalf("%s: the kernel shows % x, the disk has % x; %v", path, got[:64], want[:64],
				err)
		}
	}
}

// readFirst reads the start of a device, past what a cache may hold of it.
func readFirst(path string, p []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return err
	}
	_, err = io.ReadFull(f, p)
	return err
}

func (c *cutter) closeDisks() {
	c.g.Helper()
	for _, path := range c.p.paths {
		if err := c.srv.Detach(path); err != nil {
			c.g.Error(err)
		}
	}
	if err := c.srv.Close(); err != nil {
		c.g.Error(err)
	}
	c.srv = nil
}

// end leaves nothing behind, however the test ended: a request that nobody answers would hold up
// the end of the machine.
func (c *cutter) end() {
	if c.d != nil {
		c.d.Kill()
	}
	ctl, err := ublk.OpenControl()
	if err != nil {
		c.g.Error(err)
		return
	}
	defer ctl.Close()
	left, err := ctl.Devices(cutPatience)
	if err != nil {
		c.g.Error(err)
	}
	for _, info := range left {
		if err := ctl.Stop(info.ID, cutPatience); err != nil {
			c.g.Errorf("stop device %d: %v", info.ID, err)
		}
	}
	if c.writers != nil {
		c.writers.wait(cutPatience)
	}
	c.closeVolumes()
	for _, info := range left {
		if err := ctl.Delete(info.ID, cutPatience); err != nil {
			c.g.Errorf("delete device %d: %v", info.ID, err)
		}
	}
	if c.srv != nil {
		c.closeDisks()
	}
}

func (c *cutter) start() {
	c.g.Helper()
	c.d = c.g.serve(c.p)
	c.ready = c.d.Ready
}

func (c *cutter) makeVolumes() {
	c.g.Helper()
	for i, name := range fourVolumes {
		c.g.create(name, fmt.Sprint(cutVolumeSize))
		c.vols = append(c.vols, newCutVolume(uint32(i+1), name, cutVolumeSize))
	}
	c.openVolumes()
}

func (c *cutter) openVolumes() {
	c.g.Helper()
	for _, v := range c.vols {
		if err := v.openAt("/dev/unblend/" + v.name); err != nil {
			c.g.Fatal(err)
		}
	}
}

func (c *cutter) closeVolumes() {
	for _, v := range c.vols {
		if v.f != nil {
			v.f.Close()
			v.f = nil
		}
	}
}

// write starts the writers, and checkpoints, and returns at the moment of the cut.
func (c *cutter) write(cycle int) {
	c.writers = startCutWriters(context.Background(), c.vols, cutDepth, uint64(cycle))
	c.points = startCheckpoints(c.g.ctx, c.g.prog.Socket())
	rng := cutRand(cycle)
	// By count, because time means little on a busy machine; and not always at an acknowledgement.
	count, begin := 100+rng.IntN(500), time.Now()
	for c.acknowledged() < count && time.Since(begin) < cutWriteTime {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(time.Duration(rng.IntN(50_000)) * time.Microsecond)
}

// acknowledged returns how many requests of all volumes were, in this cycle.
func (c *cutter) acknowledged() (n int) {
	for _, v := range c.vols {
		n += v.acknowledged()
	}
	return n
}

// cutRand is the source of a cycle's choices.
func cutRand(cycle int) *rand.Rand { return rand.New(rand.NewPCG(uint64(cycle), 7)) }

// cut kills the daemon and cuts the power. The daemon must not see how its requests fail, so it is
// sent the signal first; its requests end with the cut, so it is not waited for before.
func (c *cutter) cut(seed uint64, mode faultdisk.Mode) {
	c.g.Helper()
	if err := syscall.Kill(c.d.PID(), syscall.SIGKILL); err != nil {
		c.g.Fatal(err)
	}
	if c.lose(seed, mode) > 0 {
		c.total.harmful++
	}
	c.d.Kill()
	c.writers.stop()
	c.points.end()
}

// lose cuts the power and counts what that did. It returns how many sectors were not durable.
func (c *cutter) lose(seed uint64, mode faultdisk.Mode) int {
	c.g.Helper()
	rep, err := c.srv.Cut(seed, mode)
	if err != nil {
		c.g.Fatal(err)
	}
	sectors, dropped, text := 0, 0, ""
	for _, d := range rep.Disks {
		sectors, dropped = sectors+d.Sectors, dropped+d.Durable+d.Older
		text += fmt.Sprintf("; %s: %d writes under way, %d sectors not durable, %d dropped", d.Name,
			d.InFlight, d.Sectors, d.Durable+d.Older)
	}
	c.g.Logf("  cut keeps %s%s", rep.Mode, text)
	c.total.sectors += sectors
	c.total.dropped += dropped
	return sectors
}

// cycle is one power cut and what follows.
func (c *cutter) cycle(i int) {
	c.g.Helper()
	begin := time.Now()
	rng := cutRand(i)
	c.slow(rng, i%2 == 1)
	c.write(i)
	mode := faultdisk.Random
	if i%5 == 3 {
		mode = faultdisk.None
	}
	acked, wrote := c.acknowledged(), time.Since(begin)
	c.cut(rng.Uint64(), mode)
	c.slow(rng, false)
	c.attach()
	for _, err := range c.writers.failed() {
		c.g.Errorf("before the next daemon: %v", err)
	}
	if i%cutCheckEvery == 0 {
		c.g.check(c.p)
		c.total.checks++
	}
	if i%3 == 2 {
		c.cutRecovery(rng)
	}
	c.start()
	c.answered()
	held := c.acknowledged() - acked
	c.total.acks += acked + held
	f := c.look()
	c.total.findings.add(f)
	for _, text := range f.first {
		c.g.Errorf("cycle %d: %s", i, text)
	}
	c.g.wellServed()
	c.g.Logf("cycle %d: %.1f s, %.1f of them under load, %.1f until the daemon was ready; "+
		"%d acknowledged before the cut, %d after it, %d lost; %d sectors verified, %d wrong", i,
		time.Since(begin).Seconds(), wrote.Seconds(), c.d.Ready.Seconds(), acked, held, f.lost,
		f.sectors, f.wrong)
	if c.g.Failed() {
		c.g.FailNow()
	}
}

// slow makes the disks slow, or not.
func (c *cutter) slow(rng *rand.Rand, on bool) {
	c.g.Helper()
	c.srv.Heal()
	if !on {
		return
	}
	if err := slowDisks(c.srv, rng); err != nil {
		c.g.Fatal(err)
	}
}

// cutRecovery starts a daemon and cuts the power before it is ready, or about then.
func (c *cutter) cutRecovery(rng *rand.Rand) {
	c.g.Helper()
	cmd := exec.Command(c.g.prog.Path, "serve", c.p.serveArg(), "--socket", c.g.prog.Socket())
	if err := cmd.Start(); err != nil {
		c.g.Fatal(err)
	}
	time.Sleep(time.Duration(rng.Float64() * float64(c.ready)))
	if err := cmd.Process.Kill(); err != nil {
		c.g.Fatal(err)
	}
	c.lose(rng.Uint64(), faultdisk.Random)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		c.g.Errorf("the daemon that was to be killed ended by itself: %v", cmd.ProcessState)
	}
	c.total.recoveries++
	c.attach()
}

// answered waits until the requests that a cut held up are answered.
func (c *cutter) answered() {
	c.g.Helper()
	for _, err := range c.writers.wait(cutPatience) {
		c.g.Error(err)
	}
	if c.g.Failed() {
		c.g.Fatalf("the daemon says: %s", c.g.do("status", "--json"))
	}
}

// look verifies all volumes.
func (c *cutter) look() (all cutFindings) {
	c.g.Helper()
	for _, v := range c.vols {
		f, err := v.verify(0)
		if err != nil {
			c.g.Fatal(err)
		}
		all.add(f)
	}
	return all
}

// report prints the totals, and fails the test if the cuts were harmless.
func (c *cutter) report(cuts int) {
	c.g.Helper()
	t := &c.total
	c.g.Logf("%d power cuts under load, %d in recovery; acknowledged requests: %d, lost: %d; "+
		"sectors verified: %d, wrong: %d; sectors not durable at a cut: %d, in %d cuts, "+
		"dropped: %d; %d checks of what a cut left", cuts, t.recoveries, t.acks, t.findings.lost,
		t.findings.sectors, t.findings.wrong, t.sectors, t.harmful, t.dropped, t.checks)
	c.g.figures("power cuts", figures{
		"cuts": cuts, "in_recovery": t.recoveries, "acknowledged": t.acks, "lost": t.findings.lost,
		"sectors": t.findings.sectors, "wrong": t.findings.wrong, "not_durable": t.sectors,
		"dropped": t.dropped,
	})
	if t.acks < 50*cuts || 2*t.harmful < cuts || t.dropped == 0 {
		c.g.Errorf("%d acknowledged requests, %d cuts with something to lose, %d sectors dropped: "+
			"that shows nothing", t.acks, t.harmful, t.dropped)
	}
}

// checkpoints asks a daemon for one checkpoint after the other, until it is gone.
type checkpoints struct{ stop, ended chan struct{} }

func startCheckpoints(ctx context.Context, socket string) *checkpoints {
	c := &checkpoints{make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(c.ended)
		client := control.NewClient(socket, 0)
		for i := 0; ; i++ {
			select {
			case <-c.stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			drain := control.CheckpointRequest{Drain: i%2 == 1}
			if _, err := client.Checkpoint(ctx, drain); err != nil {
				return // the daemon was killed; if not, its next start shows it
			}
		}
	}()
	return c
}

func (c *checkpoints) end() {
	close(c.stop)
	<-c.ended
}
