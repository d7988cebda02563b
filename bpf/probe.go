// Package bpf is unblend's side of the kernel's BPF: the analysis of the streams of writes, which runs
// in the kernel (blend.bpf.c, Analyzer), the way of single requests (requests.bpf.c, Requests), and what
// tracing needs of the kernel, found out by trying (Probe). The daemon has no BPF and does not import this
// package; the tracer and doctor do.
//
// Tracing attaches programs of type BPF_PROG_TYPE_TRACING to the block layer's raw tracepoints
// (tp_btf): of the kinds of tracing program that Linux 6.12 to 7.3 have, it alone may take a
// bpf_spin_lock, without which "the last request ended here" cannot be compared and replaced as
// one step.
package bpf

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Tracepoints are those that tracing attaches to. Their prototypes are the same from Linux 6.12 to
// 7.3.
var Tracepoints = []string{
	"block_rq_issue", "block_bio_queue", "block_rq_complete", "block_bio_complete",
	"block_bio_backmerge", "block_bio_frontmerge",
}

var (
	// ErrUnsupported is returned when the kernel lacks something: the text says what.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrPermission is returned when this process may not find out: BPF needs CAP_BPF and
	// CAP_PERFMON.
	ErrPermission = errors.New("needs root (CAP_BPF and CAP_PERFMON)")
)

// Feature is one thing that tracing needs of the kernel.
type Feature struct {
	Name string
	Need string // what for
	Err  error  // nil: it is there; ErrUnsupported, ErrPermission, or what else happened
}

// Probe tries everything that tracing needs. It changes nothing that outlives the call.
func Probe() []Feature {
	return []Feature{
		{"btf", "field offsets of this kernel", haveBTF()},
		{"maps", "counters per stream", haveMaps()},
		{"rq-issue", "requests of devices", tryProgram(Tracepoints[0], empty)},
		{"bio-queue", "devices below dm and md", tryProgram(Tracepoints[1], empty)},
		{"ring", "single requests", haveRing()},
		{"completion", "how long requests take", tryPrograms(Tracepoints[2:])},
		{"spin-lock", "sequential runs, without races", trySpinLock()},
	}
}

// haveBTF tells whether the kernel describes its types (/sys/kernel/btf/vmlinux).
func haveBTF() error {
	if _, err := btf.LoadKernelSpec(); err != nil {
		return classify(err)
	}
	return nil
}

func haveMaps() error {
	hash, array := features.HaveMapType(ebpf.Hash), features.HaveMapType(ebpf.Array)
	return classify(errors.Join(hash, array))
}

func haveRing() error {
	ring, lru := features.HaveMapType(ebpf.RingBuf), features.HaveMapType(ebpf.LRUHash)
	return classify(errors.Join(ring, lru))
}

func tryPrograms(tracepoints []string) error {
	for _, name := range tracepoints {
		if err := tryProgram(name, empty); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// empty is a program that does nothing.
var empty = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}

// tryProgram loads a program for a raw tracepoint and drops it again. (features.HaveProgramType
// tries a trampoline on a function instead, which kernels may refuse that have all we need.) The
// license is what the kernel asks of programs that call its GPL-only helpers.
func tryProgram(tracepoint string, ins asm.Instructions) error {
	prog, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
		Name:         "probe",
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceRawTp,
		AttachTo:     tracepoint,
		Instructions: ins,
		License:      "Dual MIT/GPL",
	}, ebpf.ProgramOptions{LogDisabled: true})
	if err != nil {
		return classify(err)
	}
	return prog.Close()
}

// trySpinLock tries a program that takes a lock in a map's value.
func trySpinLock() error {
	m, err := ebpf.NewMap(lockedMap())
	if err != nil {
		return classify(err)
	}
	defer m.Close()
	return tryProgram(Tracepoints[0], lockedProgram(m.FD()))
}

// lockedMap describes an array of one value that begins with a lock; its type information tells
// the kernel where the lock is.
func lockedMap() *ebpf.MapSpec {
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	lock := &btf.Struct{
		Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32}},
	}
	return &ebpf.MapSpec{
		Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Key: u32,
		Value: &btf.Struct{Name: "stream", Size: 8, Members: []btf.Member{
			{Name: "lock", Type: lock}, {Name: "last", Type: u32, Offset: 32},
		}},
	}
}

// lockedProgram looks the value up, locks it and unlocks it.
func lockedProgram(fd int) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, fd),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Reg(asm.R6, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnSpinLock.Call(),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnSpinUnlock.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}

// classify tells what the kernel does not have from what this process may not ask.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS),
		errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	}
	return err
}
