package device

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sparse is a device that is zero but for a few pieces.
type sparse struct {
	size   int64
	pieces map[int64][]byte // by offset
	fail   error            // of every read, if set
}

func newSparse(size int64) *sparse { return &sparse{size: size, pieces: map[int64][]byte{}} }

func (s *sparse) put(off int64, b []byte) *sparse {
	if off < 0 {
		off += s.size
	}
	s.pieces[off] = b
	return s
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	n := int(max(min(int64(len(p)), s.size-off), 0))
	clear(p[:n])
	for at, b := range s.pieces {
		for i, c := range b {
			if j := at + int64(i) - off; j >= 0 && j < int64(n) {
				p[j] = c
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// superExt returns the parts of an ext superblock that identify it, from offset 1024.
func superExt(compat, incompat, ro uint32) []byte {
	b := make([]byte, 136)
	binary.LittleEndian.PutUint16(b[56:], 0xef53)
	binary.LittleEndian.PutUint32(b[92:], compat)
	binary.LittleEndian.PutUint32(b[96:], incompat)
	binary.LittleEndian.PutUint32(b[100:], ro)
	copy(b[120:], "root")
	return b
}

func mbr(types ...byte) []byte {
	b := make([]byte, 512)
	for i, t := range types {
		b[446+16*i+4] = t
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// superMD1 returns the head of an md superblock of version 1.
func superMD1() []byte {
	b := append(le32(0xa92b4efc), le32(1)...)
	return append(append(b, make([]byte, 24)...), "host:0"...)
}

func TestProbeFormats(t *testing.T) {
	const size = 1<<30 + 7*512 // no multiple of 4 KiB: disks come like that
	lvm := append([]byte("LABELONE"), append(make([]byte, 16), "LVM2 001"...)...)
	cases := []struct {
		disk *sparse
		want string
	}{
		{newSparse(size).put(1024, superExt(0, 0, 0)), `an ext2 file system "root"`},
		{newSparse(size).put(1024, superExt(4, 2, 1)), `an ext3 file system "root"`},
		{newSparse(size).put(1024, superExt(4, 0x2c2, 0x7b)), `an ext4 file system "root"`},
		{newSparse(size).put(1024, superExt(0, 8, 0)), `an ext4 journal "root"`},
		{newSparse(size).put(0, mbr(0x83, 0x82)), "an MBR partition table"},
		{newSparse(size).put(0, mbr()), "a boot sector or empty MBR"},
		{newSparse(size).put(0, mbr(0xee)).put(512, []byte("EFI PART")), "a GPT partition table"},
		{newSparse(size).put(0, lvm), "an LVM physical volume"},
		{newSparse(size).put(1536, lvm), "an LVM physical volume"},
		{
			newSparse(size).put((size&^0xffff)-0x10000, append(le32(0xa92b4efc), 0, 0, 0, 0)),
			"a member of an md array (0.90)",
		},
		{
			newSparse(size).put((size&^0xffff)-0x10000, []byte{0xa9, 0x2b, 0x4e, 0xfc}),
			"a member of an md array (0.90)",
		},
		{
			newSparse(size).put((size/512-16)&^7*512, superMD1()),
			`a member of an md array (1.0) "host:0"`,
		},
		{newSparse(size).put(0, superMD1()), `a member of an md array (1.1) "host:0"`},
		{newSparse(size).put(4096, superMD1()), `a member of an md array (1.2) "host:0"`},
		{newSparse(size).put(128<<10, []byte("\x0c\xb1\xba\x00\x00\x00\x00\x00")), "ZFS pool"},
		{newSparse(size).put(255<<10, []byte("\x00\x00\x00\x00\x00\xba\xb1\x0c")), "ZFS pool"},
		{
			newSparse(size).put((size&^0x3ffff)-65536, []byte("\x0c\xb1\xba\x00\x00\x00\x00\x00")),
			"ZFS pool",
		},
		{newSparse(size).put(0, []byte("UNBLEND\x00")), "an unblend pool"},
		{newSparse(size).put(1<<30-4096, []byte("UNBLEND\x00")), "an unblend pool"},
	}
	for _, c := range cases {
		found, err := Probe(c.disk, size)
		if err != nil || len(found) != 1 || !strings.Contains(found[0].String(), c.want) {
			t.Errorf("want %s alone; found %v, %v", c.want, found, err)
		}
	}
}

// TestProbeMagics puts each string of the table in its place and nowhere else.
func TestProbeMagics(t *testing.T) {
	for _, size := range []int64{300 << 30, 300<<30 + 512} {
		for _, m := range magics {
			found, err := Probe(newSparse(size).put(m.off, []byte(m.bytes)), size)
			if err != nil || len(found) != 1 || found[0].Name != m.name || found[0].Off < 0 {
				t.Errorf("%s at %d of %d: found %v, %v", m.name, m.off, size, found, err)
			}
			found, err = Probe(newSparse(size).put(m.off+1, []byte(m.bytes)), size)
			if err != nil || len(found) > 0 {
				t.Errorf("%s a byte too far at %d: found %v, %v", m.name, m.off+1, found, err)
			}
		}
	}
}

func TestProbeNothing(t *testing.T) {
	sizes := []int64{0, 1, 511, 512, 4095, 4096, 65535, 1 << 20, 1<<40 + 512}
	for _, size := range sizes {
		if found, err := Probe(newSparse(size), size); err != nil || len(found) != 0 {
			t.Errorf("blank device of %d bytes: found %v, %v", size, found, err)
		}
	}
}

func TestProbeSeveral(t *testing.T) {
	disk := newSparse(1<<30).put(0, mbr(0x83)).put(1024, superExt(4, 0x40, 0)).
		put(32769, []byte("CD001"))
	found, err := Probe(disk, disk.size)
	if err != nil || len(found) != 3 {
		t.Fatalf("found %v, %v; want ISO 9660, ext4 and MBR", found, err)
	}
	if got := (&DataError{Path: "/dev/sdx", Found: found}).Error(); strings.Count(got, "an ") != 3 {
		t.Errorf("the error does not name all three: %s", got)
	}
}

func TestProbeLabelIsHarmless(t *testing.T) {
	b := superExt(4, 0x40, 0)
	copy(b[120:], "a\x1b[31m\n\xffb")
	found, err := Probe(newSparse(1<<20).put(1024, b), 1<<20)
	if err != nil || len(found) != 1 || found[0].Label != "a?[31m??b" {
		t.Errorf("found %q, %v", found, err)
	}
}

func TestProbeReadError(t *testing.T) {
	disk := newSparse(1 << 30)
	disk.fail = errors.New("bad sector")
	if found, err := Probe(disk, disk.size); !errors.Is(err, disk.fail) || len(found) > 0 {
		t.Errorf("found %v, %v; want the device's error", found, err)
	}
}

// TestProbeRealFormats lets the formats' own programs write, as far as they are installed.
func TestProbeRealFormats(t *testing.T) {
	tools := []struct {
		want string
		args []string
	}{
		{"an ext4 file system \"lbl\"", []string{"mkfs.ext4", "-q", "-F", "-L", "lbl"}},
		{"an ext3 file system", []string{"mkfs.ext3", "-q", "-F"}},
		{"an ext2 file system", []string{"mkfs.ext2", "-q", "-F"}},
		{"a swap area \"lbl\"", []string{"mkswap", "-q", "-L", "lbl"}},
		{"an xfs file system \"lbl\"", []string{"mkfs.xfs", "-q", "-L", "lbl"}},
		{"a btrfs file system \"lbl\"", []string{"mkfs.btrfs", "-q", "-L", "lbl"}},
		{"a FAT file system", []string{"mkfs.vfat"}},
		{"a LUKS encrypted volume", []string{
			"cryptsetup", "luksFormat", "-q", "--pbkdf", "pbkdf2",
			"--pbkdf-force-iterations", "1000", "--key-file", "/etc/passwd",
		}},
		{"a qcow2 image", []string{"qemu-img", "create", "-q", "-f", "qcow2"}},
	}
	for _, tool := range tools {
		t.Run(tool.args[0], func(t *testing.T) {
			exe, err := exec.LookPath(tool.args[0])
			if err != nil {
				t.Skipf("%s is not installed", tool.args[0])
			}
			path := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 320<<20); err != nil {
				t.Fatal(err)
			}
			args := append(tool.args[1:], path)
			if tool.args[0] == "qemu-img" {
				args = append(args, "1G")
			}
			if out, err := exec.Command(exe, args...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", tool.args[0], err, out)
			}
			_, err = OpenForInit(path, InitOptions{})
			if !errors.Is(err, ErrHoldsData) || !strings.Contains(err.Error(), tool.want) {
				t.Errorf("%v; want an error that names %s", err, tool.want)
			}
		})
	}
}

// FuzzProbe holds that no content panics and that a signature lies on the device.
func FuzzProbe(f *testing.F) {
	f.Add(superExt(4, 0x40, 0), int64(1024), int64(0))
	f.Add(mbr(0x83), int64(0), int64(1))
	f.Add(superMD1(), int64(4096), int64(4095))
	f.Add([]byte("EFI PART"), int64(-512), int64(512))
	f.Fuzz(func(t *testing.T, b []byte, off, grow int64) {
		size := int64(2<<20) + grow&0xfffff
		if len(b) > 64<<10 || off > size || off < -size {
			return
		}
		found, err := Probe(newSparse(size).put(off, b), size)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range found {
			if s.Off < 0 || s.Off+int64(s.Len) > size || s.Name == "" {
				t.Fatalf("signature %+v on a device of %d bytes", s, size)
			}
			if bytes.ContainsAny([]byte(s.String()), "\x00\x1b\n") {
				t.Fatalf("signature %q is not one printable line", s)
			}
		}
	})
}
