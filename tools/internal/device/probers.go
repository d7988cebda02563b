package device

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"unblend/log"
)

// probers are the formats that take more than a string at a place to recognize.
var probers = []func(*view) (Signature, bool){
	probePool, probeExt, probeMBR, probeLVM, probeMD, probeZFS,
}

var le = binary.LittleEndian

// probePool finds the label of a pool of ours (package placement, format_label.go). Every device of
// a pool has one in its first block, a pool of one device also in its last.
func probePool(v *view) (Signature, bool) {
	const magic = "UNBLEND\x00"
	for _, off := range []int64{0, v.size/log.BlockSize*log.BlockSize - log.BlockSize} {
		if off >= 0 && string(v.at(off, len(magic))) == magic {
			return Signature{Name: "an unblend pool", Off: off, Len: len(magic)}, true
		}
	}
	return Signature{}, false
}

// probeExt finds ext2, ext3 and ext4 by the superblock at 1024. Which of them it is depends on the
// features, as libblkid has it.
func probeExt(v *view) (Signature, bool) {
	const (
		super       = 1024
		hasJournal  = 0x4           // compatible feature
		journalDev  = 0x8           // incompatible feature
		ext4Incompt = 0x40 | 0x80 | // extents, 64bit
			0x200 | 0x400 | 0x1000 | 0x2000 | 0x8000 | // flex_bg to inline_data
			0x10000 | 0x20000 // encrypt, casefold
		ext4ROCompt = 0x8 | 0x10 | 0x20 | 0x40 | // huge_file to extra_isize
			0x100 | 0x200 | 0x400 | 0x2000 | 0x8000 // quota to verity
	)
	b := v.at(super, 136)
	if b == nil || le.Uint16(b[56:]) != 0xef53 || le.Uint32(b[24:]) > 6 { // block size 1-64 KiB
		return Signature{}, false
	}
	name := "an ext2 file system"
	switch compat, incompat, ro := le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:]); {
	case incompat&journalDev != 0:
		name = "an ext4 journal"
	case incompat&ext4Incompt != 0 || ro&ext4ROCompt != 0:
		name = "an ext4 file system"
	case compat&hasJournal != 0:
		name = "an ext3 file system"
	}
	return Signature{Name: name, Label: text(b[120:136]), Off: super + 56, Len: 2}, true
}

// probeMBR finds a DOS partition table: the boot signature and four entries that could be ones, at
// least one in use. The boot sector of a FAT or NTFS file system and the protective table of a GPT
// are those formats' own and not named again.
func probeMBR(v *view) (Signature, bool) {
	b := v.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return Signature{}, false
	}
	for _, boot := range []string{"FAT1", "FAT32", "NTFS", "EXFAT", "-FVE"} {
		if bytes.Contains(b[:90], []byte(boot)) {
			return Signature{}, false
		}
	}
	used := 0
	for i := range 4 {
		e := b[446+16*i:]
		if e[0]&0x7f != 0 {
			return Signature{}, false
		}
		if e[4] != 0 {
			used++
		}
		if e[4] == 0xee {
			return Signature{}, false
		}
	}
	name := "an MBR partition table"
	if used == 0 {
		name = "a boot sector or empty MBR"
	}
	return Signature{Name: name, Off: 510, Len: 2}, true
}

// probeLVM finds the label of an LVM2 physical volume, in one of the first four sectors.
func probeLVM(v *view) (Signature, bool) {
	for sector := range int64(4) {
		b := v.at(sector*512, 32)
		if b != nil && string(b[:8]) == "LABELONE" && string(b[24:32]) == "LVM2 001" {
			return Signature{Name: "an LVM physical volume", Off: sector * 512, Len: 32}, true
		}
	}
	return Signature{}, false
}

// probeMD finds the superblock of a member of a Linux md array: version 0.90 in the last aligned
// 64 KiB but 64, 1.0 within 8 to 12 KiB of the end, 1.1 at the start, 1.2 at 4 KiB.
func probeMD(v *view) (Signature, bool) {
	const magic = 0xa92b4efc
	name := "a member of an md array"
	old := v.size&^0xffff - 0x10000
	if b := v.at(max(old, 0), 8); old >= 0 && b != nil {
		if le.Uint32(b) == magic && le.Uint32(b[4:]) == 0 || binary.BigEndian.Uint32(b) == magic {
			return Signature{Name: name + " (0.90)", Off: old, Len: 4}, true
		}
	}
	places := []struct {
		minor int
		off   int64
	}{{0, (v.size/512 - 16) &^ 7 * 512}, {1, 0}, {2, 4096}}
	for _, p := range places {
		if p.off < 0 {
			continue
		}
		b := v.at(p.off, 64)
		if b != nil && le.Uint32(b) == magic && le.Uint32(b[4:]) == 1 {
			return Signature{
				Name:  fmt.Sprintf("%s (1.%d)", name, p.minor),
				Label: text(b[32:64]), Off: p.off, Len: 4,
			}, true
		}
	}
	return Signature{}, false
}

// probeZFS finds a member of a ZFS pool by an uberblock in one of the four labels, two at each end.
// An uberblock takes at least 1 KiB of the second half of its label.
func probeZFS(v *view) (Signature, bool) {
	const (
		magic = 0x00bab10c
		label = 256 << 10
	)
	end := v.size &^ (label - 1)
	for _, start := range []int64{0, label, end - 2*label, end - label} {
		for off := start + label/2; start >= 0 && off < start+label; off += 1024 {
			b := v.at(off, 8)
			if b == nil {
				break
			}
			if le.Uint64(b) == magic || binary.BigEndian.Uint64(b) == magic {
				return Signature{Name: "a member of a ZFS pool", Off: off, Len: 8}, true
			}
		}
	}
	return Signature{}, false
}
