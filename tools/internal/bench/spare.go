package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"unblend/tools/internal/device"
	"unblend/tools/internal/units"
)

// CheckSpare returns the kernel's path of a device on which a suite may be run, or says why not: it is
// in use, holds data, is no whole disk, or is too small. It changes nothing.
func CheckSpare(path string, total int64) (string, error) {
	d, err := device.OpenForInit(path, device.InitOptions{})
	var holds *device.DataError
	if errors.As(err, &holds) {
		return "", fmt.Errorf("%w; the benchmarks overwrite the device: to give up what it holds, wipefs -a %s",
			err, path)
	}
	if err != nil {
		return "", err
	}
	info := d.Info()
	if err := d.Close(); err != nil {
		return "", err
	}
	if info.Kind != device.BlockDevice {
		return "", fmt.Errorf("%s: not a block device: name a spare disk", path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join("/sys/class/block", filepath.Base(real), "partition")); err == nil {
		return "", fmt.Errorf("%s: a partition: name a whole disk that is spare", path)
	}
	if need := Needed(total); info.Size < need {
		return "", fmt.Errorf("%s: has %s, needs %s; -size makes the volumes smaller", path,
			units.FormatSize(info.Size), units.FormatSize(need))
	}
	return real, nil
}
