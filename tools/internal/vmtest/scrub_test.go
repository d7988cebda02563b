package vmtest

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"unblend/log"
	"unblend/tools/internal/control"
)

// TestScrub scrubs a pool while fio writes and verifies: nothing is damaged. Then a block of the data
// device and the copy of the label on it are damaged under the daemon, and a scrub beside fio names the one
// and mends the other.
func TestScrub(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	g := newGuest(t)
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	disk := g.openDisk(g.create("gold", "24M"), 1)
	g.write(disk, 80, 1)
	g.do("snapshot", "gold@s")
	g.do("clone", "gold@s", "copy")
	g.checkpoint()
	path := g.create("web1", "64M")
	load := func() *fioRun {
		return g.startFio(fioJob{disks: []string{path}, size: 64, seconds: 20})
	}
	fio := load()
	clean := g.scrub(0)
	if clean.Damage() != 0 || clean.Blocks == 0 {
		g.Errorf("beside fio: %+v", clean)
	}
	g.Logf("beside fio: %d blocks and %d pages in %v", clean.Blocks, clean.Pages,
		clean.Ended.Sub(clean.Began))
	if r := fio.wait(); r.errors() > 0 {
		g.Errorf("beside a scrub: %v", r)
	}
	g.checkpoint()
	var lay control.Layout
	if err := json.Unmarshal([]byte(g.do("status", "gold@s", "--layout", "--json")), &lay); err != nil {
		g.Fatal(err)
	}
	damage := func(block int64) {
		g.sh(fmt.Sprintf("dd if=/dev/urandom of=%s bs=4k count=1 seek=%d oflag=direct status=none",
			p.paths[1], block))
	}
	damage(lay.First / log.BlockSize)
	damage(0) // a copy of the label
	fio = load()
	bad := g.scrub(5)
	if bad.BadBlocks != 1 || len(bad.Found) != 1 || bad.Found[0].At != lay.First ||
		!strings.HasPrefix(bad.Found[0].Volume, "gold") || bad.Repaired != 1 || bad.Damage() != 1 {
		g.Errorf("one block is damaged, at %d: %+v", lay.First, bad)
	}
	if r := fio.wait(); r.errors() > 0 {
		g.Errorf("beside the second scrub: %v", r)
	}
	if st := g.status(); st.State != control.PoolDegraded || st.Scrub.BadBlocks != 1 {
		g.Errorf("status: %s, %+v", st.State, st.Scrub)
	}
	g.followInterrupted()
	disk.Close()
	g.stop(d)
}

// scrub follows a scrub to its end and returns how it stands. exit is the exit code that it has to end
// with.
func (g *guest) scrub(exit int) control.ScrubStatus {
	g.Helper()
	out, err := exec.Command(g.prog.Path, "scrub", "--json", "--socket", g.prog.Socket()).Output()
	code := 0
	if ended, ok := err.(*exec.ExitError); ok {
		code = ended.ExitCode()
	}
	var doc control.ScrubResult
	if bad := json.Unmarshal(out, &doc); bad != nil || code != exit {
		g.Fatalf("scrub: %v, %v, want exit code %d: %s", err, bad, exit, out)
	}
	return doc.Scrub
}

// followInterrupted interrupts a call that follows a scrub: the scrub goes on.
func (g *guest) followInterrupted() {
	g.Helper()
	cmd := exec.CommandContext(g.ctx, "timeout", "-s", "INT", "2", g.prog.Path, "scrub", "--rate", "1M",
		"--socket", g.prog.Socket())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "the scrub goes on") {
		g.Errorf("interrupted: %v: %s", err, out)
	}
	if st := g.status(); st.Scrub.State != control.ScrubRunning {
		g.Errorf("after the interrupt: %+v", st.Scrub)
	}
	g.refused(5, "", "scrub", "--stop") // it has found the block again
	g.eventually("the scrub stops", 10*time.Second, func() bool {
		return g.status().Scrub.State == control.ScrubStopped
	})
}
