package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// liveViews are the views that need a daemon, as short as they go, and whether one volume may be named.
func liveViews(file string) map[string][]string {
	return map[string][]string{
		"blend": {"blend", "0.2s", "1"}, "destage": {"destage", "0.2s", "1"},
		"latency": {"latency", "0.2s", "1"}, "events": {"events", "--seconds", "0.2s"},
		"record": {"record", file, "--seconds", "0.2s"},
	}
}

// TestTraceRefusals: each view says what it cannot do without, and ends with the exit code for that.
func TestTraceRefusals(t *testing.T) {
	needRoot(t)
	socket, _ := serveFake(t)
	nobody := filepath.Join(t.TempDir(), "nobody")
	for name, view := range liveViews(filepath.Join(t.TempDir(), "t")) {
		code, out, complaint := call(t.Context(),
			append([]string{"trace"}, append(view, "--socket", nobody)...)...)
		if code != 4 || out != "" || !strings.Contains(complaint, nobody) {
			t.Errorf("%s without a daemon: exit code %d, %q, %q", name, code, out, complaint)
		}
		if name == "record" {
			continue // it takes all volumes
		}
		code, out, complaint = call(t.Context(),
			append([]string{"trace"}, append(view, "--volume", "nosuch", "--socket", socket)...)...)
		if code != 3 || out != "" || !strings.Contains(complaint, `"nosuch"`) {
			t.Errorf("%s of no volume: exit code %d, %q, %q", name, code, out, complaint)
		}
	}
	code, _, complaint := call(t.Context(), "trace", "plot", nobody)
	if code != 1 || !strings.Contains(complaint, nobody) {
		t.Errorf("plot of no file: exit code %d, %q", code, complaint)
	}
}

// TestTraceJSON: each view prints documents that name what they are, with whole numbers of bytes.
func TestTraceJSON(t *testing.T) {
	needRoot(t)
	socket, _ := serveFake(t)
	for name, view := range liveViews(filepath.Join(t.TempDir(), "t")) {
		code, out, complaint := call(t.Context(),
			append([]string{"trace"}, append(view, "--json", "--socket", socket)...)...)
		first, _, whole := strings.Cut(out, "\n")
		if code != 0 || !whole || !strings.HasPrefix(first, `{"schema":"unblend/trace-`) {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, complaint)
		}
	}
}

// TestTraceWithoutBTF: a kernel that does not describe its types is told from one that may not be asked.
func TestTraceWithoutBTF(t *testing.T) {
	needRoot(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("needs unshare of util-linux")
	}
	socket, _ := serveFake(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, view := range liveViews("/dev/null") {
		// In a mount namespace of its own, nothing is where the kernel describes its types.
		args := []string{
			"--mount", "sh", "-c", `mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"`, self, "trace",
		}
		cmd := exec.Command(unshare, append(append(args, view...), "--socket", socket)...)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		cmd.Env = append(os.Environ(), envMain+"=1")
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != exitLacks || !strings.Contains(complaint.String(), "btf") {
			t.Errorf("%s: %v: %s", name, err, complaint.String())
		}
	}
}
