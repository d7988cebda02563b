package vmbench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/operate"
	"unblend/tools/internal/vm"

	"golang.org/x/sys/unix"
)

// machineTime bounds the life of a machine.
const machineTime = 45 * time.Minute

func TestMain(m *testing.M) {
	role := map[string]func() error{
		"merge": inMachine(measureMerge), "restart": inMachine(measureRestart),
		"depth": inMachine(measureDepth), "trace": inMachine(measureTrace),
		"cost": inMachine(measureCost), "fifty": inMachine(measureFifty),
		"harddisk": inMachine(measureHardDisk),
	}[os.Getenv(roleEnv)]
	if role == nil {
		os.Exit(m.Run())
	}
	if err := role(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// inMachine makes a program of a measurement: what it reports goes to the host.
func inMachine(measure func(ctx context.Context, r *Report) error) func() error {
	return func() error {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return err
		}
		r := &Report{
			Schema: Schema, Time: time.Now().UTC(), Kernel: unix.ByteSliceToString(u.Release[:]),
		}
		if err := measure(context.Background(), r); err != nil {
			return err
		}
		text, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			return err
		}
		return os.WriteFile("/rw/report.json", append(text, '\n'), 0o644)
	}
}

// measureRestart starts the daemon on a pool with a full log.
func measureRestart(ctx context.Context, r *Report) error {
	if _, err := bench.Sh(ctx, "modprobe ublk_drv"); err != nil {
		return err
	}
	p := operate.Program{Path: "/vm/unblend", Dir: "/run"}
	for range restarts {
		x, err := restartDaemon(ctx, p, "/dev/vm/pool")
		if err != nil {
			return fmt.Errorf("%w; the daemon's log ends with:\n%s", err, p.LogEnd())
		}
		x.Where = "in the virtual machine"
		r.Restart = append(r.Restart, x)
	}
	return nil
}

// need skips a benchmark that cannot run here.
func need(b *testing.B) {
	b.Helper()
	if testing.Short() {
		b.Skip("boots a virtual machine; not with -short")
	}
	vm.Need(b)
}

// buildProgram returns the path of the program, built anew.
func buildProgram(b *testing.B) string {
	b.Helper()
	return build(b, "unblend/tools/unblend")
}

// build builds a command's package and returns the path of what was built.
func build(b *testing.B, pkg string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// inVM runs a role in a machine, which may have more than is usual, and returns its report.
func inVM(b *testing.B, role, program string, cfg vm.Config) *Report {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	share := b.TempDir()
	cfg.Kernel, cfg.Files, cfg.Share = os.Getenv("UNBLEND_VM_KERNEL"), append(cfg.Files, self, program), share
	cfg.Counted = cfg.Counted || os.Getenv("UNBLEND_COUNTED") != ""
	cfg.Timeout, cfg.Log, cfg.Command = machineTime, os.Stderr, "exec /vm/"+filepath.Base(self)
	for _, name := range []string{pairsEnv, guestsEnv} {
		cfg.Env = append(cfg.Env, name+"="+os.Getenv(name))
	}
	cfg.Env = append(cfg.Env, roleEnv+"="+role)
	res, err := vm.Run(context.Background(), cfg)
	if err != nil || res.Status != 0 {
		b.Fatalf("status %d, %v: %s", res.Status, err, res.Output)
	}
	text, err := os.ReadFile(filepath.Join(share, "report.json"))
	r := &Report{}
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// publish prints the report and keeps it where UNBLEND_BENCH_OUT says.
func publish(b *testing.B, name string, r *Report) {
	b.Helper()
	fmt.Printf("\n%s\n", r)
	dir := os.Getenv("UNBLEND_BENCH_OUT")
	if dir == "" {
		return
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		b.Fatal(err)
	}
	series := strings.Join(strings.Split(r.Kernel, ".")[:2], ".")
	base := filepath.Join(dir, name+"-"+series)
	if err := os.WriteFile(base+".json", append(text, '\n'), 0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(base+".txt", []byte(r.String()), 0o644); err != nil {
		b.Fatal(err)
	}
}

// unit names a ratio as a benchmark's unit.
func (x Ratio) unit() string {
	return strings.NewReplacer(" ", "-", ",", "").Replace(fmt.Sprintf("%s/%s", x.Target, x.To))
}

// BenchmarkMerge writes to four volumes at once. It takes minutes and runs once, whatever b.N says.
func BenchmarkMerge(b *testing.B) {
	need(b)
	r := inVM(b, "merge", buildProgram(b), vm.Config{})
	publish(b, "merge", r)
	b.ReportMetric(r.Four.PerLogWrite, "guest-writes/log-write")
	b.ReportMetric(100*r.Four.Sequential, "%sequential")
	b.ReportMetric(float64(r.PeakRSS)/1e6, "MB-peak")
}

// BenchmarkTrace compares guests' writes with and without a trace of them.
func BenchmarkTrace(b *testing.B) {
	need(b)
	r := inVM(b, "trace", buildProgram(b), vm.Config{})
	publish(b, "trace", r)
	for _, x := range r.Ratios {
		b.ReportMetric(x.Median, fmt.Sprintf("traced/untraced-qd%d", x.Depth))
	}
}

// BenchmarkSnapshots compares writes and reads before a snapshot with those after one and after many,
// on clones, and of dm-thin.
func BenchmarkSnapshots(b *testing.B) {
	need(b)
	r := inVM(b, "depth", buildProgram(b), vm.Config{})
	publish(b, "snapshots", r)
	for _, x := range r.Ratios {
		b.ReportMetric(x.Median, x.unit())
	}
	b.ReportMetric(float64(r.PeakRSS)/1e6, "MB-peak")
}

// BenchmarkCost compares what a write takes of the processors: with one shard and with two, of the kernel's
// loop and of qcow2. Where the clock counts instructions, the machine has one processor: two that are
// busy at once would both be charged for each other's.
func BenchmarkCost(b *testing.B) {
	need(b)
	cfg := vm.Config{}
	if os.Getenv("UNBLEND_COUNTED") != "" {
		cfg.CPUs = 1
	}
	r := inVM(b, "cost", buildProgram(b), cfg)
	publish(b, "cost", r)
	for _, x := range costRatios(r.Costs) {
		b.ReportMetric(x.Median, x.unit())
	}
}

// BenchmarkFifty writes to fifty volumes at once for a minute, and asks the daemon what that took.
func BenchmarkFifty(b *testing.B) {
	need(b)
	r := inVM(b, "fifty", buildProgram(b), vm.Config{Memory: "6G"})
	publish(b, "fifty", r)
	b.ReportMetric(float64(r.PeakRSS)/1e6, "MB-peak")
	b.ReportMetric(r.Fifty.Allocations, "allocs/write")
	if most := int64(maxFiftyRSS); r.PeakRSS > most {
		b.Errorf("the daemon had %d bytes in memory, at most %d are allowed", r.PeakRSS, most)
	}
}

// BenchmarkHardDisk compares a pool on modelled hard disks with one of them, in real time and in virtual
// time. The machine's clock counts instructions: else a busy host would make slow disks.
func BenchmarkHardDisk(b *testing.B) {
	need(b)
	r := inVM(b, "harddisk", buildProgram(b), vm.Config{
		Files: []string{build(b, "unblend/tools/internal/harddisk/harddiskd")}, Counted: true,
	})
	r.HardDisk.Virtual = virtualGuests(b)
	publish(b, "harddisk", r)
	h := r.HardDisk
	b.ReportMetric(h.Room/h.Bare, "room/disk")
	b.ReportMetric(h.Sustained/h.Bare, "sustained/disk")
	b.ReportMetric(h.Streams[0], "read-after/before")
}

// virtualGuests returns what package perf says of the same pool in virtual time.
func virtualGuests(b *testing.B) string {
	b.Helper()
	guests := cmp.Or(os.Getenv(guestsEnv), defaultGuests)
	out, err := exec.Command("go", "test", "unblend/perf", "-count=1", "-v", "-timeout=2h",
		"-run=^TestGuestsOnHardDisks$", "-args", "-guests="+guests).CombinedOutput()
	if err != nil {
		b.Fatalf("the same in virtual time: %v\n%s", err, out)
	}
	var said []string
	for line := range strings.Lines(string(out)) {
		if _, text, ok := strings.Cut(line, "_test.go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			said = append(said, strings.TrimSpace(text))
		}
	}
	return strings.Join(said, "\n")
}

// BenchmarkRestart measures starts on a full default log, natively and in a machine. It writes 5 GB
// to TMPDIR.
func BenchmarkRestart(b *testing.B) {
	need(b)
	program, image := buildProgram(b), filepath.Join(b.TempDir(), "pool")
	if _, err := makeFull(image); err != nil {
		b.Fatal(err)
	}
	var native []Restart
	for range restarts {
		x, err := restartEngine(image)
		if err != nil {
			b.Fatal(err)
		}
		native = append(native, x)
	}
	for i := range native {
		var err error
		native[i].Ready, err = restartReady(b.Context(), program, b.TempDir(), image)
		if err != nil {
			b.Fatal(err)
		}
	}
	r := inVM(b, "restart", program, vm.Config{Drives: []vm.Drive{{Name: "pool", Path: image}}})
	r.Restart = append(native, r.Restart...)
	publish(b, "restart", r)
	for _, where := range []*Restart{&r.Restart[0], &r.Restart[len(r.Restart)-1]} {
		b.ReportMetric(where.Seconds, "s-"+strings.Fields(where.Where)[0])
	}
}
