package vm

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed guest/start
var startScript []byte

// arguments returns QEMU's arguments for a machine whose files lie in dir.
func (cfg Config) arguments(k Kernel, dir string) []string {
	// 6.12 double-faults in its allocator on the cmpxchg16b of QEMU 7.2. With "erms" the kernel copies by
	// rep movsb, which is emulated byte by byte: copies then take three times as long.
	cpu := "max,-cx16,-erms"
	if cfg.SVM {
		cpu += ",+svm"
	}
	share := func(tag, path, more string) []string {
		return []string{"-virtfs", "local,mount_tag=" + tag + ",security_model=none," + more +
			"path=" + escape(path)}
	}
	// Host directories that are mounts of their own have inode numbers that collide.
	const shared = "multidevs=remap,"
	args := []string{
		"-cpu", cpu,
		"-m", cfg.Memory, "-smp", strconv.Itoa(cfg.CPUs),
		"-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none",
		"-serial", "file:" + filepath.Join(dir, "console"),
		"-kernel", k.Image(), "-initrd", filepath.Join(dir, "initramfs"),
		"-append", strings.TrimSpace("console=ttyS0 panic=-1 quiet mitigations=off " + cfg.Append),
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=out,path=" + escape(filepath.Join(dir, "port")),
		"-device", "virtserialport,chardev=out,name=out",
	}
	args = append(args, cfg.clock()...)
	args = append(args, share("root", "/", "readonly=on,"+shared)...)
	args = append(args, share("modules", k.Modules(), "readonly=on,")...)
	args = append(args, share("vm", filepath.Join(dir, "vm"), "readonly=on,")...)
	if cfg.Share != "" {
		args = append(args, share("rw", cfg.Share, shared)...)
	}
	for i, d := range cfg.Drives {
		args = append(args, d.args(i)...)
	}
	return append(args, cfg.Args...)
}

// clock returns the arguments that say what time is in the guest: that of the host, or, counted, how
// many instructions it has run. Counted time stands still for the guest while the host does something
// else, so that figures do not depend on how busy it is; all CPUs then take turns on one thread.
func (cfg Config) clock() []string {
	if cfg.Counted {
		return []string{"-accel", "tcg,thread=single,tb-size=1024", "-icount", "shift=0,sleep=off"}
	}
	return []string{"-accel", "tcg,thread=multi,tb-size=1024"}
}

// firstProcess returns the program that the guest's first process becomes, or nothing.
func (cfg Config) firstProcess() string {
	if cfg.Systemd {
		return "/lib/systemd/systemd"
	}
	return ""
}

// writeGuestFiles writes what the guest sees at /vm into dir.
func (cfg Config) writeGuestFiles(dir, token string) error {
	var names []string
	drivers := map[string]bool{}
	for _, d := range cfg.Drives {
		names = append(names, d.Name)
		drivers[map[Bus]string{"": "virtio_blk", Virtio: "virtio_blk", NVMe: "nvme"}[d.Bus]] = true
	}
	var env, environ strings.Builder
	for _, v := range [][2]string{
		{"vm_token", token},
		{"vm_dir", cfg.Dir},
		{"vm_keep", underTmp(cfg.Dir)},
		{"vm_share", cfg.Share},
		{"vm_systemd", cfg.firstProcess()},
		{"vm_drives", strings.Join(names, " ")},
		{"vm_drivers", strings.Join(slices.Sorted(maps.Keys(drivers)), " ")},
		{"PATH", os.Getenv("PATH") + ":/usr/sbin:/sbin"},
	} {
		fmt.Fprintf(&env, "%s=%s\n", v[0], Quote(v[1]))
	}
	fixed := []string{"HOME=/root", "TERM=dumb", "UNBLEND_VM_GUEST=1"}
	for _, e := range append(fixed, cfg.Env...) {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&environ, "export %s=%s\n", name, Quote(value))
	}
	for name, text := range map[string]string{
		"start": string(startScript), "cmd": cfg.Command + "\n",
		"env": env.String(), "environ": environ.String(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, f := range cfg.Files {
		if err := copyFile(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			return err
		}
	}
	return nil
}

// underTmp returns the directory right below /tmp that holds dir, or nothing.
func underTmp(dir string) string {
	rest, ok := strings.CutPrefix(filepath.Clean(dir), "/tmp/")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rest, "/")
	return "/tmp/" + first
}

// Quote returns s as one word of a shell command.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// copyFile copies a file with its permissions.
func copyFile(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, st.Mode().Perm())
}
