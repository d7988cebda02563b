package device

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// CheckApart returns ErrSameRange if the two would share bytes: the same device or file, a disk and
// its partition, a file and the loop device on it. Where there is nothing yet nothing is shared.
func CheckApart(logPath, dataPath string) error { return machine.checkApart(logPath, dataPath) }

func (h host) checkApart(a, b string) error {
	same := fmt.Errorf("%s and %s: %w", a, b, ErrSameRange)
	if filepath.Clean(a) == filepath.Clean(b) {
		return same
	}
	_, x, err1 := h.stat(a)
	_, y, err2 := h.stat(b)
	switch {
	case errors.Is(err1, ErrNoDevice) || errors.Is(err2, ErrNoDevice):
		return nil
	case err1 != nil || err2 != nil:
		return errors.Join(err1, err2)
	case x == y:
		return same
	}
	disks := [2]string{h.diskOf(x), h.diskOf(y)}
	if disks[0] == disks[1] && disks[0] != "" {
		if slices.Contains(h.family(x.dev), y.dev) || slices.Contains(h.family(y.dev), x.dev) {
			return same
		}
		return nil // two partitions
	}
	if h.fileBelow(x, disks[0]) == h.fileBelow(y, disks[1]) && h.fileBelow(x, disks[0]) != (id{}) {
		return same
	}
	return nil
}

// diskOf returns the sysfs directory of a block device's whole disk, or "".
func (h host) diskOf(x id) string {
	if x.kind != BlockDevice {
		return ""
	}
	dir := h.sysBlock(x.dev)
	if dir != "" && exists(filepath.Join(dir, "partition")) {
		return filepath.Dir(dir)
	}
	return dir
}

// fileBelow returns the file that x is or that its disk, a loop device, lies on; else the zero id.
func (h host) fileBelow(x id, disk string) id {
	if x.kind == RegularFile {
		return x
	}
	if f := readText(disk, "loop/backing_file"); strings.HasPrefix(f, "/") {
		if _, y, err := h.stat(f); err == nil {
			return y
		}
	}
	return id{}
}
