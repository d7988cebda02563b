package blend

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"unblend/bpf"
	"unblend/tools/internal/control"
	"unblend/tools/internal/extents"
)

// backing is where the pool lies: at most two disks, and what could not be found out.
type backing struct {
	disks []bpf.Backing
	names []disk   // of the disks
	notes []string // for people
	known bool     // all of the pool can be seen
}

// classes are the streams of the regions' classes.
var classes = map[string]int{"log": bpf.Log, "data": bpf.Data, "metadata": bpf.Metadata}

// locate finds out on which disks the pool lies, and where on them.
func (s sysfs) locate(st control.Status) backing {
	b := backing{known: true}
	for _, dev := range st.Devices {
		if !dev.Present {
			continue
		}
		if err := b.add(s, dev, st.Regions); err != nil {
			b.known = false
			b.notes = append(b.notes, fmt.Sprintf("what %s gets cannot be seen: %v", dev.Path, err))
		}
	}
	return b
}

// add adds one device or file of the pool.
func (b *backing) add(s sysfs, dev control.DeviceStatus, regions []control.Region) error {
	number, inode, isFile := strings.Cut(dev.Number, "/")
	d, err := s.byNumber(number)
	if err != nil && isFile {
		return fmt.Errorf("its file system lies on no single disk")
	}
	if err != nil {
		return err
	}
	where := extents.Layout{{File: 0, Disk: d.start, Length: d.size}}
	if isFile {
		if err := sameFile(dev.Path, number, inode); err != nil {
			return err
		}
		if where, err = extents.Of(dev.Path, d.start); err != nil {
			return err
		}
	}
	stream := bpf.FastDevice
	if dev.Role == control.RoleData {
		stream = bpf.CapacityDevice
	}
	b.place(d, stream, cut(where, of(dev.Role, regions)))
	if d.hook == bpf.AtQueue {
		b.notes = append(b.notes, fmt.Sprintf(
			"%s passes its requests on: shown is what it gets, not what the disks below it get", d.name))
	}
	return nil
}

// place adds regions of a disk, which may be there already: log and data may be two partitions, or
// two files, of the same one.
func (b *backing) place(d disk, stream int, regions []bpf.Region) {
	i := slices.IndexFunc(b.disks, func(x bpf.Backing) bool { return x.Device == d.device })
	if i < 0 {
		i = len(b.disks)
		b.disks = append(b.disks, bpf.Backing{Device: d.device, Hook: d.hook, Stream: stream})
		b.names = append(b.names, d)
	}
	b.disks[i].Regions = append(b.disks[i].Regions, regions...)
}

// sameFile makes sure that the path leads to the daemon's file.
func sameFile(path, number, inode string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	got := fmt.Sprintf("%d:%d/%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	if got != number+"/"+inode {
		return fmt.Errorf("another file has this name here")
	}
	return nil
}

// of returns the regions of the device with that role, in order, and what lies between them as
// regions of their own.
func of(role string, all []control.Region) []bpf.Region {
	var rs []bpf.Region
	for _, r := range all {
		if stream, ok := classes[r.Class]; ok && r.Role == role {
			rs = append(rs, bpf.Region{Start: r.Start, End: r.End, Stream: stream})
		}
	}
	slices.SortFunc(rs, func(x, y bpf.Region) int { return cmp.Compare(x.Start, y.Start) })
	var filled []bpf.Region
	at := int64(0)
	for _, r := range append(rs, bpf.Region{Start: 1 << 62, End: 1 << 62}) {
		if r.Start > at {
			filled = append(filled, bpf.Region{Start: at, End: r.Start, Stream: bpf.Other})
		}
		if r.End > r.Start {
			filled = append(filled, r)
		}
		at = max(at, r.End)
	}
	return filled
}

// cut returns where the regions of a device or file lie on the disk.
func cut(where extents.Layout, regions []bpf.Region) []bpf.Region {
	var out []bpf.Region
	for _, e := range where {
		for _, r := range regions {
			start, end := max(e.File, r.Start), min(e.File+e.Length, r.End)
			if start < end {
				shift := e.Disk - e.File
				out = append(out, bpf.Region{Start: start + shift, End: end + shift, Stream: r.Stream})
			}
		}
	}
	slices.SortFunc(out, func(x, y bpf.Region) int { return cmp.Compare(x.Start, y.Start) })
	return slices.Clip(join(out))
}

// join makes one of regions that continue each other: a file has many small pieces.
func join(rs []bpf.Region) []bpf.Region {
	n := 0
	for _, r := range rs {
		if n > 0 && rs[n-1].End == r.Start && rs[n-1].Stream == r.Stream {
			rs[n-1].End = r.End
			continue
		}
		rs[n] = r
		n++
	}
	return rs[:n]
}
