package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"unblend/ublk"
)

// When a start takes so long that something must hang, the test's log gets what the kernel knows of it; and
// shortly before the test gives up on it, the daemon is made to end with a list of its goroutines.
const (
	slowStart = 15 * time.Second
	lostStart = 58 * time.Second
)

// watchStart watches a start until ready is called.
func (g *guest) watchStart() (ready func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		begin := time.Now()
		for _, w := range []struct {
			after  time.Duration
			report func() string
		}{{slowStart, kernelReport}, {lostStart, g.goroutineReport}} {
			select {
			case <-done:
				return
			case <-time.After(w.after - time.Since(begin)):
				g.Logf("not ready for %v:\n%s", w.after, w.report())
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// kernelReport tells the states of the devices, what daemons and kernel threads do, what is under way on
// the rings and in the devices' queues.
func kernelReport() string {
	var s strings.Builder
	if ctl, err := ublk.OpenControl(); err == nil {
		list, err := ctl.Devices(time.Second)
		fmt.Fprintf(&s, "devices: %+v, %v\n", list, err)
		_ = ctl.Close()
	}
	tasks, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	for _, dir := range tasks {
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		stack, _ := os.ReadFile(filepath.Join(dir, "stack"))
		if matters(string(name), string(stack)) {
			fmt.Fprintf(&s, "%s, %s %s%s", dir, taskState(dir), name, stack)
		}
	}
	// A task that can run and does not, on a CPU that is idle, has missed its interrupt.
	show(&s, "/proc/uptime", "/proc/loadavg", "/proc/interrupts", "/proc/softirqs")
	show(&s, "/sys/kernel/debug/block/ublkb*/hctx0/busy", "/sys/kernel/debug/block/ublkb*/requeue_list")
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "anon_inode:[io_uring]" {
			show(&s, strings.Replace(fd, "/fd/", "/fdinfo/", 1))
		}
	}
	return s.String()
}

// taskState tells whether a task can run (R) and the CPU that it is on, by fields 3 and 39 of its stat.
func taskState(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, "stat"))
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 37 {
		return "gone"
	}
	return fmt.Sprintf("state %s, CPU %s,", f[0], f[36])
}

// matters says of a task, by its name and stack, whether it is a daemon's or does work for one.
func matters(name, stack string) bool {
	return strings.HasPrefix(name, "unblend") || strings.HasPrefix(name, "iou-") ||
		strings.HasPrefix(name, "kworker") && strings.Contains(stack, "process_one_work")
}

// show prints files.
func show(s *strings.Builder, patterns ...string) {
	for _, p := range patterns {
		names, _ := filepath.Glob(p)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err == nil && len(text) > 0 {
				fmt.Fprintf(s, "%s:\n%s", name, text)
			}
		}
	}
}

// goroutineReport ends the daemon with a list of what its goroutines wait for.
func (g *guest) goroutineReport() string {
	_, _ = g.try("pkill -QUIT -x unblend; sleep 1")
	out, err := g.try("tail -n 600 " + g.prog.Log())
	if err != nil {
		return err.Error()
	}
	return out
}
