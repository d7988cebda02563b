package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"unblend/tools/internal/blocktrace"

	"golang.org/x/sys/unix"
)

// place is where the pool's file lies.
type place struct {
	dir   string             // of everything that the demo makes
	file  string             // of the pool
	disk  *blocktrace.Device // below the file system; nil: not one disk
	start int64              // of the file system on that disk, in bytes
	undo  []func() error
}

// sh runs a command and returns its complaint as an error.
func sh(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err,
			strings.TrimSpace(string(out)))
	}
	return nil
}

// virtualPlace makes a disk in the guest's memory with a file system: the guest's own root lies in
// a tmpfs, which has no disk whose requests could be counted.
func virtualPlace(ctx context.Context) (*place, error) {
	p := &place{dir: "/run/demo"}
	for _, command := range []string{
		"modprobe null_blk nr_devices=1 gb=2 memory_backed=1 submit_queues=2",
		"mkfs.ext4 -q -E nodiscard /dev/nullb0",
		"mkdir -p " + p.dir + "/disk",
		"mount /dev/nullb0 " + p.dir + "/disk",
	} {
		words := strings.Fields(command)
		if err := sh(ctx, words[0], words[1:]...); err != nil {
			return nil, err
		}
	}
	p.file = p.dir + "/disk/pool"
	return p, p.findDisk(p.dir + "/disk")
}

// hostPlace makes a directory in dir.
func hostPlace(dir string) (*place, error) {
	tmp, err := os.MkdirTemp(dir, "unblend-demo-")
	if err != nil {
		return nil, err
	}
	p := &place{dir: tmp, file: filepath.Join(tmp, "pool")}
	p.undo = append(p.undo, func() error { return os.RemoveAll(tmp) })
	return p, p.findDisk(tmp)
}

// findDisk finds the disk below the file system of dir, if it is one disk or a partition of one.
func (p *place) findDisk(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	disk := blocktrace.Device{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)}
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + disk.String())
	if err != nil {
		return nil // no block device of its own, such as btrfs or a tmpfs
	}
	if start, err := os.ReadFile(filepath.Join(sys, "start")); err == nil { // a partition
		if _, err := fmt.Sscan(string(start), &p.start); err != nil {
			return fmt.Errorf("%s/start: %w", sys, err)
		}
		p.start *= blocktrace.SectorSize
		number, err := os.ReadFile(filepath.Join(filepath.Dir(sys), "dev"))
		if err != nil {
			return err
		}
		if _, err := fmt.Sscanf(string(number), "%d:%d", &disk.Major, &disk.Minor); err != nil {
			return fmt.Errorf("%s: %w", sys, err)
		}
	}
	p.disk = &disk
	return nil
}

// remove takes back what making the place did.
func (p *place) remove() error {
	var err error
	for i := len(p.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, p.undo[i]())
	}
	return err
}
