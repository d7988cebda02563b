package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is what sort of thing backs a pool.
type Kind uint8

// The kinds of backing.
const (
	BlockDevice Kind = iota + 1
	RegularFile
)

func (k Kind) String() string {
	switch k {
	case BlockDevice:
		return "block device"
	case RegularFile:
		return "file"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Info is what the kernel says about a backing device. For a file the queue's properties are those
// of the disk below its file system where that is one disk, else zero.
type Info struct {
	Path          string // as it was given
	Kind          Kind
	Number        string // "major:minor" of a block device, "major:minor/inode" of a file
	Size          int64  // bytes
	LogicalBlock  int    // bytes; the smallest write the device takes
	PhysicalBlock int    // bytes
	MaxBlocks     int    // of 4 KiB that a block device takes in one request; 0: not known
	Rotational    bool
	VolatileCache bool // the device forgets unflushed writes at a power cut
	FUA           bool // the device itself makes single writes durable; else the kernel flushes
	ReadOnly      bool
	Node          int      // of the machine's memory that is near; -1: not known
	Partition     bool     // a partition of a disk
	Partitions    []string // names of the partitions of a whole disk
	Model         string   // may be empty
}

// id tells two backing devices apart, whatever the paths they were opened by.
type id struct {
	kind Kind
	dev  uint64 // rdev of a block device, st_dev of a file
	ino  uint64 // of a file
}

// host is where the kernel's views are mounted; tests replace it.
type host struct{ proc, sys, dev string }

var machine = host{proc: "/proc", sys: "/sys", dev: "/dev"}

// Stat identifies what is at path without opening it. Errors: ErrNoDevice, ErrPermission,
// ErrUnsuitable.
func Stat(path string) (Info, error) {
	info, _, err := machine.stat(path)
	return info, err
}

func (h host) stat(path string) (Info, id, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Info{}, id{}, pathError(path, err)
	}
	return h.identify(path, &st)
}

// identify describes the device or file with this inode.
func (h host) identify(path string, st *unix.Stat_t) (Info, id, error) {
	info := Info{Path: path, Node: -1}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		info.Kind, info.Number = BlockDevice, number(st.Rdev)
		h.readQueue(&info, st.Rdev)
		return info, id{BlockDevice, st.Rdev, 0}, nil
	case unix.S_IFREG:
		info.Kind, info.Size = RegularFile, st.Size
		info.Number = fmt.Sprintf("%s/%d", number(st.Dev), st.Ino)
		h.readQueue(&info, st.Dev)
		info.ReadOnly, info.Partition, info.Partitions, info.Model = false, false, nil, ""
		return info, id{RegularFile, st.Dev, st.Ino}, nil
	case unix.S_IFDIR:
		return info, id{}, unsuitable(path, "a directory")
	case unix.S_IFCHR:
		return info, id{}, unsuitable(path, "a character device")
	}
	return info, id{}, unsuitable(path, "neither a block device nor a regular file")
}

// readQueue fills in what sysfs says about a block device. What is missing there stays zero: file
// systems without a disk have no entry at all.
func (h host) readQueue(info *Info, dev uint64) {
	dir := h.sysBlock(dev)
	if dir == "" {
		return
	}
	disk := dir
	if exists(filepath.Join(dir, "partition")) {
		info.Partition = true
		disk = filepath.Dir(dir)
	} else {
		info.Partitions = partitions(dir)
	}
	if info.Kind == BlockDevice {
		info.Size = readInt(dir, "size") * 512
	}
	info.LogicalBlock = int(readInt(disk, "queue/logical_block_size"))
	info.PhysicalBlock = int(readInt(disk, "queue/physical_block_size"))
	if info.Kind == BlockDevice {
		info.MaxBlocks = maxBlocks(disk)
	}
	info.Rotational = readInt(disk, "queue/rotational") == 1
	info.FUA = readInt(disk, "queue/fua") == 1
	info.VolatileCache = readText(disk, "queue/write_cache") == "write back"
	info.ReadOnly = readInt(dir, "ro") == 1
	info.Model = readText(disk, "device/model")
	info.Node = h.node(disk)
}

// node returns the NUMA node that a disk's controller is at, or -1.
func (h host) node(disk string) int {
	for dir := disk; len(dir) > len(h.sys); dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "numa_node")) {
			return int(readInt(dir, "numa_node"))
		}
	}
	return -1
}

// maxBlocks returns how many blocks of 4 KiB fit into one request of the disk with this sysfs
// directory: as many bytes as it takes, each block in a segment of its own, and no more than a bio
// has room for (BIO_MAX_VECS in linux/bio.h, 7.3).
func maxBlocks(disk string) int {
	const block, vectors = 4096, 256
	n := readInt(disk, "queue/max_sectors_kb") * 1024 / block
	if s := readInt(disk, "queue/max_segments"); s > 0 {
		n = min(n, s)
	}
	return int(min(n, vectors))
}

// sysBlock returns the directory of a block device in sysfs, or "".
func (h host) sysBlock(dev uint64) string {
	dir, err := filepath.EvalSymlinks(filepath.Join(h.sys, "dev/block", number(dev)))
	if err != nil {
		return ""
	}
	return dir
}

// partitions returns the names of the partitions of the disk with this sysfs directory.
func partitions(dir string) []string {
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the disk has gone, and its partitions with it
	}
	for _, e := range entries {
		if e.IsDir() && exists(filepath.Join(dir, e.Name(), "partition")) {
			names = append(names, e.Name())
		}
	}
	return names
}

func number(dev uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readText returns the one line of a sysfs attribute, "" if it is not there.
func readText(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func readInt(dir, name string) int64 {
	n, err := strconv.ParseInt(readText(dir, name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// pathError turns an errno of stat or open into an error that names the path.
func pathError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR),
		errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s: %w", path, ErrNoDevice)
	case errors.Is(err, unix.ENOMEDIUM):
		return unsuitable(path, "no medium")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w", path, ErrPermission)
	case errors.Is(err, unix.EROFS):
		return unsuitable(path, "read-only")
	}
	return fmt.Errorf("%s: %w", path, err)
}
