package vmtest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/operate"
)

// TestChurn creates, attaches, detaches, snapshots, clones, rolls back and removes volumes from several
// clients at once and kills the daemon in the middle, again and again. What it finds after each kill must
// agree: a device and a link for each attached volume, and none besides.
func TestChurn(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	g := newGuest(t)
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	for i := range number(t, "UNBLEND_KILLS", 4) {
		var wg sync.WaitGroup
		done := make(chan struct{})
		for client := range 3 {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(client)))
			wg.Go(func() { g.churn(rng, fmt.Sprintf("v%d-", client), done) })
		}
		time.Sleep(time.Duration(400+i%5*170) * time.Millisecond)
		d.Kill()
		close(done)
		wg.Wait()
		d = g.serve(p)
		g.Logf("kill %d: ready after %v with %d volumes", i+1, d.Ready.Round(time.Millisecond),
			g.agree())
	}
	g.wellServed()
	vs := g.volumes()
	var names []string // snapshots before their volumes
	for name := range vs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Compare(strings.Count(b, "@"), strings.Count(a, "@"))
	})
	for _, name := range names {
		v := vs[name]
		g.do("rm", name)
		if v.State == control.VolumeAttached && v.Device == "" {
			g.Errorf("volume %s is attached without a device", name)
		}
	}
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}

// churn asks for changes of volumes with a prefix until done is closed. Most requests make sense;
// that the others, and those during a kill, fail is no matter.
func (g *guest) churn(rng *rand.Rand, prefix string, done chan struct{}) {
	verbs := []string{
		"create", "create", "attach", "detach", "rm", "snapshot", "snapshot", "clone", "rollback", "rm @",
	}
	for {
		select {
		case <-done:
			return
		default:
		}
		verb := verbs[rng.IntN(len(verbs))]
		name := func() string { return fmt.Sprintf("%s%d", prefix, rng.IntN(4)) }
		args := []string{name()}
		switch verb {
		case "create":
			args = append(args, "--size=1G")
		case "snapshot", "rollback", "clone":
			args[0] += fmt.Sprintf("@s%d", rng.IntN(2))
			if verb == "clone" {
				args = append(args, name())
			}
		case "rm @":
			verb, args[0] = "rm", args[0]+fmt.Sprintf("@s%d", rng.IntN(2))
		}
		_, _ = g.ask(verb, args...)
	}
}

// agree compares the volumes that the daemon lists with the devices and links that there are, and
// returns how many volumes there are.
func (g *guest) agree() int {
	g.Helper()
	want := map[string]string{} // target by link
	vs := g.volumes()
	for name, v := range vs {
		if v.State == control.VolumeAttached {
			want["/dev/unblend/"+name] = v.Device
		}
	}
	links, err := filepath.Glob("/dev/unblend/*")
	if err != nil || len(links) != len(want) {
		g.Errorf("links %v, want %v", links, want)
	}
	for link, device := range want {
		if got, err := os.Readlink(link); got != device || err != nil {
			g.Errorf("%s leads to %q, want %s: %v", link, got, device, err)
		}
	}
	devices, err := filepath.Glob("/sys/class/ublk-char/*")
	if err != nil || len(devices) != len(want) {
		g.Errorf("devices %v, want those of %v: %v", devices, want, err)
	}
	return len(vs)
}

// manyVolumes is how many guests a host may have.
const manyVolumes = 50

// TestMany attaches the volumes of a whole host, kills the daemon while all are written, and wants
// all of them back in time, within the memory that the daemon may take.
func TestMany(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	g := newGuest(t)
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	var disks []string
	for i := range manyVolumes {
		disks = append(disks, g.create(fmt.Sprintf("guest%02d", i), "1G"))
	}
	begin := time.Now()
	g.writeAll(disks, "first")
	g.Logf("%d volumes written at once in %v", len(disks), time.Since(begin).Round(time.Millisecond))
	var wg sync.WaitGroup
	wg.Go(func() { g.writeAll(disks, "second") })
	time.Sleep(500 * time.Millisecond)
	peak := g.peakRSS(d)
	d.Kill()
	d = g.serve(p)
	wg.Wait()
	if n := g.wellServed().Daemon.Restored; n != manyVolumes {
		g.Errorf("%d volumes are back, want %d", n, manyVolumes)
	}
	for i, disk := range disks {
		out := g.sh(fmt.Sprintf("dd if=%s bs=64k count=4 iflag=direct status=none | tr -d '\\0'", disk))
		if !strings.HasPrefix(out, fmt.Sprintf("second %d;", i)) {
			g.Errorf("%s holds %.40q", disk, out)
		}
	}
	peak = max(peak, g.peakRSS(d))
	g.Logf("%d volumes back: ready after %v, peak memory %d MiB", manyVolumes,
		d.Ready.Round(time.Millisecond), peak>>20)
	if peak > maxRSS {
		g.Errorf("peak memory %d MiB, at most %d wanted", peak>>20, maxRSS>>20)
	}
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}

// writeAll writes 256 KiB to every disk, all at once.
func (g *guest) writeAll(disks []string, word string) {
	var wg sync.WaitGroup
	for i, disk := range disks {
		wg.Go(func() {
			_, err := g.try(fmt.Sprintf("yes '%s %d;' | dd of=%s bs=64k count=4 iflag=fullblock "+
				"oflag=direct status=none", word, i, disk))
			if err != nil {
				g.Error(err)
			}
		})
	}
	wg.Wait()
}

func (g *guest) peakRSS(d *operate.Daemon) int64 {
	g.Helper()
	n, err := d.PeakRSS()
	if err != nil {
		g.Fatal(err)
	}
	return n
}
