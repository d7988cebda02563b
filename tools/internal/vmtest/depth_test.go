package vmtest

import (
	"fmt"
	"testing"
	"time"

	"unblend/tools/internal/control"
)

// deepPoolMiB is the size of the capacity device of TestDepth. Only what is written of it takes memory.
const deepPoolMiB = 32 << 10

// TestDepth takes many snapshots of a volume that is written all the time, and removes every second
// of them, still under load: time until the call returns and until the space is back, and what both
// cost the load. Then the others go, and what is in use must be what it was before the first.
//
// It runs only where UNBLEND_SNAPSHOTS says how many, such as 500.
func TestDepth(t *testing.T) {
	n := asked(t, "UNBLEND_SNAPSHOTS")
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	d := &depth{guest: newGuest(t), n: n, count: figures{"snapshots": n}}
	d.sh("mountpoint -q /sys/kernel/config || mount -t configfs c /sys/kernel/config")
	// A snapshot of a volume that is written all over costs a page for each MiB: the metadata area, a
	// hundredth of the pool, has to hold them.
	p := devicePool(d.nullBlock("nulllog", deepPoolMiB/64), d.nullBlock("nulldata", deepPoolMiB))
	d.format(p)
	daemon := d.serve(p)
	d.client = control.NewClient(d.prog.Socket(), 10*time.Minute)
	d.web = d.newBusy("web", 32)
	d.checkpoint()
	before := d.wellServed()
	stop := d.web.start()
	d.take()
	d.removeHalf()
	stop()
	d.step("rm of the others")
	d.do("rm", "web@*", "--yes")
	d.freed(before)
	d.checkpoint()
	d.sameSpace(before, d.wellServed())
	d.verify(d.web.disk)
	if peak := d.peakRSS(daemon); peak > maxRSS {
		d.Errorf("peak memory %d MiB, at most %d wanted", peak>>20, maxRSS>>20)
	}
	d.step("check")
	d.web.disk.Close()
	d.stop(daemon)
	d.nothingIsLeft()
	d.check(p)
	d.figures("depth", d.count)
}

// depth is the state of TestDepth.
type depth struct {
	*guest
	n      int // snapshots
	client *control.Client
	web    *busyVolume
	count  figures
}

// take takes the snapshots. One that is taken while no write waits for it is compared with the volume
// as it was; the last one is looked at again when others have gone.
func (d *depth) take() {
	d.step("snapshots under load")
	quiet := d.web.during(func() { time.Sleep(quietTime) })
	taking := d.web.during(func() {
		for i := range d.n {
			r := control.SnapshotRequest{Volumes: []string{"web"}, Name: fmt.Sprintf("s%04d", i)}
			if _, err := d.client.Snapshot(d.ctx, r); err != nil {
				d.Fatal(err)
			}
		}
	})
	deep := d.web.during(func() { time.Sleep(quietTime) })
	each := taking.took / time.Duration(d.n)
	d.Logf("%d snapshots under load took %v each; the volume was written at %v before, %v "+
		"meanwhile, %v then", d.n, each.Round(time.Microsecond), quiet, taking, deep)
	d.count["snapshot_s"], d.count["deep_load"] = each.Seconds(), deep.perSecond()/quiet.perSecond()
}

// removeHalf removes every second snapshot in one call. The one before the last one stays what it was.
func (d *depth) removeHalf() {
	d.step("rm of every second snapshot under load")
	kept := fmt.Sprintf("web@s%04d", (d.n-1)/2*2)
	d.do("attach", kept)
	want := d.sum("/dev/unblend/" + kept)
	args := []string{}
	for i := 1; i < d.n; i += 2 {
		args = append(args, fmt.Sprintf("web@s%04d", i))
	}
	quiet := d.web.during(func() { time.Sleep(quietTime) })
	d.checkpoint() // so that the call does not find what it would have had to wait for anyway
	full := d.space()
	call := d.web.during(func() { d.do("rm", append(args, "--yes")...) })
	freeing := d.web.during(d.gone)
	after := d.web.during(func() { time.Sleep(quietTime) })
	left := d.space()
	d.Logf("rm of %d of %d snapshots returned after %v, nothing of them was left after another %v; "+
		"the volume was written at %v before, %v during the call, %v until the space was back, %v "+
		"then; data in use went from %d to %d MiB", len(args), d.n,
		call.took.Round(time.Millisecond), freeing.took.Round(time.Millisecond), quiet, call,
		freeing, after, full>>20, left>>20)
	for f, r := range map[string]rate{"rm": call, "freeing": freeing} {
		d.count[f+"_s"] = r.took.Seconds()
		d.count[f+"_load"] = r.perSecond() / max(quiet.perSecond(), after.perSecond())
	}
	if got := d.sum("/dev/unblend/" + kept); got != want {
		d.Errorf("%s has changed", kept)
	}
	d.do("detach", kept)
}

// space returns how many bytes of data have a place.
func (d *depth) space() int64 {
	d.Helper()
	data, _ := used(d.wellServed())
	return data
}
