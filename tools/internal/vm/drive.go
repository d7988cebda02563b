package vm

import (
	"fmt"
	"strings"
)

// Bus is how a drive is attached to the guest.
type Bus string

// The buses of a drive.
const (
	Virtio Bus = "virtio" // virtio-blk; passes FLUSH on, has no FUA of its own
	NVMe   Bus = "nvme"   // an NVMe with a volatile write cache; FUA reaches the device
)

// Drive is one block device of a guest. The guest finds it at /dev/vm/NAME, a link.
type Drive struct {
	Name string // also its serial number: at most 20 letters, digits, dots and dashes
	Path string // a host file or block device, or an NBD export: see NBD
	Bus  Bus    // empty: Virtio
}

// NBD returns the Path of the export name that an NBD server offers on a unix socket.
func NBD(socket, name string) string { return "nbd+unix:///" + name + "?socket=" + socket }

// validate refuses a name that would not survive as a serial number and a file name.
func (d Drive) validate() error {
	ok := d.Name != "" && len(d.Name) <= 20
	for _, c := range d.Name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '.' || c == '-')
	}
	if !ok || d.Name[0] == '.' {
		return fmt.Errorf("drive name %q: want at most 20 letters, digits, dots, dashes", d.Name)
	}
	if d.Bus != "" && d.Bus != Virtio && d.Bus != NVMe {
		return fmt.Errorf("drive %s: unknown bus %q", d.Name, d.Bus)
	}
	return nil
}

// args returns QEMU's arguments for the i-th drive. cache=writeback keeps the guest's view of a
// volatile cache: QEMU passes its flushes on.
func (d Drive) args(i int) []string {
	id := fmt.Sprintf("drive%d", i)
	device := "virtio-blk-pci"
	if d.Bus == NVMe {
		device = "nvme"
	}
	return []string{
		"-drive", "if=none,format=raw,cache=writeback,discard=unmap,id=" + id +
			",file=" + escape(d.Path),
		"-device", device + ",drive=" + id + ",serial=" + d.Name,
	}
}

// escape doubles the commas of a value in a QEMU argument, where a single one separates options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
