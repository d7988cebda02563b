package ublk

import (
	"fmt"
	"math/bits"
	"strings"
)

// Features are UBLK_F_ flags: what a kernel offers, or what a device was added with.
type Features uint64

// The flags of Linux 7.3 by the version that introduced each. GET_FEATURES reports what the driver
// knows; a device's flags, read back after it was added, are what it granted.
const (
	SupportZeroCopy    Features = 1 << 0  // the bit is of 6.0, the function of 6.15
	CompInTask         Features = 1 << 1  // 6.0
	NeedGetData        Features = 1 << 2  // 6.0
	UserRecovery       Features = 1 << 3  // 6.1: the disk outlives its server
	UserRecoveryRetry  Features = 1 << 4  // 6.1: UBLK_F_USER_RECOVERY_REISSUE
	UnprivilegedDev    Features = 1 << 5  // 6.3
	CmdIoctlEncode     Features = 1 << 6  // 6.4
	UserCopy           Features = 1 << 7  // 6.5: data by pread and pwrite
	Zoned              Features = 1 << 8  // 6.6
	UserRecoveryFailIO Features = 1 << 9  // 6.13
	UpdateSize         Features = 1 << 10 // 6.16: a live device can be resized
	AutoBufReg         Features = 1 << 11 // 6.16
	Quiesce            Features = 1 << 12 // 6.16: a server can be detached without dying
	PerIODaemon        Features = 1 << 13 // 6.16
	BufRegOffDaemon    Features = 1 << 14 // 6.17
	BatchIO            Features = 1 << 15 // 7.0
	Integrity          Features = 1 << 16 // 7.0
	SafeStopDev        Features = 1 << 17 // 7.0: TRY_STOP_DEV
	NoAutoPartScan     Features = 1 << 18 // 7.0: no partition scan when a device starts
	ShmemZeroCopy      Features = 1 << 19 // 7.1
	IODescSize         Features = 1 << 20 // 7.3
)

// Required is what every device here is added with and must have been granted.
const Required = UserRecovery | UserRecoveryRetry | CmdIoctlEncode | UserCopy

// featureTable names each flag and the version it came with, by bit.
var featureTable = [...]struct{ name, since string }{
	{"SUPPORT_ZERO_COPY", "6.15"},
	{"URING_CMD_COMP_IN_TASK", "6.0"},
	{"NEED_GET_DATA", "6.0"},
	{"USER_RECOVERY", "6.1"},
	{"USER_RECOVERY_REISSUE", "6.1"},
	{"UNPRIVILEGED_DEV", "6.3"},
	{"CMD_IOCTL_ENCODE", "6.4"},
	{"USER_COPY", "6.5"},
	{"ZONED", "6.6"},
	{"USER_RECOVERY_FAIL_IO", "6.13"},
	{"UPDATE_SIZE", "6.16"},
	{"AUTO_BUF_REG", "6.16"},
	{"QUIESCE", "6.16"},
	{"PER_IO_DAEMON", "6.16"},
	{"BUF_REG_OFF_DAEMON", "6.17"},
	{"BATCH_IO", "7.0"},
	{"INTEGRITY", "7.0"},
	{"SAFE_STOP_DEV", "7.0"},
	{"NO_AUTO_PART_SCAN", "7.0"},
	{"SHMEM_ZC", "7.1"},
	{"IO_DESC_SIZE", "7.3"},
}

// Has says whether all of want are among f.
func (f Features) Has(want Features) bool { return f&want == want }

// Require returns an *UnsupportedError that names what of want is not among f, and the first
// kernel version that has it.
func (f Features) Require(want Features) error {
	missing := want &^ f
	if missing == 0 {
		return nil
	}
	worst := bits.Len64(uint64(missing)) - 1 // versions rise with the bits
	since := "a newer kernel than this program knows"
	if worst < len(featureTable) {
		since = featureTable[worst].since
	}
	return &UnsupportedError{Name: "ublk " + missing.String(), Since: since}
}

// Since returns the kernel version that introduced a single flag, or "".
func (f Features) Since() string {
	if bit := bits.TrailingZeros64(uint64(f)); bit < len(featureTable) && f == 1<<bit {
		return featureTable[bit].since
	}
	return ""
}

// String names the flags as the kernel's header does, without the UBLK_F_.
func (f Features) String() string {
	if f == 0 {
		return "none"
	}
	var names []string
	for ; f != 0; f &= f - 1 {
		bit := bits.TrailingZeros64(uint64(f))
		if bit < len(featureTable) {
			names = append(names, featureTable[bit].name)
		} else {
			names = append(names, fmt.Sprintf("bit %d", bit))
		}
	}
	return strings.Join(names, "|")
}
