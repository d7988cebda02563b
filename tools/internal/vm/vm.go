// Package vm boots one of Debian's kernels in QEMU on this machine's own root file system and runs
// one command in it, as root. It is how the project tests on real kernels where the machine's own
// has no ublk and no KVM: everything is emulated, a boot takes five to ten seconds.
//
// The guest's / is the host's /, read-only over 9p, below an overlay in memory: the guest sees
// every program and the checkout, and nothing it writes lasts. What must last goes to /rw, a host
// directory (Config.Share), or to a drive (Config.Drives). /tmp is empty, except that the checkout
// stays visible when it lies there; /run and /dev are the guest's own. There is no udev, and
// systemd only where it is asked for (Config.Systemd).
//
// Kernels come from Debian's archive through apt into a cache outside the checkout, once; after
// that nothing needs the network. See Find.
//
// A guest's output and the end of its command arrive over one virtio port, in order, so that kernel
// messages never mix with them; those are kept in a file whose end is part of the error when a
// guest dies. QEMU of Debian 12 dies in early boot about once in twenty boots ("int3" in
// sched_clock_cpu): a machine that ends before its command started is booted once more.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Defaults of a Config.
const (
	DefaultKernel  = "6.12"
	DefaultMemory  = "4G"
	DefaultCPUs    = 2
	DefaultTimeout = 10 * time.Minute
)

// ErrKilled is returned when Kill ended the machine before its command did.
var ErrKilled = errors.New("the machine was killed")

// ErrTimeout is returned when a command did not end within Config.Timeout.
var ErrTimeout = errors.New("the command did not end in time")

// ErrDied is returned when the machine ended before its command did: a kernel panic, a power off
// by the command, or a dead emulator. The error's text holds the end of the kernel's messages.
var ErrDied = errors.New("the machine ended before its command")

// Config describes one machine and the one command it runs.
type Config struct {
	// Kernel is "6.12" (Debian 13's own), "backports" (the newest of its backports) or another
	// series of its backports, such as "7.3". Empty: DefaultKernel.
	Kernel string
	// Command is run by bash, with /dev/null as its input.
	Command string
	// Dir is the working directory in the guest, a host path. Empty: this process's own.
	Dir string
	// Env is added to the guest's environment, each "NAME=value". The guest has this process's
	// PATH, HOME=/root and UNBLEND_VM_GUEST=1.
	Env []string

	Memory  string        // as QEMU's -m; empty: DefaultMemory
	CPUs    int           // 0: DefaultCPUs
	SVM     bool          // emulate AMD's virtualization: modprobe kvm-amd gives /dev/kvm
	Counted bool          // the guest's clock counts instructions, 1 ns each, on one CPU
	Systemd bool          // systemd is the first process and runs the command; the host must have it
	Timeout time.Duration // from the start of the emulator; 0: DefaultTimeout

	Share  string   // a host directory, writable in the guest at /rw
	Files  []string // host files the guest sees, read-only, as /vm/BASENAME
	Drives []Drive  // block devices, in the guest at /dev/vm/NAME
	Args   []string // further arguments of QEMU
	Append string   // further words of the kernel's command line

	// Output gets what the command writes, as it comes. Nil: Result.Output collects it.
	Output io.Writer
	// Log gets a line when something takes long: a download, a second boot. Nil: nowhere.
	Log io.Writer
}

// Result tells how a command ended.
type Result struct {
	Status int           // exit status of the command
	Kernel string        // release of the kernel that ran it
	Boots  int           // 1, or 2 when the first boot died early
	Boot   time.Duration // from the start of the emulator to the start of the command
	Run    time.Duration // from the start of the command to its end
	Output string        // what the command wrote, when Config.Output is nil
}

// Run boots a machine, runs the command and waits for its end. A command that ends with a status
// other than 0 is no error. Ending ctx kills the machine.
func Run(ctx context.Context, cfg Config) (Result, error) {
	m, err := Start(ctx, cfg)
	if err != nil {
		return Result{}, err
	}
	return m.Wait()
}

// withDefaults returns cfg with its empty fields filled.
func (cfg Config) withDefaults() Config {
	if cfg.Kernel == "" {
		cfg.Kernel = DefaultKernel
	}
	if cfg.Memory == "" {
		cfg.Memory = DefaultMemory
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = DefaultCPUs
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	return cfg
}

// notef writes a line for the person who waits.
func notef(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "vm: "+format+"\n", args...)
}
