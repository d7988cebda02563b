package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// udevDirs are where udev looks for rules.
var udevDirs = []string{
	"/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d",
	"/usr/lib/udev/rules.d", "/lib/udev/rules.d",
}

const (
	udevFix = "make install (it installs the rule), then: udevadm control --reload"
	lvmFix  = `make install, or add "r|^/dev/ublkb.*|" to global_filter in the devices ` +
		"section of /etc/lvm/lvmlocal.conf"
)

// udevRule checks for rules that keep blkid away from guests' disks. Any file will do that names
// the devices and switches the probing off.
func (h Host) udevRule() control.DoctorCheck {
	if !h.exists("/run/udev/control") {
		return ok("udev-rule", "no udev runs here")
	}
	for _, dir := range udevDirs {
		files, err := os.ReadDir(h.path(dir))
		if err != nil {
			continue
		}
		for _, f := range files {
			name := filepath.Join(dir, f.Name())
			if strings.HasSuffix(name, ".rules") && h.anyLine(namesDisks, name) &&
				h.anyLine(stopsProbing, name) {
				return ok("udev-rule", name)
			}
		}
	}
	return fix("udev-rule", "udev reads what guests write on their disks", udevFix)
}

func namesDisks(line string) bool {
	return !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.Contains(line, "ublkb")
}

// stopsProbing tells the rule that sets the flag from udev's own, which asks for it with ==.
func stopsProbing(line string) bool {
	return !strings.HasPrefix(strings.TrimSpace(line), "#") &&
		strings.Contains(line, `UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"`)
}

// lvmFilter checks that LVM does not take guests' physical volumes for the host's: by a filter, or
// by a devices file, which lists what LVM may use.
func (h Host) lvmFilter() control.DoctorCheck {
	if !h.exists("/etc/lvm/lvm.conf") && !h.exists("/sbin/lvm") && !h.exists("/usr/sbin/lvm") {
		return ok("lvm-filter", "no LVM here")
	}
	if h.exists("/etc/lvm/devices/system.devices") {
		return ok("lvm-filter", "LVM keeps to its devices file")
	}
	hides := func(line string) bool {
		line, _, _ = strings.Cut(line, "#")
		return strings.Contains(line, "r|") && strings.Contains(line, "ublkb")
	}
	if h.anyLine(hides, "/etc/lvm/lvmlocal.conf", "/etc/lvm/lvm.conf") {
		return ok("lvm-filter", "LVM leaves /dev/ublkb* alone")
	}
	return fix("lvm-filter", "LVM would activate what guests have on their disks", lvmFix)
}

// backing looks at a device or file that is to back a pool.
func (h Host) backing(path string) control.DoctorCheck {
	name := "backing " + path
	r, err := h.Inspect(path)
	if err != nil {
		return fix(name, err.Error(), "name a block device or a regular file")
	}
	i := r.Info
	detail := fmt.Sprintf("%s of %s", i.Kind, units.FormatSize(i.Size))
	if i.Model != "" {
		detail += ", " + i.Model
	}
	if i.Rotational {
		detail += ", rotational"
	}
	switch {
	case i.VolatileCache && i.FUA:
		detail += ", volatile cache with FUA"
	case i.VolatileCache:
		detail += ", volatile cache without FUA: every log write costs a flush of the device"
	case i.LogicalBlock != 0:
		detail += ", no volatile cache"
	}
	switch {
	case i.ReadOnly:
		return fix(name, detail+"; read-only", "blockdev --setrw "+path)
	case len(r.Users) > 0:
		return warn(name, detail+"; in use: "+strings.Join(r.Users, ", "), "name another device")
	case len(r.Holds) > 0:
		holds := make([]string, len(r.Holds))
		for k, s := range r.Holds {
			holds[k] = s.String()
		}
		return warn(name, detail+"; holds "+strings.Join(holds, ", "),
			"name another device; init --force destroys what is there")
	}
	return ok(name, detail+"; free")
}
