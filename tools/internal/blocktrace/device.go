package blocktrace

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is the number of a block device.
type Device struct{ Major, Minor uint32 }

// DeviceOf returns the number of the block device at path, a link or not.
func DeviceOf(path string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Device{}, fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Device{}, fmt.Errorf("%s: not a block device", path)
	}
	return Device{unix.Major(st.Rdev), unix.Minor(st.Rdev)}, nil
}

func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// number returns the device's number as the kernel has it internally, and so in its events.
func (d Device) number() uint32 { return d.Major<<20 | d.Minor }

// parseDevice reads "259,0".
func parseDevice(s string) (Device, bool) {
	major, minor, ok := strings.Cut(s, ",")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	return Device{uint32(a), uint32(b)}, ok && err1 == nil && err2 == nil
}

// Counts is what the kernel counted for a device since it appeared. A request that was merged from
// several counts once.
type Counts struct {
	Reads, ReadBytes   uint64
	Writes, WriteBytes uint64
}

// Sub returns what was counted since earlier.
func (c Counts) Sub(earlier Counts) Counts {
	return Counts{
		Reads: c.Reads - earlier.Reads, ReadBytes: c.ReadBytes - earlier.ReadBytes,
		Writes: c.Writes - earlier.Writes, WriteBytes: c.WriteBytes - earlier.WriteBytes,
	}
}

// Counts reads the device's stat file in sysfs.
func (d Device) Counts() (Counts, error) {
	path := filepath.Join("/sys/dev/block", d.String(), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return Counts{}, err
	}
	c, err := parseStat(string(text))
	if err != nil {
		return Counts{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// parseStat reads the fields that Documentation/block/stat.rst describes: requests, merges, sectors
// and milliseconds of reads, then of writes.
func parseStat(text string) (Counts, error) {
	var n [7]uint64
	f := strings.Fields(text)
	if len(f) < len(n) {
		return Counts{}, fmt.Errorf("%d fields", len(f))
	}
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(f[i], 10, 64); err != nil {
			return Counts{}, err
		}
	}
	return Counts{
		Reads: n[0], ReadBytes: n[2] * SectorSize, Writes: n[4], WriteBytes: n[6] * SectorSize,
	}, nil
}
