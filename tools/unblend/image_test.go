package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"unblend/tools/internal/control"
)

// sparseFile makes a file with bytes at some places, and holes between them if the file system knows
// holes.
func sparseFile(t *testing.T, path string, size int64, at map[int64]int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, uint64(size)))
	for off, n := range at {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
}

// device is where an image is copied to. It accepts what a disk does: whole blocks.
type testDevice struct {
	t       *testing.T
	data    []byte
	written int
	longest int
}

func (d *testDevice) WriteAt(p []byte, off int64) (int, error) {
	if off%4096 != 0 || len(p)%4096 != 0 || len(p) == 0 || off+int64(len(p)) > int64(len(d.data)) {
		d.t.Errorf("a write of %d bytes at %d", len(p), off)
		return 0, unix.EINVAL
	}
	for i := 0; i < len(p); i += 4096 {
		if isZero(p[i : i+4096]) {
			d.t.Errorf("zeros are written at %d", off+int64(i))
		}
	}
	d.written += len(p)
	d.longest = max(d.longest, len(p))
	return copy(d.data[off:], p), nil
}

// TestCopyRaw holds that a copy is equal to the image, whatever lies where in it, and that only
// blocks with data are written.
func TestCopyRaw(t *testing.T) {
	for _, x := range []struct {
		name    string
		size    int64
		at      map[int64]int
		written int // blocks; -1: any number
	}{
		{"one byte", 1, map[int64]int{0: 1}, 1},
		{"zeros", 5 << 20, nil, 0},
		{"all data", 3<<20 + 512, map[int64]int{0: 3<<20 + 512}, 769},
		{"last byte", 8<<20 + 1, map[int64]int{8 << 20: 1}, 1},
		{"across pieces", 4 << 20, map[int64]int{1<<20 - 5: 10, 2<<20 - 4096: 8192}, 4},
		{"odd places", 9<<20 + 77, map[int64]int{3: 1, 65535: 2, 5<<20 + 1: 3 << 20, 9 << 20: 77}, -1},
	} {
		t.Run(x.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			sparseFile(t, path, x.size, x.at)
			f, size, err := openDisk(path)
			if err != nil || size != x.size {
				t.Fatalf("%d bytes, %v", size, err)
			}
			defer f.Close()
			d := &testDevice{t: t, data: make([]byte, (size+4095)/4096*4096)}
			last := int64(-1)
			show := func(done, total int64) {
				if done <= last || done > total || total != size {
					t.Errorf("progress: %d of %d after %d", done, total, last)
				}
				last = done
			}
			c := &rawCopy{in: f, out: d, size: size, show: show, buf: alignedBuffer(copyPiece)}
			if err := c.run(context.Background()); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(d.data[:size], want) || !isZeros(d.data[size:]) {
				t.Errorf("the copy differs, %v", err)
			}
			if x.written >= 0 && d.written != x.written*4096 || d.longest > copyPiece {
				t.Errorf("%d blocks are written, want %d; longest write %d bytes", d.written/4096,
					x.written, d.longest)
			}
		})
	}
}

func isZeros(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// TestInterruptedImport breaks an import off in its middle: no volume is left.
func TestInterruptedImport(t *testing.T) {
	socket, dev := serveFake(t)
	path := filepath.Join(t.TempDir(), "image")
	sparseFile(t, path, 64<<20, map[int64]int{0: 8 << 20})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	code, _, said := call(ctx, "import", path, "img1", "--socket", socket)
	if code != control.ExitInterrupted || said != "unblend: interrupted\n" {
		t.Errorf("exit code %d, %q", code, said)
	}
	if left, err := os.ReadDir(dev); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	code, _, said = call(context.Background(), "import", path, "img1", "--socket", socket)
	if code != 0 {
		t.Errorf("the same again: exit code %d, %s", code, said)
	}
}

// TestShortenedImage holds that an image that becomes shorter while it is read is an error.
func TestShortenedImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	sparseFile(t, path, 4<<20, map[int64]int{0: 4 << 20})
	f, size, err := openDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := &testDevice{t: t, data: make([]byte, size)}
	c := &rawCopy{
		in: f, out: d, size: size, show: func(done, _ int64) {
			if err := os.Truncate(path, done); err != nil {
				t.Error(err)
			}
		}, buf: alignedBuffer(copyPiece),
	}
	if err := c.run(context.Background()); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("%v, want that the file became shorter", err)
	}
}

func TestDetectFormat(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "raw",
		"QF":                       "raw",
		"QFI\xfb\x00\x00\x00\x03":  "qcow2",
		"QFI\xfb\x00\x00\x00\x02x": "qcow2",
		"QFI\xfb\x00\x00\x00\x01":  "qcow",
		"KDMV\x01":                 "vmdk",
		"# Disk DescriptorFile\n":  "vmdk",
		"vhdxfile":                 "vhdx",
		"conectix":                 "vpc",
		strings.Repeat("d", 4096) + "conectix" + strings.Repeat("\x00", 504):      "vpc",
		"<<< Oracle VM VirtualBox" + strings.Repeat(" ", 40) + "\x7f\x10\xda\xbe": "vdi",
		"\x1f\x8b":             "",
		"\xfd7zXZ\x00\x00":     "",
		"\x28\xb5\x2f\xfd":     "",
		"BZh9":                 "",
		"\x00\x00QFI\xfb":      "raw",
		"\xeb\x63\x90GRUB ...": "raw",
	} {
		got, err := detectFormat(strings.NewReader(in), "image", int64(len(in)))
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%.30q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseInfo(t *testing.T) {
	for _, x := range []struct {
		in   string
		size int64
		says string
	}{
		{`{"virtual-size": 4096, "filename": "/a", "format": "qcow2"}`, 4096, ""},
		{`{"virtual-size": 4096, "format-specific": {"type": "qcow2", "data": {"compat": "1.1"}}}`, 4096, ""},
		{
			`{"virtual-size": 9, "format-specific": {"type":"vmdk","data":{"extents":[{"filename":"/a"}]}}}`,
			9, "",
		},
		{`{"virtual-size": 9, "backing-filename": "base"}`, 0, "refers to base"},
		{`{"virtual-size": 9, "format-specific": {"data": {"data-file": "raw"}}}`, 0, "refers to raw"},
		{
			`{"virtual-size": 9, "format-specific": {"data":{"extents":[{"filename":"/etc/shadow"}]}}}`,
			0, "refers to /etc/shadow",
		},
		{`{"virtual-size": "many"}`, 0, "qemu-img info"},
		{``, 0, "qemu-img info"},
	} {
		size, err := parseInfo([]byte(x.in), "a", "/a")
		if size != x.size || (err == nil) != (x.says == "") ||
			err != nil && !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %d, %v", x.in, size, err)
		}
	}
}

func TestPercentReader(t *testing.T) {
	var got []string
	r := &percentReader{show: func(done, total int64) {
		got = append(got, fmt.Sprintf("%d/%d", done, total))
	}}
	for _, s := range []string{"    (0.00/100%)\r", "(1.50/100%)\r    (99.99/100%)\r", "none", ""} {
		if n, err := r.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("%q: %d, %v", s, n, err)
		}
	}
	if s := strings.Join(got, " "); s != "0/100 99/100" {
		t.Errorf("shown: %s", s)
	}
}
