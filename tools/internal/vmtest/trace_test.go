package vmtest

import (
	"fmt"
	"math"
	"os/exec"
	"strings"
	"testing"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/bpftrace"
	"unblend/tools/internal/control"
	"unblend/tools/internal/operate"
	"unblend/tools/internal/vm"
)

// Figures of the trace may be off by that much, 0 to 1, of what a formula or the witness says.
const traceError = 0.02

// traceWrites is how many writes each of several writers does.
const traceWrites = 1200

// mostLost is the share of events that may be lost: none, but for those that two tasks hide which are
// preempted at one time on one processor, each in the middle of a program.
const mostLost = 0.0005

// tooMany reports whether more events were lost than may be.
func tooMany(lost, of uint64) bool { return float64(lost) > max(1, mostLost*float64(of)) }

// TestTrace runs in one machine what concerns tracing on this kernel: the tests of package bpf, which are
// replays and the programs at work, and live traces.
func TestTrace(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "")
		binary, err := vm.BuildTest(t.Context(), t.TempDir(), "unblend/bpf")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Files = append(cfg.Files, binary)
		run(t, cfg)
		return
	}
	for _, x := range []struct {
		name string
		run  func(*guest)
	}{
		{"bpf", (*guest).testBPF},
		{"destage", (*guest).traceDestage},
		{"blend", (*guest).traceBlend},
		{"record", (*guest).traceRecord},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(newGuest(t)) })
	}
}

// testBPF runs the tests of package bpf.
func (g *guest) testBPF() {
	cmd := exec.CommandContext(g.ctx, "/vm/bpf.test", "-test.v", "-test.short")
	out, err := cmd.CombinedOutput()
	g.Logf("%s", out)
	if err != nil {
		g.Error(err)
	}
}

// traceBlend traces one and four guests that each write in order, UNBLEND_WRITERS of them too if that is
// set. Whose turn it is is drawn, so the merged stream must be sequential by 1/n. What the log got is
// compared with what bpftrace saw.
func (g *guest) traceBlend() {
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	numbers := []int{1, 4}
	if more := number(g.T, "UNBLEND_WRITERS", 0); more > 4 {
		numbers = append(numbers, more)
	}
	var paths []string
	for i := range numbers[len(numbers)-1] {
		paths = append(paths, g.create(fmt.Sprintf("v%02d", i), "64M"))
	}
	g.step("start of bpftrace")
	w := g.witness(p.paths[0])
	for _, n := range numbers {
		g.step(fmt.Sprintf("%d writers", n))
		g.traceWriters(paths[:n], w)
	}
	g.step("")
	if err := w.Close(); err != nil {
		g.Error(err)
	}
	g.wellServed()
	g.stop(d)
	g.nothingIsLeft()
}

// witness has bpftrace count the writes to the log, which is on a device of its own.
func (g *guest) witness(path string) *bpftrace.Witness {
	g.Helper()
	disk, err := blocktrace.DeviceOf(path)
	if err != nil {
		g.Fatal(err)
	}
	for _, r := range g.status().Regions {
		if r.Class == "log" {
			w, err := bpftrace.Start(disk, r.Start, r.End)
			if err != nil {
				g.Fatal(err)
			}
			return w
		}
	}
	g.Fatal("status names no log")
	return nil
}

// traceWriters traces while each of the volumes is written in order.
func (g *guest) traceWriters(paths []string, w *bpftrace.Witness) {
	g.Helper()
	n := len(paths)
	before, err := w.Counts()
	if err != nil {
		g.Fatal(err)
	}
	tr := g.trace("blend")
	// One process, so that the order in which the kernel gets the writes is the one that is drawn.
	g.fio([]string{
		"[all]", "filename=" + strings.Join(paths, ":"), "file_service_type=random:1", "rw=write",
		"bs=4k", "direct=1", "ioengine=libaio", "iodepth=16",
		fmt.Sprintf("number_ios=%d", n*traceWrites),
	}).wait()
	var doc control.TraceBlend
	g.end(tr, &doc)
	after, err := w.Counts()
	if err != nil {
		g.Fatal(err)
	}
	g.judgeBlend(doc, n, after.Sub(before))
}

// judgeBlend compares a report with what must be in it, and with what the witness saw of the log.
func (g *guest) judgeBlend(doc control.TraceBlend, n int, log bpftrace.Counts) {
	g.Helper()
	var writers int
	for _, s := range doc.Streams {
		switch {
		case s.Writes == 0:
		case s.Kind == control.StreamVolume:
			writers++
			if s.Sequential < 1-traceError || s.Seeks > doc.EventsLost {
				g.Errorf("volume %s: %.4f sequential, %d seeks", s.Name, s.Sequential, s.Seeks)
			}
		case s.Kind == control.StreamMerged:
			all, share := uint64(n*traceWrites), 1/float64(n)
			if s.Writes+doc.EventsLost < all || math.Abs(s.Sequential-share) > traceError {
				g.Errorf("merged: %d writes of %d, %.4f sequential, by the formula %.4f", s.Writes,
					all, s.Sequential, share)
			}
		case s.Kind == control.StreamLog:
			g.Logf("log: %d writes, %.4f sequential; bpftrace saw %d, %.4f", s.Writes, s.Sequential,
				log.Writes, log.Share())
			if math.Abs(s.Sequential-log.Share()) > traceError || s.Sequential < 0.9 {
				g.Errorf("log: %.4f sequential, bpftrace saw %.4f", s.Sequential, log.Share())
			}
		}
	}
	g.Logf("%d writers: own %.4f, merged %.4f, log %.4f; %d events lost", n, doc.Blend.Own,
		doc.Blend.Merged, doc.Blend.Log, doc.EventsLost)
	if writers != n || doc.Blend.Log == 0 || !doc.Blend.SentKnown ||
		tooMany(doc.EventsLost, uint64(n*traceWrites)) {
		g.Errorf("%d of %d volumes wrote, %d events lost: %+v", writers, n, doc.EventsLost, doc.Blend)
	}
}

// trace begins to trace; end ends that and reads the report.
func (g *guest) trace(view string, more ...string) *operate.Trace {
	g.Helper()
	tr, err := g.prog.Trace(g.ctx, view, more...)
	if err != nil {
		g.Fatal(err)
	}
	return tr
}

func (g *guest) end(tr *operate.Trace, doc any) {
	g.Helper()
	if err := tr.End(doc); err != nil {
		g.Fatal(err)
	}
}
