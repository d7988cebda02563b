// Package extents finds out where a file lies on the disk below its file system.
package extents

import (
	"fmt"
	"os"
	"sort"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Extent is a part of a file that lies in one piece on the disk, in bytes.
type Extent struct{ File, Disk, Length int64 }

// Layout tells where a file's bytes lie on the disk.
type Layout []Extent // by place on the disk

// FileAt returns which byte of the file lies at a byte of the disk.
func (l Layout) FileAt(disk int64) (int64, bool) {
	i := sort.Search(len(l), func(i int) bool { return l[i].Disk+l[i].Length > disk })
	if i == len(l) || l[i].Disk > disk {
		return 0, false
	}
	return l[i].File + disk - l[i].Disk, true
}

// FS_IOC_FIEMAP and its structures, from linux/fiemap.h.
const (
	fiemapIoctl   = 0xc020660b
	fiemapSync    = 1
	fiemapLast    = 1
	fiemapPerCall = 256

	// UNKNOWN, DELALLOC, ENCODED, DATA_ENCRYPTED, NOT_ALIGNED, DATA_INLINE, DATA_TAIL
	fiemapUnclear = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
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

// Of asks the file system where a file lies; start is where the file system begins on the disk. What
// the file system cannot tell yet, or does not keep byte for byte, is left out.
func Of(path string, start int64) (Layout, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var l Layout
	for at := uint64(0); ; {
		m := fiemap{start: at, length: ^uint64(0) - at, flags: fiemapSync, count: fiemapPerCall}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl,
			uintptr(unsafe.Pointer(&m)))
		if errno != 0 {
			return nil, fmt.Errorf("where %s lies: %w", path, errno)
		}
		last := m.mapped == 0
		for _, e := range m.extents[:m.mapped] {
			if e.flags&fiemapUnclear == 0 {
				l = append(l, Extent{int64(e.logical), start + int64(e.physical), int64(e.length)})
			}
			at, last = e.logical+e.length, last || e.flags&fiemapLast != 0
		}
		if last {
			break
		}
	}
	sort.Slice(l, func(i, j int) bool { return l[i].Disk < l[j].Disk })
	return l, nil
}
