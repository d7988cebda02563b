package daemon

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are the capabilities that serving takes once the pool is open: CAP_SYS_ADMIN for ublk's control
// device and io_uring, CAP_IPC_LOCK for registered memory, CAP_SYS_RESOURCE for threads on the write
// path, CAP_CHOWN for the socket's group; CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH to name who has a volume
// open. The service has the same ones (tools/install/unblend.service).
const kept uint64 = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_IPC_LOCK | 1<<unix.CAP_SYS_RESOURCE |
	1<<unix.CAP_CHOWN | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_READ_SEARCH

// What all threads give to capset(2), where it does not move. Version 3: two words of each set.
var (
	capHeader = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	capSets   [2]unix.CapUserData
)

// dropPrivileges takes all other capabilities from every thread of the process, for good. No program that it
// starts gets more than it has: no_new_privs has execve(2) give root nothing that is not permitted already
// (security/commoncap.c, 6.12 and 7.3), whatever the bounding set would let through. That set is left alone
// for this reason, and because each capability dropped from it would stop all threads once more, while
// guests wait. A process that has no capability to give away is left as it is.
func dropPrivileges() error {
	hdr, sets := &capHeader, &capSets
	if err := unix.Capget(hdr, &sets[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	for i := range sets {
		mask := uint32(kept >> (32 * i))
		sets[i].Permitted &= mask
		sets[i].Effective &= mask
		sets[i].Inheritable = 0
	}
	return errors.Join(
		inAllThreads("no new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1),
		inAllThreads("capabilities", unix.SYS_CAPSET,
			uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(sets))))
}

// inAllThreads makes a system call in every thread, and in those to come.
func inAllThreads(what string, call, a, b uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(call, a, b, 0); errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}
