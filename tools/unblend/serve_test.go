package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
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
func startDaemon(t *testing.T, dir string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	said := &bytes.Buffer{}
	cmd := program("serve", filepath.Join(dir, "pool"), "--socket", filepath.Join(dir, "s"),
		"--link-dir", filepath.Join(dir, "links"))
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
