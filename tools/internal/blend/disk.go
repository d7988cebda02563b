package blend

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"unblend/bpf"
)

// sysfs is where the kernel describes its devices; tests have one of their own.
type sysfs string

// disk is a whole disk, or the place of a partition on one.
type disk struct {
	name   string // such as nvme0n1
	number string // major:minor
	device bpf.Device
	hook   bpf.Hook
	start  int64 // of the partition, in bytes
	size   int64 // of the disk or partition, in bytes
}

// byNumber returns the disk with that number, or below the partition with it.
func (s sysfs) byNumber(number string) (disk, error) {
	return s.disk(filepath.Join(string(s), "dev/block", number))
}

// byName returns the disk with that name, such as ublkb3.
func (s sysfs) byName(name string) (disk, error) {
	return s.disk(filepath.Join(string(s), "class/block", name))
}

func (s sysfs) disk(link string) (disk, error) {
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return disk{}, err
	}
	var d disk
	if d.size, err = readSectors(dir, "size"); err != nil {
		return disk{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		if d.start, err = readSectors(dir, "start"); err != nil {
			return disk{}, err
		}
		dir = filepath.Dir(dir)
	}
	number, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return disk{}, err
	}
	var major, minor uint32
	d.name, d.number = filepath.Base(dir), strings.TrimSpace(string(number))
	if _, err := fmt.Sscanf(d.number, "%d:%d", &major, &minor); err != nil {
		return disk{}, fmt.Errorf("%s/dev: %q is no device number", dir, d.number)
	}
	d.device = bpf.DeviceNumber(major, minor)
	// Only devices with request queues have this directory; dm and md, for example, have not.
	if _, err := os.Stat(filepath.Join(dir, "mq")); err != nil {
		d.hook = bpf.AtQueue
	}
	return d, nil
}

// readSectors returns an attribute that counts sectors, in bytes.
func readSectors(dir, name string) (int64, error) {
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n * bpf.SectorSize, nil
}
