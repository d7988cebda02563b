package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"unblend/tools/internal/control"
)

// program runs a verb in a process of its own, as tests of the daemon must.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "unblend"
	cmd.Env = append(os.Environ(), envMain+"=1")
	return cmd
}

// must runs a verb and returns what it printed; want is the exit code.
func must(t *testing.T, want int, args ...string) string {
	t.Helper()
	cmd := program(args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Fatalf("unblend %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, out)
	}
	return string(out)
}

// startDaemon serves the pool in dir and waits until the socket answers.
func startDaemon(t *testing.T, dir string, more ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	said := &bytes.Buffer{}
	cmd := program(append([]string{
		"serve", filepath.Join(dir, "pool"), "--socket", filepath.Join(dir, "s"),
		"--link-dir", filepath.Join(dir, "links"),
	}, more...)...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if program("status", "--socket", filepath.Join(dir, "s")).Run() == nil {
			return cmd, said
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	t.Fatalf("the daemon does not answer:\n%s", said)
	return nil, nil
}

// TestInterruptedInit holds that an init that is broken off leaves no file, and that check says so
// too.
func TestInterruptedInit(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	pool := filepath.Join(t.TempDir(), "pool")
	code, _, said := call(ctx, "init", pool, "--size", "64M", "--log-size", "8M",
		"--segment-size", "1M")
	if code != control.ExitInterrupted || said != "unblend: interrupted\n" {
		t.Errorf("init: exit code %d, %q", code, said)
	}
	if _, err := os.Stat(pool); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	must(t, 0, "init", pool, "--size", "64M", "--log-size", "8M", "--segment-size", "1M")
	if code, _, _ := call(ctx, "check", pool); code != control.ExitInterrupted {
		t.Errorf("check: exit code %d", code)
	}
}

// TestUnprivileged holds that a user who may not is told so.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	dir, err := os.MkdirTemp("/tmp", "unblend")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe, pool := filepath.Join(dir, "unblend"), filepath.Join(dir, "pool")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(exe, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	must(t, 0, "init", pool, "--size", "64M", "--log-size", "8M", "--segment-size", "1M")
	for _, args := range [][]string{
		{"check", pool},
		{"init", pool, "--force"},
		{"init", filepath.Join(dir, "new"), "--size", "64M"},
	} {
		cmd := program(args...)
		cmd.Path = exe
		nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
		out, err := cmd.CombinedOutput()
		want := "permission denied; use sudo\n"
		if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}

// TestServe is a pool's life on any machine with io_uring, with or without ublk: made, served,
// refused to others meanwhile, killed, ended in order, checked.
func TestServe(t *testing.T) {
	var params [120]byte
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		t.Skipf("no io_uring here: %v", errno)
	}
	unix.Close(int(fd))
	dir, err := os.MkdirTemp("", "unblend")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pool, socket := filepath.Join(dir, "pool"), "--socket="+filepath.Join(dir, "s")
	must(t, 0, "init", pool, "--size", "96M", "--log-size", "16M", "--segment-size", "1M")
	daemon, _ := startDaemon(t, dir)
	lesserThanRoot(t, daemon.Process.Pid)
	out := must(t, 0, "create", "web1", "--size", "20G", "--no-attach", socket)
	if !strings.HasPrefix(out, filepath.Join(dir, "links", "web1")+"  detached  20 GiB thin") {
		t.Errorf("create printed %q", out)
	}
	must(t, 1, "create", "web1", "--size", "20G", "--no-attach", socket)
	must(t, 7, "serve", pool, socket)
	must(t, 7, "serve", pool, socket+"2", "--link-dir", filepath.Join(dir, "links"))
	must(t, 7, "serve", pool, socket+"2", "--link-dir", filepath.Join(dir, "links2"), "--wait", "0")
	must(t, 7, "check", pool)
	must(t, 7, "init", pool, "--force")
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	must(t, 4, "list", socket)
	daemon, said := startDaemon(t, dir)
	if out := must(t, 0, "list", "web1", socket); !strings.Contains(out, "20 GiB") {
		t.Errorf("after kill -9: %s", out)
	}
	must(t, 0, "rm", "web1", socket)
	must(t, 3, "rm", "web1", socket)
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, said)
	}
	must(t, 0, "check", pool, "--data")
}

// lesserThanRoot holds that all threads of a daemon have no capability beyond those that serving takes,
// and can get none.
func lesserThanRoot(t *testing.T, pid int) {
	t.Helper()
	const most = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_IPC_LOCK | 1<<unix.CAP_SYS_RESOURCE |
		1<<unix.CAP_CHOWN | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_READ_SEARCH
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of %d: %v, %v", pid, threads, err)
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended
		}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			set, _ := strconv.ParseUint(value, 16, 64)
			switch name {
			case "CapPrm", "CapEff", "CapInh", "CapAmb":
				if os.Getuid() == 0 && set&^most != 0 {
					t.Errorf("%s: %s is %#x", path, name, set)
				}
			case "NoNewPrivs":
				if value != "1" {
					t.Errorf("%s: it may get new privileges", path)
				}
			}
		}
	}
}

// TestCPUs holds that all threads of a daemon that is given CPUs run on these, and that status says so.
func TestCPUs(t *testing.T) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !may.IsSet(cpu) {
		cpu++
	}
	dir := t.TempDir()
	pool := filepath.Join(dir, "pool")
	must(t, 0, "init", pool, "--size", "64M", "--log-size", "8M", "--segment-size", "1M")
	cmd, said := startDaemon(t, dir, "--cpu", strconv.Itoa(cpu), "--shards", "2")
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if want := fmt.Sprintf("Cpus_allowed_list:\t%d\n", cpu); !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q:\n%s", name, want, text)
		}
	}
	if out := must(t, 0, "status", "--socket", filepath.Join(dir, "s")); !strings.Contains(out,
		fmt.Sprintf("on CPUs %d\n", cpu)) {
		t.Errorf("status does not name the CPUs:\n%s", out)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	if out := must(t, 2, "serve", pool, "--cpu", "1023"); !strings.Contains(out, "CPU 1023 is not there") {
		t.Errorf("a CPU that is not there: %s", out)
	}
}
