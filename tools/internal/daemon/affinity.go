package daemon

import (
	"fmt"
	"path/filepath"
	"syscall"
	"unsafe"

	"unblend/log"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"

	"golang.org/x/sys/unix"
)

// Where the threads run decides where their memory is: the kernel takes a page from the node of the CPU
// that touches it first. A list of CPUs is therefore obeyed by the whole process, before it makes anything
// large, and each shard makes its requests' memory on CPUs of its own (package shard). Without a list the
// memory is to be near the log's device, wherever the threads run.

// confine has all threads of the process, and those to come, run on some of the CPUs that it may use.
func confine(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var may, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return fmt.Errorf("CPUs: %w", err)
	}
	for _, cpu := range cpus {
		if !may.IsSet(cpu) {
			return &control.Error{
				Code: control.CodeBadRequest,
				Message: fmt.Sprintf("--cpu: CPU %d is not there, or not for this process: it has %s",
					cpu, listOf(&may)),
			}
		}
		set.Set(cpu)
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set),
		uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		return fmt.Errorf("run on CPUs %s: %w", units.FormatCPUs(cpus), errno)
	}
	return nil
}

// listOf returns a set as --cpu takes it.
func listOf(set *unix.CPUSet) string {
	var cpus []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return units.FormatCPUs(cpus)
}

// maxNode is the highest number of a node that a memory policy is given.
const maxNode = 63

// memoryNear has the memory of all threads, and of those to come, taken from a node while that has some
// free. Where there is one node only, or it is not known which is near, nothing is done.
func memoryNear(node int) error {
	nodes, err := filepath.Glob("/sys/devices/system/node/node[0-9]*")
	if err != nil || len(nodes) < 2 || node < 0 || node > maxNode {
		return err
	}
	mask := uint64(1) << node
	// The kernel looks at one bit less than it is told of.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_SET_MEMPOLICY, unix.MPOL_PREFERRED,
		uintptr(unsafe.Pointer(&mask)), maxNode+2)
	if errno != 0 {
		return fmt.Errorf("memory of node %d: %w", node, errno)
	}
	return nil
}

// placeMemory sets where what the pool takes comes from, unless the CPUs decide that.
func (d *daemon) placeMemory() {
	fast := d.backing.Devices[log.Fast]
	if fast == nil || len(d.cfg.CPUs) > 0 {
		return
	}
	if err := memoryNear(fast.Info().Node); err != nil {
		d.log.Warn("the memory may be far from the log's device", "err", err)
	}
}
