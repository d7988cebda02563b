package main

import (
	"fmt"
	"os"
	"sort"
	"unsafe"

	"golang.org/x/sys/unix"
)

// extent is a part of a file that lies in one piece on the disk, in bytes.
type extent struct{ file, disk, length int64 }

// layout tells where a file's bytes lie on the disk.
type layout []extent // by place on the disk

// fileAt returns which byte of the file lies at a byte of the disk.
func (l layout) fileAt(disk int64) (int64, bool) {
	i := sort.Search(len(l), func(i int) bool { return l[i].disk+l[i].length > disk })
	if i == len(l) || l[i].disk > disk {
		return 0, false
	}
	return l[i].file + disk - l[i].disk, true
}

// FS_IOC_FIEMAP and its structures, from linux/fiemap.h.
const (
	fiemapIoctl   = 0xc020660b
	fiemapSync    = 1
	fiemapLast    = 1
	fiemapPerCall = 256
)

type fiemap struct {
	start, length             uint64
	flags, mapped, count, pad uint32
	extents                   [fiemapPerCall]fiemapExtent
}

type fiemapExtent struct {
	logical, physical, length uint64
	pad1                      [2]uint64
	flags                     uint32
	pad2                      [3]uint32
}

// layoutOf asks the file system where a file lies; start is where the file system begins on the
// disk.
func layoutOf(path string, start int64) (layout, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var l layout
	for at := uint64(0); ; {
		m := fiemap{start: at, length: ^uint64(0) - at, flags: fiemapSync, count: fiemapPerCall}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl,
			uintptr(unsafe.Pointer(&m)))
		if errno != 0 {
			return nil, fmt.Errorf("where %s lies: %w", path, errno)
		}
		last := m.mapped == 0
		for _, e := range m.extents[:m.mapped] {
			l = append(l, extent{int64(e.logical), start + int64(e.physical), int64(e.length)})
			at, last = e.logical+e.length, last || e.flags&fiemapLast != 0
		}
		if last {
			break
		}
	}
	sort.Slice(l, func(i, j int) bool { return l[i].disk < l[j].disk })
	return l, nil
}
