package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"unblend/tools/internal/control"
)

const formatRaw = "raw"

// imageMagics give formats away by a string at a place; negative places are from the end. The names
// are qemu-img's.
var imageMagics = []struct {
	format string
	off    int64
	bytes  string
}{
	{"qcow", 0, "QFI\xfb\x00\x00\x00\x01"},
	{"qcow2", 0, "QFI\xfb"},
	{"qed", 0, "QED\x00"},
	{"vmdk", 0, "KDMV"},
	{"vmdk", 0, "COWD"},
	{"vmdk", 0, "# Disk DescriptorFile"},
	{"vhdx", 0, "vhdxfile"},
	{"vpc", 0, "conectix"},
	{"vpc", -512, "conectix"},
	{"vdi", 64, "\x7f\x10\xda\xbe"},
	{"parallels", 0, "WithoutFreeSpace"},
	{"parallels", 0, "WithouFreSpacExt"},
}

// packed are images that have to be unpacked first, by what their files begin with.
var packed = []struct{ bytes, with string }{
	{"\x1f\x8b", "gunzip"},
	{"\xfd7zXZ\x00", "unxz"},
	{"\x28\xb5\x2f\xfd", "unzstd"},
	{"BZh", "bunzip2"},
	{"PK\x03\x04", "unzip"},
}

// openImage looks at an image. format is its format if the user knows it.
func openImage(ctx context.Context, path, format string) (*image, error) {
	f, size, err := openDisk(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	img := &image{path: path, format: format, size: size}
	if format == "" {
		if img.format, err = detectFormat(f, path, size); err != nil {
			return nil, err
		}
	}
	switch {
	case img.format == formatRaw:
	case !knownFormat(img.format):
		return nil, &control.Error{
			Code: control.CodeBadRequest, Message: fmt.Sprintf("--format %q: unknown", format),
			Next: "want raw, " + strings.Join(formatNames(), ", "),
		}
	default:
		img.size, err = qemuInfo(ctx, img)
	}
	if err == nil && img.size == 0 {
		err = fmt.Errorf("image %s: it is empty", path)
	}
	return img, err
}

// openDisk opens a file or block device and returns its size.
func openDisk(path string) (*os.File, int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, 0, imageError(path, err)
	}
	if mode := st.Mode(); !mode.IsRegular() && mode&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		return nil, 0, fmt.Errorf("image %s: neither a file nor a block device", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, imageError(path, err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, errors.Join(imageError(path, err), f.Close())
	}
	return f, size, nil
}

// imageError names the image in front of an error of the os package, which names it behind the verb.
func imageError(path string, err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("image %s: %w", path, err)
}

// detectFormat tells the format from what the file holds. What it does not know is a raw disk.
func detectFormat(f io.ReaderAt, path string, size int64) (string, error) {
	holds := func(off int64, bytes string) bool {
		if off < 0 {
			off += size
		}
		b := make([]byte, len(bytes))
		n, _ := f.ReadAt(b, max(off, 0)) // what is shorter holds something else
		return n == len(b) && string(b) == bytes
	}
	for _, p := range packed {
		if holds(0, p.bytes) {
			return "", &control.Error{
				Code: control.CodeBadRequest, Message: fmt.Sprintf("image %s: it is packed", path),
				Next: fmt.Sprintf("unpack it first: %s %s; or, if it is a disk all the same: --format raw",
					p.with, path),
			}
		}
	}
	for _, m := range imageMagics {
		if holds(m.off, m.bytes) {
			return m.format, nil
		}
	}
	return formatRaw, nil
}

// formatNames returns the formats that qemu-img reads for us.
func formatNames() []string {
	var names []string
	for _, m := range imageMagics {
		if len(names) == 0 || names[len(names)-1] != m.format {
			names = append(names, m.format)
		}
	}
	return names
}

func knownFormat(format string) bool {
	for _, m := range imageMagics {
		if m.format == format {
			return true
		}
	}
	return false
}

// copyTo writes the image to a device that holds zeros, and makes it durable there.
func (img *image) copyTo(ctx context.Context, device string, show func(done, total int64)) error {
	if img.format != formatRaw {
		return img.convert(ctx, device, show)
	}
	return img.copyRaw(ctx, device, show)
}
