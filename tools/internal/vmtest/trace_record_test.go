package vmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/tracefile"
)

// recorded is a trace that was recorded in the machine.
type recorded struct {
	streams map[string]control.TraceEventsStream
	events  []control.TraceEvent
}

func (r *recorded) Head(control.TraceEvents) error { return nil }

func (r *recorded) Stream(s control.TraceEventsStream) error {
	r.streams[s.Kind+" "+s.Name] = s
	return nil
}

func (r *recorded) Event(e control.TraceEvent) error {
	r.events = append(r.events, e)
	return nil
}

// bytes returns how many bytes of some requests there are.
func (r *recorded) bytes(kind, name, op string) (n int64) {
	for _, e := range r.events {
		if e.Kind == kind && e.Op == op && (name == "" || e.Name == name) {
			n += e.Bytes
		}
	}
	return n
}

// mixedWriters returns a fio job of one writer for each volume: every other one writes in order, the
// rest where chance will have it.
func mixedWriters(paths []string, more ...string) []string {
	lines := append([]string{"[global]", "direct=1", "ioengine=libaio", "iodepth=4", "randseed=5"}, more...)
	for i, path := range paths {
		rw := []string{"write", "randwrite"}[i%2]
		lines = append(lines, fmt.Sprintf("[vm%02d]", i+1), "filename="+path, "rw="+rw)
	}
	return lines
}

// startTime is how long a trace may take to begin: the kernel verifies its programs, which takes long on
// an emulated processor beside others.
const startTime = 90 * time.Second

// recordBlock is the size of the guests' writes.
const recordBlock = 16 << 10

// traceRecord records what two guests write, and compares it with what they wrote: nothing is missing,
// the log has it all, and there is a picture of it. Meanwhile their times are counted.
func (g *guest) traceRecord() {
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	paths := []string{g.create("vm01", "64M"), g.create("vm02", "64M")}
	g.refused(3, "nosuch", "trace", "events", "--volume", "nosuch")
	file := filepath.Join(g.TempDir(), "trace")

	g.step("record")
	stop := g.tracer("trace", "record", file, "--seconds=10min", "--json")
	g.eventually("the record begins", startTime, func() bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), `"vm02"`)
	})
	stopTimes := g.tracer("trace", "latency", "--json")
	const size = 6 // MiB for each
	fio := g.fio(mixedWriters(paths, fmt.Sprintf("io_size=%dm", size), "bs=16k"))
	res := fio.wait()
	g.compareTimes(stopTimes(), res)
	out := stop()
	var sum control.TraceEventsEnd
	err := json.Unmarshal([]byte(out), &sum)
	if err != nil || sum.Dropped != 0 || tooMany(sum.Lost, sum.Events) {
		g.Errorf("%v, %s", err, out)
	}
	g.compareRecord(file, int64(sum.Lost))
	svg := file + ".svg"
	if out := g.do("trace", "plot", file); !strings.HasPrefix(out, svg+": ") {
		g.Error(out)
	}
	if text, err := os.ReadFile(svg); err != nil || !strings.Contains(string(text), "vm02") {
		g.Errorf("%v, %.200s", err, text)
	}
	g.stop(d)
	g.nothingIsLeft()
}

// tracer starts a trace. What it returns interrupts it and returns what it printed.
func (g *guest) tracer(args ...string) (stop func() string) {
	g.Helper()
	cmd := exec.Command(g.prog.Path, append(args, "--socket", g.prog.Socket())...)
	said, err := os.Create(filepath.Join(g.TempDir(), "said"))
	if err != nil {
		g.Fatal(err)
	}
	defer said.Close()
	complaints := func() string {
		text, _ := os.ReadFile(said.Name())
		return string(text)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, said
	if err := cmd.Start(); err != nil {
		g.Fatal(err)
	}
	g.eventually(args[1]+" begins", startTime, func() bool {
		return strings.Contains(complaints(), "unblend: ")
	})
	return func() string {
		g.Helper()
		err := cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); err != nil || code != control.ExitInterrupted {
			g.Errorf("%s: exit code %d, %v, %s", strings.Join(args, " "), code, err, complaints())
		}
		return out.String()
	}
}

// compareTimes holds what was counted of the times of two guests against what fio has: no part is longer
// than the whole, and most writes could be told apart.
func (g *guest) compareTimes(out string, res fioResult) {
	g.Helper()
	var doc control.TraceLatency
	const writes = 6 << 20 / recordBlock
	if err := json.Unmarshal([]byte(out), &doc); err != nil || tooMany(doc.Lost, writes) {
		g.Fatalf("%v, %s", err, out)
	}
	var longest time.Duration
	found := 0
	for _, r := range doc.Rows {
		if r.Kind != control.StreamVolume || r.Op != control.OpWrite {
			continue
		}
		found++
		longest = max(longest, time.Duration(1)<<len(r.Total.Histogram))
		if r.Requests > writes || r.Requests+doc.Lost < writes || r.Split < r.Requests*8/10 || r.Batch == nil {
			g.Errorf("%s: %d writes of 16 KiB, %d told apart", r.Name, r.Requests, r.Split)
			continue
		}
		g.Logf("%s: %d ns: queue %d, device %d; of %d: batch %d, log %d, reply %d", r.Name, r.Total.Mean,
			r.Queue.Mean, r.Device.Mean, r.Split, r.Batch.Mean, r.Log.Mean, r.Reply.Mean)
		if d := r.Total.Mean - r.Queue.Mean - r.Device.Mean; d < -2 || d > 2 {
			g.Errorf("%s: queue and device are not all of it: %+v", r.Name, r)
		}
	}
	if found != 2 || longest/4 > res.longest() {
		g.Errorf("%d volumes, the longest request took %v, to fio %v", found, longest/2, res.longest())
	}
}

// compareRecord holds a record of two guests, one of which writes in order, against what they did. Some
// events may be lost, of a guest's writes or of the log's larger ones.
func (g *guest) compareRecord(file string, lost int64) {
	g.Helper()
	f, err := os.Open(file)
	if err != nil {
		g.Fatal(err)
	}
	defer f.Close()
	r := recorded{streams: map[string]control.TraceEventsStream{}}
	end, whole, err := tracefile.Read(f, &r)
	if err != nil || !whole || end.Events == 0 {
		g.Fatalf("whole %t, %v, %+v", whole, err, end)
	}
	for _, name := range []string{"vm01", "vm02"} {
		if got := r.bytes(control.StreamVolume, name, control.OpWrite); got > 6<<20 ||
			got < 6<<20-lost*recordBlock {
			g.Errorf("%s wrote %d bytes in the record, %d to fio", name, got, 6<<20)
		}
		if s := r.streams["volume "+name]; s.Size != 64<<20 || s.Dev == "" {
			g.Errorf("%s: %+v", name, s)
		}
	}
	if n := r.bytes(control.StreamLog, "nulllog", control.OpWrite); n < 12<<20-lost<<20 {
		g.Errorf("the log got %d bytes", n)
	}
	for _, e := range r.events {
		if e.At < 0 || e.Queue < 0 || e.Device <= 0 || e.Failed || e.Queue+e.Device > 60e9 {
			g.Errorf("%+v", e)
		}
	}
}

// TestTracePicture makes the picture of 16 guests that docs has.
func TestTracePicture(t *testing.T) {
	const guests = 16
	if !inGuest() {
		path := os.Getenv("UNBLEND_PICTURE")
		if path == "" {
			t.Skip("takes long: runs only with a file in UNBLEND_PICTURE")
		}
		cfg := machine(t, "")
		cfg.Share = t.TempDir()
		run(t, cfg)
		for name, ext := range map[string]string{"trace.svg": "", "trace.png": ".png", "trace": ".trace"} {
			text, err := os.ReadFile(filepath.Join(cfg.Share, name))
			if err == nil {
				err = os.WriteFile(path+ext, text, 0o644)
			}
			if err != nil {
				t.Error(err)
			}
		}
		return
	}
	g := newGuest(t)
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	lines := []string{
		"[global]", "direct=1", "ioengine=libaio", "iodepth=2", "randseed=5", "time_based=1", "runtime=80",
	}
	for i := range guests {
		path := g.create(fmt.Sprintf("vm%02d", i+1), "40M")
		kind := [...]string{
			"rw=write,bs=16k,rate_iops=40", "rw=randwrite,bs=4k,rate_iops=30", "rw=write,bs=32k,rate_iops=16",
			"rw=randwrite,bs=8k,rate_iops=24",
		}[i%4]
		lines = append(lines, fmt.Sprintf("[vm%02d]", i+1), "filename="+path)
		lines = append(lines, strings.Split(kind, ",")...)
	}
	fio := g.fio(lines)
	time.Sleep(4 * time.Second) // until all are under way and the first are destaged
	g.Log(g.do("trace", "record", "/rw/trace", "--seconds=8"))
	stop := g.tracer("trace", "destage")
	g.Log(g.do("trace", "blend", "--seconds=8"))
	g.Log(g.do("trace", "latency", "--seconds=4"))
	fio.wait()
	g.checkpoint()
	g.Log(stop())
	g.do("trace", "plot", "/rw/trace", "--svg=/rw/trace.svg", "--png=/rw/trace.png")
	g.stop(d)
}
