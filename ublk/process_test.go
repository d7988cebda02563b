package ublk

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The settings last for the life of a process, so a process of its own makes them.
func TestPreparedProcessIsPrepared(t *testing.T) {
	if err := unix.Prctl(unix.PR_GET_IO_FLUSHER, 0, 0, 0, 0); err == unix.EPERM {
		skip(t, "declaring an I/O flusher needs CAP_SYS_RESOURCE")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=process")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// prepareAndCheck is the helper: not prepared, then prepared, with threads from before and after.
func prepareAndCheck() error {
	threads(4)
	err := CheckProcess()
	if err == nil || !strings.Contains(err.Error(), "no I/O flushers") ||
		!strings.Contains(err.Error(), "not locked") {
		return fmt.Errorf("before: %v, want both faults", err)
	}
	if err := PrepareProcess(); err != nil {
		return err
	}
	threads(8)
	if err := CheckProcess(); err != nil {
		return fmt.Errorf("after: %w", err)
	}
	return nil
}

// threads makes n goroutines hold a thread each at the same time.
func threads(n int) {
	var all, end sync.WaitGroup
	all.Add(n)
	end.Add(1)
	for range n {
		go func() {
			runtime.LockOSThread()
			all.Done()
			end.Wait()
			runtime.UnlockOSThread()
		}()
	}
	all.Wait()
	end.Done()
}
