// Package load writes to block devices as guests do, several requests at a time past the page
// cache, and verifies every byte afterwards. Each sector that it writes is stamped with the disk,
// its place and the number of the write, and filled with bytes that follow from these, so that
// bytes of another disk, another place or an older write are recognized for what they are.
//
// A Disk knows what it must hold because no two of its writes that overlap are ever under way at
// the same time. It is the only writer of its device, from a device of zeros on.
package load
