package device

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// usage says who in the kernel uses the device or file: mounts, swaps, devices built on it or on
// one of its partitions, loop devices. It explains a refusal and is not itself the protection,
// which is the exclusive claim: mounts of other namespaces, for one, are invisible here.
func (h host) usage(x id) []string {
	if x.kind == RegularFile {
		return append(h.swaps(x), h.loops(x)...)
	}
	var by []string
	for _, dev := range h.family(x.dev) {
		name := ""
		if dev != x.dev {
			name = "partition " + h.name(dev) + " "
		}
		for _, use := range h.usageOf(dev) {
			by = append(by, name+use)
		}
	}
	return by
}

// family returns the device and its partitions.
func (h host) family(dev uint64) []uint64 {
	all := []uint64{dev}
	dir := h.sysBlock(dev)
	if dir == "" {
		return all
	}
	for _, p := range partitions(dir) {
		if n, ok := parseNumber(readText(filepath.Join(dir, p), "dev")); ok {
			all = append(all, n)
		}
	}
	return all
}

func (h host) usageOf(dev uint64) []string {
	by := h.mounts(dev)
	by = append(by, h.swaps(id{BlockDevice, dev, 0})...)
	entries, err := os.ReadDir(filepath.Join(h.sysBlock(dev), "holders"))
	if err != nil {
		return by // no such directory: nothing can be built on it
	}
	for _, e := range entries {
		by = append(by, "held by "+holderName(h.sys, e.Name()))
	}
	return by
}

// name returns the kernel's name of a block device, such as sda1.
func (h host) name(dev uint64) string {
	if dir := h.sysBlock(dev); dir != "" {
		return filepath.Base(dir)
	}
	return number(dev)
}

// holderName adds the device mapper's name, which is what an operator knows.
func holderName(sys, name string) string {
	if dm := readText(filepath.Join(sys, "block", name, "dm"), "name"); dm != "" {
		return name + " (" + dm + ")"
	}
	return name
}

// mounts returns the mounts of a block device. The device number of a mount is the file system's
// own with btrfs and the like, so its source path is looked at as well.
func (h host) mounts(dev uint64) []string {
	var by []string
	h.lines("self/mountinfo", func(line string) {
		mount, source, ok := strings.Cut(line, " - ")
		f, s := strings.Fields(mount), strings.Fields(source)
		if !ok || len(f) < 5 || len(s) < 2 {
			return
		}
		src := unescape(s[1])
		if f[2] == number(dev) || strings.HasPrefix(src, "/") && rdevOf(src) == dev {
			use := "mounted on " + unescape(f[4])
			if !slices.Contains(by, use) {
				by = append(by, use)
			}
		}
	})
	return by
}

// swaps says whether the device or file is swapped on.
func (h host) swaps(x id) []string {
	var by []string
	h.lines("swaps", func(line string) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[0], "/") {
			return
		}
		if _, y, err := h.stat(unescape(f[0])); err == nil && x == y {
			by = []string{"used as swap"}
		}
	})
	return by
}

// loops returns the loop devices on a file.
func (h host) loops(x id) []string {
	var by []string
	files, err := filepath.Glob(filepath.Join(h.sys, "block/loop*/loop/backing_file"))
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, f := range files {
		if _, y, err := h.stat(readText(f, "")); err == nil && x == y {
			by = append(by, "behind /dev/"+filepath.Base(filepath.Dir(filepath.Dir(f))))
		}
	}
	return by
}

// lines calls f for each line of a file below /proc. Without /proc there is nothing to explain.
func (h host) lines(name string, f func(string)) {
	file, err := os.Open(filepath.Join(h.proc, name))
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(s.Text())
	}
}

// unescape undoes the octal escapes that the kernel puts for blanks in paths.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// rdevOf returns the device number of a block device node, or 0.
func rdevOf(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0
	}
	return st.Rdev
}
