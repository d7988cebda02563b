package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// need skips a test that boots a machine where that is not asked for or not possible.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine; not with -short")
	}
	Need(t)
}

// logWriter shows a machine's log in the test's.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// TestKernels runs one command under each kernel that the project promises to work on, and looks at
// everything a command may rely on.
func TestKernels(t *testing.T) {
	need(t)
	for _, kernel := range []string{"6.12", "backports"} {
		t.Run(kernel, func(t *testing.T) {
			share := t.TempDir()
			file := filepath.Join(t.TempDir(), "hello.txt")
			if err := os.WriteFile(file, []byte("from the host\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			res, err := Run(context.Background(), Config{
				Kernel: kernel, Share: share, Files: []string{file}, Dir: "/usr/lib",
				Env: []string{"GREETING=it's here"}, Timeout: 3 * time.Minute, Log: logWriter{t},
				Command: `set -e
					modprobe -a ublk_drv null_blk
					test -c /dev/ublk-control
					test -b /dev/nullb0
					test -e /sys/kernel/btf/vmlinux
					test -z "$(ls -A /tmp)"
					uname -r > /rw/release
					cat /vm/hello.txt
					echo "$GREETING in $PWD" >/dev/stderr
					touch /etc/written-in-the-guest
					exit 7`,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: booted in %v, ran for %v, %d boot(s)",
				res.Kernel, res.Boot, res.Run, res.Boots)
			want := "from the host\nit's here in /usr/lib\n"
			if res.Output != want || res.Status != 7 {
				t.Errorf("status %d, output %q, want 7 and %q", res.Status, res.Output, want)
			}
			release, err := os.ReadFile(filepath.Join(share, "release"))
			if err != nil || strings.TrimSpace(string(release)) != res.Kernel {
				t.Errorf("/rw/release: %q, %v, want %q", release, err, res.Kernel)
			}
			if _, err := os.Stat("/etc/written-in-the-guest"); err == nil {
				t.Error("the guest wrote to the host's root file system")
			}
		})
	}
}

// tempImage returns a file of size bytes for a drive.
func tempImage(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDrives looks at drives on both buses, and at emulated virtualization, under one boot.
func TestDrives(t *testing.T) {
	need(t)
	virtio, nvme := tempImage(t, 8<<20), tempImage(t, 16<<20)
	res, err := Run(context.Background(), Config{
		Drives: []Drive{{Name: "log", Path: virtio}, {Name: "data", Path: nvme, Bus: NVMe}},
		SVM:    true, Timeout: 3 * time.Minute, Log: logWriter{t},
		Command: `set -e
			blockdev --getsize64 /dev/vm/log /dev/vm/data
			cat /sys/block/$(basename $(readlink /dev/vm/data))/queue/write_cache
			echo "to virtio" > /dev/vm/log
			echo "to nvme" > /dev/vm/data
			modprobe kvm-amd
			test -c /dev/kvm`,
	})
	if err != nil || res.Status != 0 {
		t.Fatalf("status %d, %v: %s", res.Status, err, res.Output)
	}
	if want := fmt.Sprintf("%d\n%d\nwrite back\n", 8<<20, 16<<20); res.Output != want {
		t.Errorf("output %q, want %q", res.Output, want)
	}
	for path, want := range map[string]string{virtio: "to virtio\n", nvme: "to nvme\n"} {
		data, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(data, []byte(want)) {
			t.Errorf("%s begins with %q, %v, want %q", path, data[:min(16, len(data))], err, want)
		}
	}
}

// lineWaiter closes seen when a line has gone through it.
type lineWaiter struct {
	line string
	seen chan struct{}
	text strings.Builder
}

func (w *lineWaiter) Write(p []byte) (int, error) {
	had := strings.Contains(w.text.String(), w.line)
	w.text.Write(p)
	if !had && strings.Contains(w.text.String(), w.line) {
		close(w.seen)
	}
	return len(p), nil
}

// TestKill cuts the power of a machine that wrote to a drive and goes on running.
func TestKill(t *testing.T) {
	need(t)
	image := tempImage(t, 8<<20)
	w := &lineWaiter{line: "written\n", seen: make(chan struct{})}
	m, err := Start(context.Background(), Config{
		Drives: []Drive{{Name: "log", Path: image}}, Output: w,
		Timeout: 3 * time.Minute, Log: logWriter{t},
		Command: "echo durable | dd of=/dev/vm/log oflag=sync status=none; echo written; sleep 600",
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.seen:
	case <-m.Done():
	}
	begin := time.Now()
	m.Kill()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the machine took %v to die", d)
	}
	if _, err := m.Wait(); !errors.Is(err, ErrKilled) {
		t.Errorf("error %v, want %v", err, ErrKilled)
	}
	data, err := os.ReadFile(image)
	if err != nil || !bytes.HasPrefix(data, []byte("durable\n")) {
		t.Errorf("the drive begins with %q, %v", data[:min(16, len(data))], err)
	}
}

// TestMachineEnds looks at the ways in which a command does not come to its end.
func TestMachineEnds(t *testing.T) {
	need(t)
	for name, c := range map[string]struct {
		cfg   Config
		want  error
		text  string
		boots int
	}{
		"panic": {
			Config{Command: "echo c > /proc/sysrq-trigger; sleep 600"},
			ErrDied, "sysrq triggered crash", 1,
		},
		"timeout": {
			Config{Command: "echo going; sleep 600", Timeout: 25 * time.Second},
			ErrTimeout, "", 1,
		},
		// Without its first program the kernel panics in early boot, each time.
		"early death": {
			Config{Command: "true", Append: "rdinit=/none panic_on_oops=1"},
			ErrDied, "", 2,
		},
		"bad argument": {
			Config{Command: "true", Args: []string{"-no-such-argument"}},
			errRefused, "no-such-argument", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Log = logWriter{t}
			res, err := Run(context.Background(), c.cfg)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v does not say %q", err, c.text)
			}
			if res.Boots != c.boots {
				t.Errorf("%d boots, want %d", res.Boots, c.boots)
			}
		})
	}
}

// TestRunTest runs a Go test of this package in a machine.
func TestRunTest(t *testing.T) {
	need(t)
	res, err := RunTest(context.Background(), Config{Timeout: 3 * time.Minute, Log: logWriter{t}},
		".", "-test.v", "-test.run", "^TestUnderTmp$")
	if err != nil || res.Status != 0 || !strings.Contains(res.Output, "--- PASS: TestUnderTmp") {
		t.Errorf("status %d, %v, output %q", res.Status, err, res.Output)
	}
}
