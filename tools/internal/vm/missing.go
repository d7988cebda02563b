package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// tools are the host programs a machine needs and the Debian packages that hold them.
var tools = []struct{ program, pkg string }{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"busybox", "busybox-static"},
	{"depmod", "kmod"},
	{"xz", "xz-utils"},
	{"dpkg-deb", "dpkg"},
	{"apt-get", "apt"},
}

// MissingError tells what this machine lacks to run a virtual machine.
type MissingError struct {
	Packages []string // Debian packages to install; empty when Reason says it all
	Reason   string
}

func (e *MissingError) Error() string {
	if len(e.Packages) == 0 {
		return e.Reason
	}
	return fmt.Sprintf("not installed: %s; to install: %s", strings.Join(e.Packages, ", "), e.Fix())
}

// Fix returns the command that installs what is missing, or nothing.
func (e *MissingError) Fix() string {
	if len(e.Packages) == 0 {
		return ""
	}
	return "apt-get update && apt-get install -y --no-remove " + strings.Join(e.Packages, " ")
}

// Missing returns nil, or a *MissingError that names the packages to install.
func Missing() error {
	if runtime.GOARCH != "amd64" {
		return &MissingError{Reason: "the guest runs this machine's programs: it must be amd64"}
	}
	var packages []string
	for _, t := range tools {
		path, err := findTool(t.program)
		if err != nil || t.program == "busybox" && !isStatic(path) {
			packages = append(packages, t.pkg)
		}
	}
	if len(packages) > 0 {
		return &MissingError{Packages: packages}
	}
	return nil
}

// findTool returns the path of a program. depmod and busybox may lie outside an ordinary user's
// PATH.
func findTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin", "/bin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		return "", fmt.Errorf("%s: not found", name)
	}
	return path, nil
}

// isStatic tells whether a program needs no dynamic linker: there is none in the initramfs.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// TB is the part of testing.TB that Need uses.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Need skips a test where a machine cannot run, naming the reason. With CI=true or
// UNBLEND_NO_SKIP=1 it fails the test instead: a run that must prove something skips nothing.
func Need(t TB) {
	t.Helper()
	var missing *MissingError
	if !errors.As(Missing(), &missing) {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("UNBLEND_NO_SKIP") == "1" {
		t.Fatalf("virtual machine: %v", missing)
	}
	t.Skipf("virtual machine: %v", missing)
}
