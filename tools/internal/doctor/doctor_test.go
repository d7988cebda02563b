package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"unblend/bpf"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/ublk"
)

// healthy returns a machine that lacks nothing. Each test takes something away.
func healthy(t *testing.T) Host {
	t.Helper()
	h := Host{
		Root: t.TempDir(), Release: "6.12.107+deb13-amd64", CPUs: 4, Memlock: unix.RLIM_INFINITY,
		Rings:    func() error { return nil },
		Features: func() (ublk.Features, error) { return ublk.Required | ublk.CompInTask, nil },
		Tracing:  func() []bpf.Feature { return []bpf.Feature{{Name: "btf", Need: "offsets"}} },
		Inspect: func(path string) (device.Report, error) {
			return device.Report{Info: device.Info{Path: path, Kind: device.BlockDevice}}, nil
		},
	}
	for name, text := range map[string]string{
		"/proc/sys/kernel/io_uring_disabled": "0\n",
		"/sys/module/ublk_drv/refcnt":        "0\n",
		"/dev/ublk-control":                  "",
		"/run/udev/control":                  "",
		"/etc/lvm/lvm.conf":                  "devices {\n\t# global_filter = [ \"a|.*|\" ]\n}\n",
		"/etc/lvm/lvmlocal.conf":             `devices { global_filter = [ "r|/dev/ublkb.*|" ] }`,
		"/etc/udev/rules.d/59-x.rules": "KERNEL!=\"ublkb*\", GOTO=\"end\"\n" +
			`ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"` + "\nLABEL=\"end\"\n",
	} {
		put(t, h, name, text)
	}
	return h
}

func put(t *testing.T, h Host, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, h Host, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(h.path(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHealthy(t *testing.T) {
	r := healthy(t).Run([]string{"/dev/sdb"})
	if !r.OK || r.Schema != control.SchemaDoctor {
		t.Errorf("not ok: %+v", r)
	}
	for _, c := range r.Checks {
		if c.State != control.DoctorOK || c.Fix != "" || c.Detail == "" {
			t.Errorf("%+v", c)
		}
	}
}

// lacks are machines on which one thing is missing, and what is to be said of it.
var lacks = []struct {
	name, state, fix string
	spoil            func(t *testing.T, h *Host)
}{
	{"user", "warn", "sudo", func(t *testing.T, h *Host) { h.UID = 1000 }},
	{"kernel", "fix", "6.12", func(t *testing.T, h *Host) { h.Release = "6.1.0-25-amd64" }},
	{"kernel", "fix", "6.12", func(t *testing.T, h *Host) { h.Release = "5.15.0" }},
	{"kernel", "warn", "6.12", func(t *testing.T, h *Host) { h.Release = "odd" }},
	{"io_uring", "fix", "sysctl", func(t *testing.T, h *Host) {
		put(t, *h, "/proc/sys/kernel/io_uring_disabled", "2\n")
	}},
	{"io_uring", "fix", "seccomp", func(t *testing.T, h *Host) {
		h.Rings = func() error { return unix.EPERM }
	}},
	{"io_uring", "fix", "CONFIG", func(t *testing.T, h *Host) {
		h.Rings = func() error { return unix.ENOSYS }
	}},
	{"ublk-control", "fix", "mknod", func(t *testing.T, h *Host) {
		remove(t, *h, "/dev/ublk-control")
	}},
	{"ublk-features", "fix", "newer", func(t *testing.T, h *Host) {
		h.Features = func() (ublk.Features, error) { return ublk.UserRecovery, nil }
	}},
	{"ublk-features", "fix", "dmesg", func(t *testing.T, h *Host) {
		h.Features = func() (ublk.Features, error) { return 0, ublk.ErrTimeout }
	}},
	{"cpus", "warn", "2 CPUs", func(t *testing.T, h *Host) { h.CPUs = 1 }},
	{"udev-rule", "fix", "udevadm", func(t *testing.T, h *Host) {
		remove(t, *h, "/etc/udev/rules.d")
	}},
	{"udev-rule", "fix", "udevadm", func(t *testing.T, h *Host) {
		put(t, *h, "/etc/udev/rules.d/59-x.rules",
			`# KERNEL=="ublkb*", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"`)
	}},
	{"udev-rule", "fix", "udevadm", func(t *testing.T, h *Host) { // udev's own file
		put(t, *h, "/etc/udev/rules.d/59-x.rules",
			`ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}=="1", GOTO="end"`+
				"\n"+`KERNEL!="sd*|ublkb*", GOTO="end"`)
	}},
	{"lvm-filter", "fix", "global_filter", func(t *testing.T, h *Host) {
		remove(t, *h, "/etc/lvm/lvmlocal.conf")
	}},
	{"lvm-filter", "fix", "global_filter", func(t *testing.T, h *Host) {
		put(t, *h, "/etc/lvm/lvmlocal.conf", `# global_filter = [ "r|/dev/ublkb.*|" ]`)
	}},
	{"trace-btf", "warn", "CONFIG_DEBUG_INFO_BTF", func(t *testing.T, h *Host) {
		h.Tracing = func() []bpf.Feature {
			return []bpf.Feature{{Name: "btf", Need: "offsets", Err: bpf.ErrUnsupported}}
		}
	}},
	{"trace-btf", "warn", "CAP_BPF", func(t *testing.T, h *Host) {
		h.Tracing = func() []bpf.Feature {
			return []bpf.Feature{{Name: "btf", Need: "offsets", Err: bpf.ErrPermission}}
		}
	}},
	{"backing /dev/sdb", "fix", "name a", func(t *testing.T, h *Host) {
		h.Inspect = func(string) (r device.Report, err error) { return r, device.ErrNoDevice }
	}},
	{"backing /dev/sdb", "warn", "another", func(t *testing.T, h *Host) {
		h.Inspect = inspecting(device.Report{Users: []string{"mounted on /srv"}})
	}},
	{"backing /dev/sdb", "warn", "--force", func(t *testing.T, h *Host) {
		h.Inspect = inspecting(device.Report{Holds: []device.Signature{{Name: "an xfs"}}})
	}},
	{"backing /dev/sdb", "fix", "setrw", func(t *testing.T, h *Host) {
		h.Inspect = inspecting(device.Report{Info: device.Info{ReadOnly: true}})
	}},
}

// TestEachLack wants exactly what is missing named, with what mends it.
func TestEachLack(t *testing.T) {
	for _, x := range lacks {
		h := healthy(t)
		x.spoil(t, &h)
		r := h.Run([]string{"/dev/sdb"})
		if r.OK != (x.state != control.DoctorFix) {
			t.Errorf("%s: ok is %v", x.name, r.OK)
		}
		for _, c := range r.Checks {
			switch {
			case c.Name != x.name && c.State != control.DoctorOK:
				t.Errorf("without %s: %+v", x.name, c)
			case c.Name == x.name && (c.State != x.state || !strings.Contains(c.Fix, x.fix)):
				t.Errorf("%s: %+v, want %s and %q", x.name, c, x.state, x.fix)
			}
		}
	}
}

func inspecting(r device.Report) func(string) (device.Report, error) {
	return func(string) (device.Report, error) { return r, nil }
}

func TestModule(t *testing.T) {
	for _, x := range []struct {
		file, text, state, detail string
	}{
		{"modules.dep", "kernel/drivers/block/ublk_drv.ko.xz:\n", "fix", "not loaded"},
		{"modules.builtin", "kernel/drivers/block/ublk_drv.ko\n", "ok", "in the kernel"},
		{"modules.dep", "kernel/drivers/block/nbd.ko.xz:\n", "fix", "no such module"},
	} {
		h := healthy(t)
		remove(t, h, "/sys/module/ublk_drv", "/dev/ublk-control")
		put(t, h, "/lib/modules/"+h.Release+"/"+x.file, x.text)
		h.Features = func() (ublk.Features, error) { return 0, ublk.ErrNoDriver }
		if c := h.module(); c.State != x.state || !strings.Contains(c.Detail, x.detail) {
			t.Errorf("%s with %q: %+v", x.file, x.text, c)
		}
		if c := h.ublkFeatures(); c.State != control.DoctorFix || c.Fix != h.module().Fix {
			t.Errorf("features: %+v", c)
		}
	}
}

// TestUnprivileged holds that what a user may not ask is not said to be missing.
func TestUnprivileged(t *testing.T) {
	h := healthy(t)
	h.UID, h.Memlock = 1000, 8<<20
	put(t, h, "/proc/sys/kernel/io_uring_disabled", "1\n")
	h.Features = func() (ublk.Features, error) { return 0, ublk.ErrPermission }
	h.Tracing = func() []bpf.Feature { return []bpf.Feature{{Name: "btf", Err: bpf.ErrPermission}} }
	r := h.Run(nil)
	warned := 0
	for _, c := range r.Checks {
		if c.State == control.DoctorWarn {
			warned++
		}
	}
	if !r.OK || warned != 5 {
		t.Errorf("ok %v, %d warnings: %+v", r.OK, warned, r.Checks)
	}
}

// TestInstalledRule holds that doctor knows the rule that make install installs.
func TestInstalledRule(t *testing.T) {
	h := healthy(t)
	rules, err := filepath.Glob("../../install/*.rules")
	if err != nil || len(rules) != 1 {
		t.Fatalf("rules: %q, %v", rules, err)
	}
	text, err := os.ReadFile(rules[0])
	if err != nil {
		t.Fatal(err)
	}
	remove(t, h, "/etc/udev/rules.d")
	put(t, h, "/usr/lib/udev/rules.d/"+filepath.Base(rules[0]), string(text))
	if c := h.udevRule(); c.State != control.DoctorOK {
		t.Errorf("%+v", c)
	}
}

// TestHostsWithoutUdevAndLVM holds that what is not there need not be kept away.
func TestHostsWithoutUdevAndLVM(t *testing.T) {
	h := healthy(t)
	remove(t, h, "/run/udev", "/etc/udev", "/etc/lvm")
	if r := h.Run(nil); !r.OK {
		t.Errorf("%+v", r)
	}
	put(t, h, "/usr/sbin/lvm", "")
	if c := h.lvmFilter(); c.State != control.DoctorFix {
		t.Errorf("LVM without a filter: %+v", c)
	}
	put(t, h, "/etc/lvm/devices/system.devices", "")
	if c := h.lvmFilter(); c.State != control.DoctorOK {
		t.Errorf("LVM with a devices file: %+v", c)
	}
}

// TestThisMachine runs the real checks, whatever they find.
func TestThisMachine(t *testing.T) {
	h, err := Machine()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	r := h.Run([]string{file})
	names := map[string]bool{}
	for _, c := range r.Checks {
		if names[c.Name] || c.Detail == "" || (c.State == control.DoctorOK) != (c.Fix == "") {
			t.Errorf("%+v", c)
		}
		names[c.Name] = true
		t.Logf("%s %s: %s", c.State, c.Name, c.Detail)
	}
	if last := r.Checks[len(r.Checks)-1]; last.State != control.DoctorOK {
		t.Errorf("a blank file: %+v", last)
	}
	if err := tryRing(); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) {
		t.Errorf("making a ring: %v", err)
	}
}
