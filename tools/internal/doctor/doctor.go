// Package doctor finds out what a machine lacks for unblend and says how to mend it. Each check
// looks at one thing, changes nothing, and names the exact command. What serving volumes needs is
// told from what is merely better to have.
package doctor

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"unblend/bpf"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/tools/internal/units"
	"unblend/ublk"
)

// Host is the machine as the checks see it. Tests make their own.
type Host struct {
	Root     string // in front of every path; "" for the machine itself
	Release  string // of the kernel
	UID      int
	CPUs     int
	Memlock  uint64 // soft limit in bytes, unix.RLIM_INFINITY for none
	Rings    func() error
	Features func() (ublk.Features, error)
	Tracing  func() []bpf.Feature
	Inspect  func(path string) (device.Report, error)
}

// featuresTime bounds the question to the ublk driver.
const featuresTime = 10 * time.Second

// Machine returns the machine that this runs on.
func Machine() (Host, error) {
	var uts unix.Utsname
	var lim unix.Rlimit
	if err := unix.Uname(&uts); err != nil {
		return Host{}, fmt.Errorf("uname: %w", err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim); err != nil {
		return Host{}, fmt.Errorf("getrlimit: %w", err)
	}
	return Host{
		Release:  unix.ByteSliceToString(uts.Release[:]),
		UID:      os.Geteuid(),
		CPUs:     runtime.NumCPU(),
		Memlock:  lim.Cur,
		Rings:    tryRing,
		Features: askDriver,
		Tracing:  bpf.Probe,
		Inspect:  device.Inspect,
	}, nil
}

// Run makes all checks, and one for each path that is to back a pool.
func (h Host) Run(paths []string) control.DoctorResult {
	r := control.DoctorResult{Schema: control.SchemaDoctor, OK: true}
	checks := []control.DoctorCheck{
		h.user(), h.kernel(), h.ioUring(), h.module(), h.controlDevice(), h.ublkFeatures(),
		h.cpus(), h.memlock(), h.udevRule(), h.lvmFilter(),
	}
	checks = append(checks, h.tracing()...)
	for _, p := range paths {
		checks = append(checks, h.backing(p))
	}
	for _, c := range checks {
		r.OK = r.OK && c.State != control.DoctorFix
		r.Checks = append(r.Checks, c)
	}
	return r
}

// ok, warn and fix make the three kinds of outcome. Details come from anywhere and may hold
// anything.
func ok(name, detail string) control.DoctorCheck {
	return control.DoctorCheck{
		Name: name, State: control.DoctorOK, Detail: units.Printable(detail),
	}
}

func warn(name, detail, fix string) control.DoctorCheck {
	return control.DoctorCheck{
		Name: name, State: control.DoctorWarn, Detail: units.Printable(detail), Fix: fix,
	}
}

func fix(name, detail, fix string) control.DoctorCheck {
	return control.DoctorCheck{
		Name: name, State: control.DoctorFix, Detail: units.Printable(detail), Fix: fix,
	}
}

// path returns where a file of the machine is.
func (h Host) path(name string) string { return filepath.Join(h.Root, name) }

func (h Host) exists(name string) bool {
	_, err := os.Stat(h.path(name))
	return err == nil
}

// text returns a file's content without surrounding blanks, "" if it cannot be read.
func (h Host) text(name string) string {
	b, err := os.ReadFile(h.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// anyLine reports whether f accepts a line of one of the files.
func (h Host) anyLine(f func(line string) bool, names ...string) bool {
	for _, name := range names {
		file, err := os.Open(h.path(name))
		if err != nil {
			continue
		}
		found := false
		for s := bufio.NewScanner(file); !found && s.Scan(); {
			found = f(s.Text())
		}
		file.Close()
		if found {
			return true
		}
	}
	return false
}

// tryRing makes an io_uring and drops it: containers and seccomp may forbid what sysctl allows.
func tryRing() error {
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func askDriver() (f ublk.Features, err error) {
	c, err := ublk.OpenControl()
	if err != nil {
		return 0, err
	}
	f, err = c.Features(featuresTime)
	if closed := c.Close(); err == nil {
		err = closed
	}
	return f, err
}
