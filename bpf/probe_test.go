package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// TestProbe holds that a kernel as new as the oldest supported one has everything, when asked by a
// user who may.
func TestProbe(t *testing.T) {
	var major, minor int
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(uts.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	for _, f := range Probe() {
		switch {
		case f.Name == "" || f.Need == "":
			t.Errorf("feature without a name or a need: %+v", f)
		case f.Err == nil:
		case errors.Is(f.Err, ErrPermission) && os.Getuid() != 0:
			t.Logf("%s: %v", f.Name, f.Err)
		case major*100+minor < 612:
			t.Skipf("%s: Linux %d.%d is older than 6.12: %v", f.Name, major, minor, f.Err)
		default:
			t.Errorf("%s on Linux %d.%d: %v", f.Name, major, minor, f.Err)
		}
	}
}

// TestProbeTells holds that what cannot be loaded is reported and not passed over.
func TestProbeTells(t *testing.T) {
	if tryProgram("block_no_such_event", empty) == nil {
		t.Error("a program for a tracepoint that does not exist was loaded")
	}
	if os.Getuid() != 0 {
		t.Skip("the rest needs root")
	}
	m, err := ebpf.NewMap(lockedMap())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	// Without the unlock the verifier must refuse: the program above is really looked at.
	ins := lockedProgram(m.FD())
	ins = append(ins[:9:9], asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return())
	if tryProgram(Tracepoints[0], ins) == nil {
		t.Error("a program that returns with the lock held was loaded")
	}
}

func TestClassify(t *testing.T) {
	for _, x := range []struct{ in, want error }{
		{nil, nil},
		{ebpf.ErrNotSupported, ErrUnsupported},
		{fmt.Errorf("x: %w", unix.ENOSYS), ErrUnsupported},
		{fs.ErrNotExist, ErrUnsupported},
		{fmt.Errorf("x: %w", unix.EPERM), ErrPermission},
		{unix.EACCES, ErrPermission},
		{unix.ENOMEM, unix.ENOMEM},
	} {
		if got := classify(x.in); !errors.Is(got, x.want) || x.in != nil && !errors.Is(got, x.in) {
			t.Errorf("classify(%v) = %v, want %v", x.in, got, x.want)
		}
	}
}
