package device

import "bytes"

// magic is a format that a fixed string at a fixed place gives away.
type magic struct {
	name  string
	off   int64 // of the string; negative: from the end of the device
	bytes string
	label int64 // where the owner's name for it is; 0: nowhere
	size  int   // of that name, in bytes
}

// match looks for the string.
func (m magic) match(v *view) (Signature, bool) {
	if !bytes.Equal(v.at(m.off, len(m.bytes)), []byte(m.bytes)) {
		return Signature{}, false
	}
	s := Signature{Name: m.name, Off: m.off, Len: len(m.bytes)}
	if s.Off < 0 {
		s.Off += v.size
	}
	if m.label != 0 {
		s.Label = text(v.at(m.label, m.size))
	}
	return s, true
}

// Names that more than one place gives away.
const (
	nameLUKS     = "a LUKS encrypted volume"
	nameBtrfs    = "a btrfs file system"
	nameSwap     = "a swap area"
	nameGPT      = "a GPT partition table"
	nameSuspend  = "a hibernation image"
	nameUDF      = "a UDF file system"
	nameFAT      = "a FAT file system"
	nameDMThin   = "metadata of a dm-thin pool"
	nameDMCache  = "metadata of a dm-cache"
	nameFirmRAID = "a member of a firmware RAID"
)

// magics are the formats whose string is strong enough by itself. The places and strings are those
// of the formats' own headers (Linux 6.12 sources, util-linux 2.40 libblkid).
var magics = []magic{
	{name: nameGPT, off: 512, bytes: "EFI PART"},
	{name: nameGPT, off: 4096, bytes: "EFI PART"},
	{name: nameGPT, off: -512, bytes: "EFI PART"},
	{name: nameGPT, off: -4096, bytes: "EFI PART"},
	{name: "an xfs file system", bytes: "XFSB", label: 108, size: 12},
	{name: nameBtrfs, off: 65600, bytes: "_BHRfS_M", label: 65835, size: 256},
	{name: nameBtrfs, off: 64<<20 + 64, bytes: "_BHRfS_M"},
	{name: nameBtrfs, off: 256<<30 + 64, bytes: "_BHRfS_M"},
	{name: "a bcachefs file system", off: 4120, bytes: "\xc6\x85\x73\xf6\x66\xce\x90\xa9" +
		"\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", label: 4168, size: 32},
	{name: "a bcache device", off: 4120, bytes: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca" +
		"\x82\x65\xf5\x7f\x48\xba\x6d\x81", label: 4168, size: 32},
	{name: "an f2fs file system", off: 1024, bytes: "\x10\x20\xf5\xf2"},
	{name: "an erofs file system", off: 1024, bytes: "\xe2\xe1\xf5\xe0"},
	{name: "a squashfs file system", bytes: "hsqs"},
	{name: "a jfs file system", off: 32768, bytes: "JFS1"},
	{name: "a reiserfs file system", off: 65588, bytes: "ReIsEr"},
	{name: "a gfs2 file system", off: 65536, bytes: "\x01\x16\x19\x70"},
	{name: "an ocfs2 file system", off: 8192, bytes: "OCFSV2"},
	{name: "an hfs+ file system", off: 1024, bytes: "H+\x00\x04"},
	{name: "an apfs container", off: 32, bytes: "NXSB"},
	{name: "an NTFS file system", off: 3, bytes: "NTFS    "},
	{name: "an exFAT file system", off: 3, bytes: "EXFAT   "},
	{name: "a BitLocker volume", off: 3, bytes: "-FVE-FS-"},
	{name: nameFAT, off: 82, bytes: "FAT32   ", label: 71, size: 11},
	{name: nameFAT, off: 54, bytes: "FAT16   ", label: 43, size: 11},
	{name: nameFAT, off: 54, bytes: "FAT12   ", label: 43, size: 11},
	{name: "an ISO 9660 file system", off: 32769, bytes: "CD001", label: 32808, size: 32},
	{name: nameUDF, off: 34817, bytes: "NSR02"},
	{name: nameUDF, off: 34817, bytes: "NSR03"},
	{name: nameUDF, off: 36865, bytes: "NSR02"},
	{name: nameUDF, off: 36865, bytes: "NSR03"},
	{name: nameSwap, off: 4086, bytes: "SWAPSPACE2", label: 1052, size: 16},
	{name: nameSwap, off: 4086, bytes: "SWAP-SPACE"},
	{name: nameSwap, off: 16374, bytes: "SWAPSPACE2", label: 1052, size: 16},
	{name: nameSwap, off: 65526, bytes: "SWAPSPACE2", label: 1052, size: 16},
	{name: nameSuspend, off: 4086, bytes: "S1SUSPEND"},
	{name: nameSuspend, off: 4086, bytes: "S2SUSPEND"},
	{name: nameSuspend, off: 4086, bytes: "LINHIB0001"},
	{name: nameLUKS, bytes: "LUKS\xba\xbe"},
	{name: nameLUKS, off: 0x4000, bytes: "SKUL\xba\xbe"},
	{name: nameLUKS, off: 0x8000, bytes: "SKUL\xba\xbe"},
	{name: "a dm-verity hash device", bytes: "verity\x00\x00"},
	{name: "a dm-integrity device", bytes: "integrt\x00"},
	{name: "a VDO volume", bytes: "dmvdo001"},
	{name: nameDMThin, off: 32, bytes: "\xba\x52\x9c\x01\x00\x00\x00\x00"},
	{name: nameDMCache, off: 32, bytes: "\x03\xc4\x18\x00\x00\x00\x00\x00"},
	{name: "a Stratis pool", off: 516, bytes: "!Stra0tis\x86\xff\x02^\x41rh"},
	{name: "a Ceph OSD (bluestore)", bytes: "bluestore block device\n"},
	{name: "a DRBD device", off: -4096 + 60, bytes: "\x83\x74\x02\x6d"},
	{name: "a DRBD device", off: -4096 + 60, bytes: "\x83\x74\x02\x6c"},
	{name: "a DRBD device", off: -4096 + 60, bytes: "\x83\x74\x02\x6b"},
	{name: "a VMFS volume", off: 1 << 20, bytes: "\x0d\xd0\x01\xc0"},
	{name: "a VMFS file system", off: 2 << 20, bytes: "\x5e\xf1\xab\x2f"},
	{name: nameFirmRAID, off: -1024, bytes: "Intel Raid ISM Cfg Sig. "},
	{name: nameFirmRAID, off: -512, bytes: "\xde\x11\xde\x11"},
	{name: nameFirmRAID, off: -512, bytes: "\x11\xde\x11\xde"},
	{name: "a qcow2 image", bytes: "QFI\xfb"},
	{name: "a VMDK image", bytes: "KDMV"},
	{name: "a VHDX image", bytes: "vhdxfile"},
}
