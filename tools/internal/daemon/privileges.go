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

// dropPrivileges takes all other capabilities from every thread of the process, for good, and has no
// program that it starts get more than it has. A process that has none to give away is left as it is.
func dropPrivileges() error {
	hdr, sets := &capHeader, &capSets
	if err := unix.Capget(hdr, &sets[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	var errs []error
	all := func(what string, call, a, b, c uintptr) {
		if _, _, errno := syscall.AllThreadsSyscall(call, a, b, c); errno != 0 {
			errs = append(errs, fmt.Errorf("%s: %w", what, errno))
		}
	}
	all("no new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	if sets[0].Effective>>unix.CAP_SETPCAP&1 == 1 {
		for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
			if kept>>c&1 == 0 && inBounds(c) {
				all("bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
			}
		}
	}
	for i := range sets {
		mask := uint32(kept >> (32 * i))
		sets[i].Permitted &= mask
		sets[i].Effective &= mask
		sets[i].Inheritable = 0
	}
	all("capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(sets)), 0)
	return errors.Join(errs...)
}

// inBounds reports whether the kernel knows a capability and the process may still get it.
func inBounds(c uintptr) bool {
	n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
	return err == nil && n == 1
}
