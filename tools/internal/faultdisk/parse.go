package faultdisk

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseDisk reads a disk from one argument: NAME:SIZE followed by any of ,sector=4096 ,file=PATH
// ,rotational ,nofua ,lying. SIZE is in bytes, or has a suffix K, M, G or T for powers of 1024.
func ParseDisk(arg string) (DiskConfig, error) {
	head, rest, more := strings.Cut(arg, ",")
	name, size, _ := strings.Cut(head, ":")
	n, err := ParseSize(size)
	if err != nil {
		return DiskConfig{}, fmt.Errorf("disk %q: %w", arg, err)
	}
	c := DiskConfig{Name: name, Size: n}
	for more {
		var opt string
		opt, rest, more = strings.Cut(rest, ",")
		if err := c.set(opt); err != nil {
			return DiskConfig{}, fmt.Errorf("disk %q: %w", arg, err)
		}
	}
	if err := c.validate(); err != nil {
		return DiskConfig{}, fmt.Errorf("disk %q: %w", arg, err)
	}
	return c, nil
}

func (c *DiskConfig) set(opt string) (err error) {
	key, value, hasValue := strings.Cut(opt, "=")
	switch {
	case key == "sector" && hasValue:
		c.Sector, err = strconv.Atoi(value)
	case key == "file" && value != "":
		c.File = value
	case opt == "rotational":
		c.Rotational = true
	case opt == "nofua":
		c.NoFUA = true
	case opt == "lying":
		c.Lying = true
	default:
		err = fmt.Errorf("unknown option %q", opt)
	}
	return err
}

// ParseSize reads a number of bytes, with an optional suffix K, M, G or T for powers of 1024.
func ParseSize(text string) (int64, error) {
	digits, shift := text, 0
	if i := len(text) - 1; i > 0 {
		if power := strings.IndexByte("KMGT", text[i]); power >= 0 {
			digits, shift = text[:i], 10*(power+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n<<shift>>shift != n {
		return 0, fmt.Errorf("size %q: want a number with an optional suffix K, M, G or T", text)
	}
	return n << shift, nil
}
