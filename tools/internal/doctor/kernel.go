package doctor

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"unblend/bpf"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
	"unblend/ublk"
)

// The oldest kernel where everything promised works.
const minMajor, minMinor = 6, 12

const (
	loadModule = "modprobe ublk_drv && echo ublk_drv > /etc/modules-load.d/unblend.conf"
	asRoot     = "run this as root: sudo unblend doctor"
)

func (h Host) user() control.DoctorCheck {
	if h.UID == 0 {
		return ok("user", "root")
	}
	return warn("user", fmt.Sprintf("user %d; serving needs root, and so does a part of this list",
		h.UID), asRoot)
}

func (h Host) kernel() control.DoctorCheck {
	var major, minor int
	if _, err := fmt.Sscanf(h.Release, "%d.%d", &major, &minor); err != nil {
		return warn("kernel", fmt.Sprintf("release %q is not a version", h.Release),
			fmt.Sprintf("boot Linux %d.%d or newer", minMajor, minMinor))
	}
	if major < minMajor || major == minMajor && minor < minMinor {
		return fix("kernel", "Linux "+h.Release, fmt.Sprintf(
			"boot Linux %d.%d or newer (Debian 13: apt install linux-image-amd64)", minMajor,
			minMinor))
	}
	return ok("kernel", "Linux "+h.Release)
}

// ioUring checks the switch (kernel.io_uring_disabled, Linux 6.6) and makes a ring.
func (h Host) ioUring() control.DoctorCheck {
	enable := "sysctl -w kernel.io_uring_disabled=0"
	switch disabled := h.text("/proc/sys/kernel/io_uring_disabled"); {
	case disabled == "2":
		return fix("io_uring", "disabled for everybody", enable)
	case disabled == "1" && h.UID != 0:
		return warn("io_uring", "enabled for root alone", asRoot)
	}
	switch err := h.Rings(); {
	case err == nil:
		return ok("io_uring", "enabled")
	case errors.Is(err, unix.ENOSYS):
		return fix("io_uring", "not in this kernel", "boot a kernel with CONFIG_IO_URING=y")
	default:
		return fix("io_uring", err.Error(),
			"leave the container, or allow io_uring_setup in its seccomp profile")
	}
}

// module checks that the ublk driver is there or can be loaded.
func (h Host) module() control.DoctorCheck {
	lib := "/lib/modules/" + h.Release
	listed := func(line string) bool { return strings.Contains(line, "/ublk_drv.ko") }
	switch {
	case h.exists("/sys/module/ublk_drv"), h.exists("/dev/ublk-control"):
		return ok("ublk_drv", "loaded")
	case h.anyLine(listed, lib+"/modules.builtin"):
		return ok("ublk_drv", "in the kernel")
	case h.anyLine(listed, lib+"/modules.dep"):
		return fix("ublk_drv", "not loaded", loadModule)
	}
	return fix("ublk_drv", "this kernel has no such module",
		"boot a kernel with CONFIG_BLK_DEV_UBLK=m (Debian's kernels have it)")
}

func (h Host) controlDevice() control.DoctorCheck {
	if h.exists("/dev/ublk-control") {
		return ok("ublk-control", "/dev/ublk-control is there")
	}
	if h.exists("/sys/module/ublk_drv") {
		return fix("ublk-control", "/dev/ublk-control is missing though the module is loaded",
			`mknod -m 600 /dev/ublk-control c 10 `+
				`"$(sed -n 's/ ublk-control$//p' /proc/misc | tr -d ' ')"`)
	}
	return fix("ublk-control", "/dev/ublk-control is missing", h.module().Fix)
}

func (h Host) ublkFeatures() control.DoctorCheck {
	f, err := h.Features()
	switch {
	case err == nil:
	case errors.Is(err, ublk.ErrPermission) && h.UID != 0:
		return warn("ublk-features", err.Error(), asRoot)
	case errors.Is(err, ublk.ErrNoDriver):
		return fix("ublk-features", "unknown without the driver", h.module().Fix)
	default:
		return fix("ublk-features", err.Error(), "look: dmesg | grep ublk")
	}
	if err := f.Require(ublk.Required); err != nil {
		return fix("ublk-features", err.Error(), "boot a newer kernel")
	}
	return ok("ublk-features", f.String())
}

// cpus: the shard's thread must not share its CPU with the runtime and the control socket.
func (h Host) cpus() control.DoctorCheck {
	if h.CPUs < 2 {
		return warn("cpus", "1; guests' writes compete with everything else", "use 2 CPUs or more")
	}
	return ok("cpus", fmt.Sprint(h.CPUs))
}

// memlock: the daemon locks its memory, since it must not be paged out to what it serves. Root may
// lock without limit.
func (h Host) memlock() control.DoctorCheck {
	switch {
	case h.Memlock == unix.RLIM_INFINITY:
		return ok("memlock", "unlimited")
	case h.UID == 0:
		return ok("memlock", "no limit for root")
	case h.Memlock < control.DefaultMemory:
		return warn("memlock", fmt.Sprintf("%s, the daemon wants %s",
			units.FormatSize(int64(h.Memlock)), units.FormatSize(control.DefaultMemory)),
			"ulimit -l unlimited; in a unit: LimitMEMLOCK=infinity")
	}
	return ok("memlock", units.FormatSize(int64(h.Memlock)))
}

// tracing asks for what `unblend trace` needs. Serving needs none of it.
func (h Host) tracing() []control.DoctorCheck {
	var all []control.DoctorCheck
	for _, f := range h.Tracing() {
		name := "trace-" + f.Name
		switch {
		case f.Err == nil:
			all = append(all, ok(name, f.Need))
		case errors.Is(f.Err, bpf.ErrPermission) && h.UID != 0:
			all = append(all, warn(name, f.Need+": "+bpf.ErrPermission.Error(), asRoot))
		case errors.Is(f.Err, bpf.ErrUnsupported):
			all = append(all, warn(name, f.Need+": not in this kernel",
				"boot a kernel with CONFIG_DEBUG_INFO_BTF=y and CONFIG_BPF_SYSCALL=y"))
		default:
			all = append(all, warn(name, fmt.Sprintf("%s: %v", f.Need, f.Err),
				"leave the container, or give it CAP_BPF and CAP_PERFMON"))
		}
	}
	return all
}
