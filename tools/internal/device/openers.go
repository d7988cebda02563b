package device

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Opener is a process that has a device or file open.
type Opener struct {
	PID     int
	Command string // the kernel's short name of it
	VM      string // the virtual machine it runs, if it is QEMU
	Writes  bool   // it opened the device for writing
}

// String names the process as messages do: "qemu-system-x86 (pid 4121, vm web1)".
func (o Opener) String() string {
	if o.VM != "" {
		return fmt.Sprintf("%s (pid %d, vm %s)", o.Command, o.PID, o.VM)
	}
	return fmt.Sprintf("%s (pid %d)", o.Command, o.PID)
}

// Openers returns the processes, this one excepted, that have the device or file at path open, as
// far as the user may see them.
func Openers(path string) ([]Opener, error) {
	_, x, err := machine.stat(path)
	if err != nil {
		return nil, err
	}
	return machine.openers(x), nil
}

// openers walks /proc/PID/fd. Processes come and go meanwhile: what vanishes is skipped.
func (h host) openers(x id) []Opener {
	dirs, err := filepath.Glob(filepath.Join(h.proc, "[0-9]*"))
	if err != nil {
		panic(err) // the pattern is a constant
	}
	var found []Opener
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if open, writes := h.hasOpen(dir, x); open {
			found = append(found, Opener{
				PID: pid, Command: readText(dir, "comm"), VM: guestName(dir), Writes: writes,
			})
		}
	}
	return found
}

// hasOpen reports whether the process has x open, and whether for writing.
func (h host) hasOpen(dir string, x id) (open, writes bool) {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false, false
	}
	for _, fd := range fds {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, "fd", fd.Name()), &st) != nil {
			continue
		}
		if inodeID(&st) == x {
			open = true
			writes = writes || openForWriting(filepath.Join(dir, "fdinfo", fd.Name()))
		}
	}
	return open, writes
}

func inodeID(st *unix.Stat_t) id {
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return id{BlockDevice, st.Rdev, 0}
	}
	return id{RegularFile, st.Dev, st.Ino}
}

// openForWriting reads the access mode from the octal flags of an fdinfo file.
func openForWriting(fdinfo string) bool {
	b, err := os.ReadFile(fdinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(v), 8, 64)
			return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}

// guestName returns the name of the virtual machine that a QEMU process was started with: of
// "-name guest=web1,debug-threads=on", web1.
func guestName(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || !bytes.Contains(b, []byte("qemu")) && !bytes.Contains(b, []byte("kvm")) {
		return ""
	}
	args := strings.Split(string(b), "\x00")
	for i, a := range args[:len(args)-1] {
		if a != "-name" && a != "--name" {
			continue
		}
		for j, part := range strings.Split(args[i+1], ",") {
			if v, ok := strings.CutPrefix(part, "guest="); ok {
				return v
			}
			if j == 0 && !strings.Contains(part, "=") {
				return part
			}
		}
	}
	return ""
}

// parseNumber reads "major:minor".
func parseNumber(s string) (uint64, bool) {
	a, b, ok := strings.Cut(s, ":")
	major, err1 := strconv.ParseUint(a, 10, 32)
	minor, err2 := strconv.ParseUint(b, 10, 32)
	return unix.Mkdev(uint32(major), uint32(minor)), ok && err1 == nil && err2 == nil
}
