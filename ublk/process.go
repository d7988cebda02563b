package ublk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A process that serves block devices is on the path by which the kernel frees memory: it must
// neither be paged out nor, when it allocates in the kernel, wait for writes that it would have to
// serve itself. The functions here are called once, early in main.

// Flags of a task (include/linux/sched.h, unchanged from 5.12 to 7.3) that PR_SET_IO_FLUSHER sets.
const ioFlusherFlags = 0x00080000 | 0x00100000 // PF_MEMALLOC_NOIO, PF_LOCAL_THROTTLE

// SetIOFlusher declares all threads of the process, and those they will start, to be on the write
// path (PR_SET_IO_FLUSHER, 5.6). It needs CAP_SYS_RESOURCE and a program without cgo.
func SetIOFlusher() error {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_IO_FLUSHER, 1, 0)
	if errno != 0 {
		return fmt.Errorf("declare threads as I/O flushers: %w", errno)
	}
	return nil
}

// LockMemory keeps the process's pages in memory: those it has, and every later one once it is
// touched (mlockall). It needs CAP_IPC_LOCK or RLIMIT_MEMLOCK.
func LockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock memory: %w", err)
	}
	return nil
}

// ProtectFromOOM makes the kernel's out-of-memory killer take any other process first.
func ProtectFromOOM() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		return fmt.Errorf("out-of-memory score: %w", err)
	}
	return nil
}

// PrepareProcess does all of the above, and returns everything that did not succeed: a server can
// run without, and is then at risk when memory is short.
func PrepareProcess() error {
	return errors.Join(SetIOFlusher(), LockMemory(), ProtectFromOOM())
}

// CheckProcess returns an error that names what PrepareProcess should have brought about and is
// not so, as the kernel reports it: threads by number, and memory that is not locked.
func CheckProcess() error {
	var errs []error
	bare, err := threadsWithoutFlags(ioFlusherFlags)
	if err != nil {
		return err
	}
	if len(bare) > 0 {
		errs = append(errs, fmt.Errorf("threads %v are no I/O flushers", bare))
	}
	locked, err := lockedMemory()
	if err != nil {
		return err
	}
	if locked == 0 {
		errs = append(errs, errors.New("memory is not locked"))
	}
	return errors.Join(errs...)
}

// threadsWithoutFlags returns the threads of this process that lack any of flags.
func threadsWithoutFlags(flags uint64) (tids []int, err error) {
	names, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended
		}
		if err != nil {
			return nil, err
		}
		// The name in parentheses may contain anything; flags are the 7th field behind it.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) < 7 {
			return nil, fmt.Errorf("%s: %d fields behind the name", name, len(f))
		}
		v, err := strconv.ParseUint(f[6], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: flags: %w", name, err)
		}
		if v&flags != flags {
			tid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// lockedMemory returns how many bytes of the process are locked.
func lockedMemory() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmLck:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/self/status: no VmLck")
}
