package vm

import (
	"bytes"
	"fmt"
)

// File types in the mode of a cpio entry, as in stat(2).
const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

// cpio builds an archive in the format "newc", which the kernel unpacks as an initramfs:
//
//	+----------------------+----------------+-----+------+-----+
//	| header, 110 bytes:   | name, NUL      | pad | data | pad |
//	| "070701" and 13      | header + name  |     |      |     |
//	| numbers of 8 hex     | padded to 4    |     | padded to 4|
//	| digits               | bytes          |     | bytes      |
//	+----------------------+----------------+-----+------+-----+
//
// and ends with an entry named "TRAILER!!!".
type cpio struct {
	buf bytes.Buffer
	ino uint32
}

// dir adds a directory. Parents come before what they hold.
func (c *cpio) dir(name string) { c.entry(name, modeDir|0o755, nil) }

// file adds a regular file with permissions perm.
func (c *cpio) file(name string, perm uint32, data []byte) { c.entry(name, modeFile|perm, data) }

// bytes ends the archive and returns it.
func (c *cpio) bytes() []byte {
	c.entry("TRAILER!!!", 0, nil)
	return c.buf.Bytes()
}

func (c *cpio) entry(name string, mode uint32, data []byte) {
	c.ino++
	c.buf.WriteString("070701")
	for _, v := range []uint32{
		c.ino, mode,
		0, 0, // user, group
		1, 0, // links, modification time
		uint32(len(data)),
		0, 0, 0, 0, // device and special device, major and minor
		uint32(len(name) + 1),
		0, // checksum, unused in this format
	} {
		fmt.Fprintf(&c.buf, "%08x", v)
	}
	c.buf.WriteString(name)
	c.buf.WriteByte(0)
	c.pad()
	c.buf.Write(data)
	c.pad()
}

func (c *cpio) pad() {
	for c.buf.Len()%4 != 0 {
		c.buf.WriteByte(0)
	}
}
