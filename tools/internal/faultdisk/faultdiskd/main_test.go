package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain makes the test binary the program itself when a test starts it as such.
func TestMain(m *testing.M) {
	if os.Getenv("FAULTDISKD_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "FAULTDISKD_MAIN=1")
	return cmd
}

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	file, nbd, ctl := filepath.Join(dir, "d0"), filepath.Join(dir, "nbd"), filepath.Join(dir, "ctl")
	server := command(t, "--disk", "d0:1M,file="+file, "--disk", "d1:2M", "--memory", "8M",
		"--listen", "unix:"+nbd, "--listen", "tcp:127.0.0.1:0", "--control", ctl)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("first line %q, %v", line, err)
	}
	nc, err := net.Dial("unix", nbd)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	greeting := make([]byte, 8)
	if _, err := io.ReadFull(nc, greeting); err != nil || string(greeting) != "NBDMAGIC" {
		t.Fatalf("greeting %q, %v", greeting, err)
	}
	got, err := command(t, "ctl", ctl, `{"verb":"cut","mode":"none"}`, `{"verb":"stats"}`).Output()
	if err != nil || strings.Count(string(got), `"ok":true`) != 2 ||
		!strings.Contains(string(got), `"cuts":1`) {
		t.Fatalf("ctl: %s, %v", got, err)
	}
	if got, err := command(t, "ctl", ctl, `{"verb":"x"}`).Output(); err == nil {
		t.Fatalf("an unknown verb succeeds: %s", got)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Size() != 1<<20 {
		t.Fatalf("file of the disk: %v, %v", fi, err)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range []string{
		"", "ctl", "ctl /nonexistent", "ctl /nonexistent {}", "--disk d0", "--bad",
		"--disk d0:1M --memory much", "--disk d0:1M --listen sctp:x",
		"--disk d0:1M --listen unix:/nonexistent/x", "--disk d0:1M --control /nonexistent/x",
	} {
		cmd := command(t, strings.Fields(args)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "faultdiskd: ") {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}
