package vm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// bootTimeout is how long a boot may take until the command starts; a busy machine needs a
	// minute.
	bootTimeout = 3 * time.Minute
	// exitGrace is how long the emulator may take to write its drives and end.
	exitGrace = 30 * time.Second
	maxBoots  = 2
	// consoleLines is how much of the kernel's messages goes into an error.
	consoleLines = 20
)

// errRefused is returned when the emulator did not accept its arguments.
var errRefused = errors.New("the emulator refuses")

// Machine is a virtual machine under way.
type Machine struct {
	cfg     Config
	kernel  Kernel
	dir     string // the machine's files, gone when it ends
	cancel  context.CancelCauseFunc
	started chan struct{} // closed when the command starts
	done    chan struct{} // closed when res and err are final
	res     Result
	err     error
}

// Start boots a machine and returns while it boots. Wait or Kill must follow.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	m, err := prepare(ctx, cfg.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("virtual machine: %w", err)
	}
	ctx, m.cancel = context.WithCancelCause(ctx)
	ctx, stop := context.WithTimeoutCause(ctx, m.cfg.Timeout, ErrTimeout)
	go func() {
		defer close(m.done)
		defer os.RemoveAll(m.dir)
		defer stop()
		m.err = m.run(ctx)
	}()
	return m, nil
}

// Wait waits for the machine's end. It may be called more than once.
func (m *Machine) Wait() (Result, error) {
	<-m.done
	if m.err != nil {
		return m.res, fmt.Errorf("virtual machine: %w", m.err)
	}
	return m.res, nil
}

// Kill cuts the machine's power: the emulator is gone when it returns. What a drive's host file
// got by then is what the next machine finds on it.
func (m *Machine) Kill() {
	m.cancel(ErrKilled)
	<-m.done
}

// Started returns a channel that is closed when the command starts.
func (m *Machine) Started() <-chan struct{} { return m.started }

// Done returns a channel that is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// prepare checks cfg, finds the kernel and writes the machine's files.
func prepare(ctx context.Context, cfg Config) (*Machine, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	for _, d := range cfg.Drives {
		if err := d.validate(); err != nil {
			return nil, err
		}
	}
	k, err := Find(ctx, cfg.Kernel, false, cfg.Log)
	if err != nil {
		return nil, err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if cfg.Share != "" {
		if cfg.Share, err = filepath.Abs(cfg.Share); err != nil {
			return nil, err
		}
	}
	initramfs, err := buildInitramfs(k)
	if err != nil {
		return nil, err
	}
	// A socket's path has room for 107 bytes, so not below a directory of the test's.
	dir, err := os.MkdirTemp("/tmp", "unblend-vm-")
	if err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, kernel: k, dir: dir,
		started: make(chan struct{}), done: make(chan struct{}),
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "initramfs"), initramfs, 0o644),
		os.Mkdir(filepath.Join(dir, "vm"), 0o755),
	)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return m, nil
}

// run boots until the command has started, twice at most, and fills m.res.
func (m *Machine) run(ctx context.Context) error {
	var collected strings.Builder
	out := m.cfg.Output
	if out == nil {
		out = &collected
	}
	for m.res.Boots = 1; ; m.res.Boots++ {
		b := &boot{m: m, begin: time.Now()}
		err := b.run(ctx, out)
		m.res.Output = collected.String()
		if err == nil || b.hasStarted() || ctx.Err() != nil || m.res.Boots == maxBoots ||
			errors.Is(err, errRefused) {
			return err
		}
		notef(m.cfg.Log, "died in early boot, booting once more: %v", err)
	}
}

// boot is one run of the emulator.
type boot struct {
	m      *Machine
	begin  time.Time
	mu     sync.Mutex // guards what follows: timers and the stream touch it
	start  time.Time  // of the command
	end    time.Time  // of the command
	status int
}

func (b *boot) hasStarted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.start.IsZero()
}

// run starts the emulator and passes its output on until it has ended.
func (b *boot) run(ctx context.Context, out io.Writer) error {
	token := make([]byte, 16)
	rand.Read(token)
	s := &stream{token: "\x1eunblend-vm-" + hex.EncodeToString(token), out: out}
	if err := b.m.cfg.writeGuestFiles(filepath.Join(b.m.dir, "vm"), s.token); err != nil {
		return err
	}
	port := filepath.Join(b.m.dir, "port")
	if err := os.RemoveAll(port); err != nil {
		return err
	}
	ln, err := net.Listen("unix", port)
	if err != nil {
		return err
	}
	defer ln.Close()
	var stderr strings.Builder
	cmd := exec.Command("qemu-system-x86_64", b.m.cfg.arguments(b.m.kernel, b.m.dir)...)
	cmd.Stderr = &stderr
	// The emulator dies with this process, whatever ends that.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	watchdog := time.AfterFunc(bootTimeout, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	s.started = func(release string) {
		watchdog.Stop()
		b.commandStarted(release)
	}
	s.exited = func(status int) {
		b.commandExited(status)
		// QEMU writes out its drives and ends.
		cmd.Process.Signal(syscall.SIGTERM)
		watchdog.Reset(exitGrace)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		ln.Close()
	}()
	copyErr := receive(ln, s)
	if copyErr != nil {
		cmd.Process.Kill()
	}
	qemuErr := <-ended
	return b.outcome(ctx, copyErr, qemuErr, stderr.String())
}

// receive passes on what the emulator sends until its end.
func receive(ln net.Listener, to io.Writer) error {
	conn, err := ln.Accept()
	if err != nil {
		return nil // it ended before it connected, which its own error explains
	}
	defer conn.Close()
	_, err = io.Copy(to, conn)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

func (b *boot) commandStarted(release string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start = time.Now()
	b.m.res.Kernel = release
	b.m.res.Boot = b.start.Sub(b.begin)
	close(b.m.started)
}

func (b *boot) commandExited(status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end, b.status = time.Now(), status
	b.m.res.Run = b.end.Sub(b.start)
	b.m.res.Status = status
}

// outcome is the error of a boot whose emulator has ended.
func (b *boot) outcome(ctx context.Context, copyErr, qemuErr error, stderr string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var exit *exec.ExitError
	switch {
	case !b.end.IsZero():
		return nil
	case copyErr != nil:
		return copyErr
	case ctx.Err() != nil:
		err := context.Cause(ctx)
		if errors.Is(err, ErrTimeout) {
			return fmt.Errorf("%w (%v, %s)%s", err, b.m.cfg.Timeout, b.progress(), b.m.console())
		}
		return err
	case errors.As(qemuErr, &exit) && exit.ExitCode() > 0:
		return fmt.Errorf("%w: %s", errRefused, lastLines(stderr, 5))
	default:
		return fmt.Errorf("%w%s", ErrDied, b.m.console())
	}
}

// progress tells how far a boot came.
func (b *boot) progress() string {
	if b.start.IsZero() {
		return "it had not started"
	}
	return "it was running"
}

// trouble matches the first line of what a kernel says when it dies.
var trouble = regexp.MustCompile(`panic|BUG|Oops|double fault|int3|general protection`)

// console returns what the kernel said when it died, or last, for an error.
func (m *Machine) console() string {
	text, err := os.ReadFile(filepath.Join(m.dir, "console"))
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	first := slices.IndexFunc(lines, trouble.MatchString)
	if first < 0 {
		first = max(0, len(lines)-consoleLines)
	}
	lines = lines[first:min(len(lines), first+consoleLines)]
	return "; the kernel's messages:\n" + strings.Join(lines, "\n")
}
