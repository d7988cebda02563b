package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

const (
	// cleanTime bounds the removal of a volume whose import has failed.
	cleanTime = time.Minute
	// letGoTime is how long whoever looks at a new disk, such as udev, is given to let go of it.
	letGoTime = 10 * time.Second
	letGoPoll = 100 * time.Millisecond
)

func importCommand() *command {
	return &command{
		name: "import", args: "FILE NAME", min: 2, max: 2, complete: completePaths, daemon: true,
		short: "make a volume from a disk image",
		long: `The volume gets the image's size as a disk, rounded up to 4 KiB and at least 1 MiB, or
--size. Zeros and holes of the image take no space. If it fails or is interrupted, no
volume is left.

The format is told by the file's first bytes. All but raw images are read by qemu-img,
of Debian's package qemu-utils. An image that refers to other files is refused. Name
the format of a raw image whose content somebody else has written: --format raw.`,
		examples: []string{
			"unblend import debian-13-genericcloud-amd64.qcow2 golden",
			"unblend import disk.img web1 --size 40G --attach",
		},
		setup: func(fs *pflag.FlagSet) action {
			var o importOptions
			fs.Var(&o.size, "size", "of the volume, instead of the image's")
			fs.StringVar(&o.format, "format", "",
				"`FORMAT` of the image: raw, qcow2, vmdk, vhdx, vpc, vdi and so on")
			fs.BoolVar(&o.attach, "attach", false, "leave the volume with its device")
			return func(ctx context.Context, in *invocation) error {
				o.sized = fs.Changed("size")
				return o.run(ctx, in)
			}
		},
	}
}

type importOptions struct {
	size   units.Size
	sized  bool
	format string
	attach bool
}

// image is a file that holds a disk.
type image struct {
	path   string
	format string // as qemu-img names it
	size   int64  // of the disk, in bytes
}

func (o *importOptions) run(ctx context.Context, in *invocation) error {
	begin, name := time.Now(), in.args[1]
	if err := control.CheckName(name); err != nil {
		return err
	}
	img, err := openImage(ctx, in.args[0], o.format)
	if err != nil {
		return err
	}
	size, err := o.volumeSize(in, img)
	if err != nil {
		return err
	}
	// A volume that was made after the call was given up could not be told from somebody else's.
	c := in.client()
	made, err := c.Create(context.WithoutCancel(ctx), control.CreateRequest{Name: name, Size: size})
	if err != nil {
		return err
	}
	doc := control.ImportResult{
		Schema: control.SchemaImport, File: img.path, Format: img.format, Size: img.size,
		Volume: made.Volume,
	}
	p := newProgress(in, "importing")
	err = img.copyTo(ctx, made.Volume.Link, p.show)
	p.end()
	if err == nil && !o.attach {
		doc.Volume, err = letGo(ctx, c, name)
	}
	if err != nil {
		return withdraw(ctx, c, name, err)
	}
	doc.Seconds = time.Since(begin).Seconds()
	return in.answer(doc, func() string { return volumeLine(doc.Volume) })
}

// volumeSize returns the size of the volume for an image.
func (o *importOptions) volumeSize(in *invocation, img *image) (int64, error) {
	size := max((img.size+log.BlockSize-1)/log.BlockSize*log.BlockSize, placement.MinSize)
	if !o.sized {
		return size, control.CheckSize(size)
	}
	if int64(o.size) < img.size {
		return 0, usageError(in.cmd, fmt.Sprintf("--size %s: the image %s has %s",
			units.ExactSize(int64(o.size)), img.path, units.ExactSize(img.size)))
	}
	return int64(o.size), control.CheckSize(int64(o.size))
}

// letGo detaches the volume, once nobody has its device open any more.
func letGo(ctx context.Context, c *control.Client, name string) (control.Volume, error) {
	for end := time.Now().Add(letGoTime); ; {
		doc, err := c.Detach(ctx, control.DetachRequest{Name: name})
		if err == nil || control.ErrorOf(err).Code != control.CodeInUse || time.Now().After(end) {
			return doc.Volume, err
		}
		select {
		case <-ctx.Done():
			return doc.Volume, ctx.Err()
		case <-time.After(letGoPoll):
		}
	}
}

// withdraw removes what there is of a volume after its import failed with err.
func withdraw(ctx context.Context, c *control.Client, name string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	_, failed := c.Remove(ctx, control.RemoveRequest{Name: name, Force: true})
	if failed == nil || control.ErrorOf(failed).Code == control.CodeNotFound {
		return err
	}
	return &control.Error{
		Code: control.ErrorOf(err).Code,
		Message: fmt.Sprintf("%v; what there is of volume %q cannot be removed: %v", err, name,
			failed),
		Next: "unblend rm --force " + name, Err: failed,
	}
}
