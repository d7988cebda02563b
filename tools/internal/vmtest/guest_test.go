package vmtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/tools/internal/operate"
	"unblend/tools/internal/vm"
)

// machineTime bounds one machine's life. What a campaign asks of it takes as long as it takes.
func machineTime() time.Duration {
	for _, name := range []string{
		"UNBLEND_KILLS", "UNBLEND_CUTS", "UNBLEND_SECONDS", "UNBLEND_CLONES", "UNBLEND_SNAPSHOTS",
		"UNBLEND_FULL_MIB", "UNBLEND_WRITERS", "UNBLEND_PICTURE", "UNBLEND_MINUTES",
	} {
		if os.Getenv(name) != "" {
			return 2 * time.Hour
		}
	}
	return 8 * time.Minute
}

// inGuest says whether this process runs in a machine.
func inGuest() bool { return os.Getenv("UNBLEND_VM_GUEST") == "1" }

// number returns a number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: want a number above 0", name, s)
	}
	return n
}

// asked returns a number from the environment, and skips a test that takes long where there is none.
func asked(t *testing.T, name string) int {
	t.Helper()
	if os.Getenv(name) == "" {
		t.Skip("takes long: runs only with a number in " + name)
	}
	return number(t, name, 0)
}

// need skips the test where machines are not asked for or not possible.
func need(t *testing.T) {
	t.Helper()
	if os.Getenv("UNBLEND_VM") != "1" {
		if os.Getenv("UNBLEND_NO_SKIP") == "1" {
			t.Fatal("nothing may be skipped here, and this needs UNBLEND_VM=1")
		}
		t.Skip("boots a virtual machine: set UNBLEND_VM=1")
	}
	vm.Need(t)
}

// programDir is where the program was built; it goes at the end.
var programDir string

// program builds the program, once for all tests.
var program = sync.OnceValues(func() (string, error) {
	var err error
	if programDir, err = os.MkdirTemp("", "unblend-vmtest-"); err != nil {
		return "", err
	}
	return build("unblend", "unblend/tools/unblend")
})

// build builds a command's package under a name, with more flags, and returns its path.
func build(name, pkg string, flags ...string) (string, error) {
	path := filepath.Join(programDir, name)
	args := append([]string{"build", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
}

func TestMain(m *testing.M) {
	status := m.Run()
	if programDir != "" {
		os.RemoveAll(programDir)
	}
	os.Exit(status)
}

// machine returns the configuration of a machine that runs the calling test, beside others: they
// wait much. Stage, if not empty, is what stage returns in it, and the test has said itself that it
// runs in parallel.
func machine(t *testing.T, stage string) vm.Config {
	t.Helper()
	need(t)
	if stage == "" {
		t.Parallel()
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin, err := program()
	if err != nil {
		t.Fatalf("build the program: %v", err)
	}
	cfg := vm.Config{
		Kernel: os.Getenv("UNBLEND_VM_KERNEL"), Files: []string{self, bin}, Timeout: machineTime(),
		Counted: os.Getenv("UNBLEND_COUNTED") != "",
		Command: "exec /vm/" + filepath.Base(self) + " -test.v -test.timeout=" +
			machineTime().String() + " -test.run=" + vm.Quote("^"+t.Name()+"$"),
		Env:    []string{"UNBLEND_STAGE=" + stage},
		Output: &guestOutput{t: t}, Log: &guestOutput{t: t},
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "UNBLEND_") {
			cfg.Env = append(cfg.Env, v)
		}
	}
	return cfg
}

// stage returns which of several machines of a test this one is.
func stage() string { return os.Getenv("UNBLEND_STAGE") }

// run boots a machine and fails the test if what it ran there failed.
func run(t *testing.T, cfg vm.Config) {
	t.Helper()
	res, err := vm.Run(context.Background(), cfg)
	ended(t, cfg, res, err)
}

// ended fails the test if what a machine ran failed.
func ended(t *testing.T, cfg vm.Config, res vm.Result, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Linux %s: booted in %.1f s, ran for %.1f s", res.Kernel, res.Boot.Seconds(),
		res.Run.Seconds())
	if res.Status != 0 {
		t.Errorf("the test failed in the machine, status %d", res.Status)
	}
	if o, ok := cfg.Output.(*guestOutput); ok {
		if err := o.record(res.Kernel, res.Status != 0); err != nil {
			t.Error(err)
		}
	}
}

// guestOutput shows what the machine prints in the test's log, line by line.
type guestOutput struct {
	t    *testing.T
	mu   sync.Mutex
	part []byte // of a line

	figures []figures // that the test in the machine has printed
}

// noise is what the inner test run says about itself.
var noise = regexp.MustCompile(`^(=== (RUN|PAUSE|CONT|NAME)|PASS$|FAIL$)`)

func (o *guestOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.part = append(o.part, p...)
	for {
		i := bytes.IndexByte(o.part, '\n')
		if i < 0 {
			return len(p), nil
		}
		if line := string(o.part[:i]); !noise.MatchString(line) {
			o.notice(line)
			o.t.Log(line)
		}
		o.part = o.part[i+1:]
	}
}

// guest is a test's view of the machine it runs in.
type guest struct {
	*testing.T
	prog operate.Program
	ctx  context.Context

	doing string // what step was told
	since time.Time
}

// newGuest prepares the machine for a test.
func newGuest(t *testing.T) *guest {
	t.Helper()
	g := &guest{
		T: t, ctx: t.Context(),
		prog: operate.Program{Path: "/vm/unblend", Dir: t.TempDir()},
	}
	g.sh("modprobe ublk_drv && modprobe null_blk nr_devices=0")
	_, _ = g.try("mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug")
	t.Cleanup(func() {
		g.step("")
		if t.Failed() {
			t.Logf("the daemons' log ends with:\n%s", g.prog.LogEnd())
		}
		g.kernelIsWell()
	})
	return g
}

// unwell matches kernel messages that no test may cause.
var unwell = regexp.MustCompile(`BUG:|Oops|WARNING:|blocked for more than|general protection|` +
	`Call Trace|EXT4-fs error|XFS .*(Corruption|error)`)

// kernelIsWell fails the test if the kernel complained.
func (g *guest) kernelIsWell() {
	out, err := exec.Command("dmesg").Output()
	if err != nil {
		g.Errorf("dmesg: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if unwell.MatchString(line) {
			g.Errorf("kernel: %s", strings.TrimSpace(line))
		}
	}
}

// step logs how long the last step took, and names the next one.
func (g *guest) step(name string) {
	g.Helper()
	now := time.Now()
	if g.doing != "" {
		g.Logf("%6.2f s %s", now.Sub(g.since).Seconds(), g.doing)
	}
	g.doing, g.since = name, now
}

// sh runs a shell command, which must succeed, and returns what it printed.
func (g *guest) sh(command string) string {
	g.Helper()
	out, err := g.try(command)
	if err != nil {
		g.Fatal(err)
	}
	return out
}

// try runs a shell command. It may be called by any goroutine.
func (g *guest) try(command string) (string, error) {
	out, err := exec.Command("bash", "-c", command).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// do runs a verb of the program, which must succeed, and returns what it printed.
func (g *guest) do(verb string, args ...string) string {
	g.Helper()
	out, err := g.ask(verb, args...)
	if err != nil {
		g.Fatal(err)
	}
	return out
}

// ask runs a verb of the program.
func (g *guest) ask(verb string, args ...string) (string, error) {
	switch verb {
	case "init", "check", "doctor":
		return g.prog.Run(g.ctx, append([]string{verb}, args...)...)
	}
	return g.prog.Ask(g.ctx, verb, args...)
}

// refused runs a verb that must fail with a status and say what is wanted.
func (g *guest) refused(status int, says, verb string, args ...string) {
	g.Helper()
	_, err := g.ask(verb, args...)
	failed, ok := err.(*operate.VerbError)
	switch {
	case !ok:
		g.Errorf("%s %s: %v, want status %d", verb, strings.Join(args, " "), err, status)
	case failed.Status != status || !strings.Contains(failed.Stderr, says):
		g.Errorf("%v; want status %d and %q", failed, status, says)
	}
}
