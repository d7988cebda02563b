package vmbench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of the times in /proc: USER_HZ is 100 on every machine that this runs on.
const tick = 10 * time.Millisecond

// start is when the clock begins that idle time is taken from.
var start = time.Now()

// usage is the processor time that a machine has used at a moment.
type usage struct {
	busy   time.Duration // all CPUs together, in user space and kernel; only differences count
	others time.Duration // of it: children of this process that have ended, in user space: fio
	server time.Duration // of it: the processes that serve
}

// usageOf reads the times of now; comm is the name of the processes that serve, or empty.
func usageOf(comm string) (u usage, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	idle, err := idleTime(string(stat))
	if err != nil {
		return u, err
	}
	u.busy = time.Since(start)*time.Duration(runtime.NumCPU()) - idle
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &r); err != nil {
		return u, err
	}
	u.others = time.Duration(r.Utime.Nano())
	if comm != "" {
		u.server, err = processTime(comm)
	}
	return u, err
}

// sub returns what was used since before.
func (u usage) sub(before usage) usage {
	return usage{u.busy - before.busy, u.others - before.others, u.server - before.server}
}

// idleTime reads the first line of /proc/stat: ticks that all CPUs have spent as user, nice, system, idle,
// iowait, and more. The kernel measures the two in which a CPU rests, and only samples the others.
func idleTime(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 6 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: its first line is %q", line)
	}
	n := uint64(0)
	for _, field := range f[4:6] {
		v, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		n += v
	}
	return time.Duration(n) * tick, nil
}

// processTime returns what all processes of that name have used, in user space and kernel.
func processTime(comm string) (total time.Duration, err error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		is, used, err := parseProcess(string(text))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		if is == comm {
			total += used
		}
	}
	return total, nil
}

// parseProcess reads /proc/PID/stat. The name stands in parentheses and may contain anything; of what
// follows, the 12th and 13th field are the times in user space and kernel.
func parseProcess(stat string) (comm string, used time.Duration, err error) {
	from, to := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if from < 0 || to < from {
		return "", 0, fmt.Errorf("no name in %q", stat)
	}
	f := strings.Fields(stat[to+1:])
	if len(f) < 13 {
		return "", 0, fmt.Errorf("%d fields behind the name", len(f))
	}
	user, err := strconv.ParseUint(f[11], 10, 64)
	if err != nil {
		return "", 0, err
	}
	system, err := strconv.ParseUint(f[12], 10, 64)
	return stat[from+1 : to], time.Duration(user+system) * tick, err
}
