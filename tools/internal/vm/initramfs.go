package vm

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// earlyModules are what the guest needs before it sees its root file system and its output port.
// All are modules in Debian's kernels.
var earlyModules = []string{"9pnet_virtio", "9p", "overlay", "virtio_console"}

//go:embed guest/init
var initScript []byte

// buildInitramfs returns the archive that brings a guest up to its root file system: busybox, the
// early modules, uncompressed, and guest/init.
func buildInitramfs(k Kernel) ([]byte, error) {
	path, err := findTool("busybox")
	if err != nil {
		return nil, err
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	modules, err := moduleOrder(k.Modules(), earlyModules)
	if err != nil {
		return nil, err
	}
	var c cpio
	for _, d := range []string{"bin", "dev", "lower", "m", "new", "proc", "sys", "up"} {
		c.dir(d)
	}
	c.file("bin/busybox", 0o755, busybox)
	var list bytes.Buffer
	for i, m := range modules {
		data, err := readModule(filepath.Join(k.Modules(), m))
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("m/%d.ko", i)
		c.file(name, 0o644, data)
		fmt.Fprintf(&list, "/%s\n", name)
	}
	c.file("m/order", 0o644, list.Bytes())
	c.file("init", 0o755, initScript)
	return c.bytes(), nil
}

// moduleOrder returns the files of the named modules and of all they depend on, each after its
// dependencies, from modules.dep in dir. A module that is built into the kernel is left out.
func moduleOrder(dir string, names []string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	needs := map[string][]string{} // by name: the module's file, its dependencies, nearest first
	for line := range strings.Lines(string(dep)) {
		file, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			needs[moduleName(file)] = append([]string{file}, strings.Fields(rest)...)
		}
	}
	var order []string
	seen := map[string]bool{}
	for _, n := range names {
		files := needs[n]
		if files == nil && !bytes.Contains(builtin, []byte("/"+n+".ko")) {
			return nil, fmt.Errorf("initramfs: no module %s in %s", n, dir)
		}
		for i := len(files) - 1; i >= 0; i-- {
			if f := files[i]; !seen[f] {
				seen[f] = true
				order = append(order, f)
			}
		}
	}
	return order, nil
}

// moduleName returns the name of the module in a file such as kernel/fs/9p/9p.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name
}

// readModule returns a module's file, uncompressed: insmod of busybox takes no other.
func readModule(path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
		return data, nil
	}
	data, err := exec.Command("xz", "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("initramfs: xz -dc %s: %w", path, err)
	}
	return data, nil
}
