package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/tools/internal/units"
)

// Limits of a log segment, in bytes.
const (
	minSegment = 256 << 10
	maxSegment = 1 << 30
)

func initCommand() *command {
	return &command{
		name: "init", args: "(FILE --size SIZE | DEVICE | --log DEVICE --data DEVICE)", max: 1,
		complete: completePaths,
		short:    "make a pool on a file, a device, or two",
		long: `FILE is created with SIZE bytes, reserved on its file system unless --sparse. On two
devices the log and the first copy of the metadata lie on the one (NVMe, or a disk of
its own), data and the second copy on the other.

What holds a file system, partition table, LVM, md or another pool is refused, and
so is a file with anything in it; --force destroys what is there. What is in use is
refused always.

--durability flush acknowledges writes before they are durable; they are at the
guest's next flush. The default acknowledges durable writes only.`,
		examples: []string{
			"unblend init /var/lib/unblend/pool --size 20G",
			"unblend init /dev/sdb",
			"unblend init --log /dev/nvme0n1p3 --data /dev/sdb --log-size 8G",
		},
		setup: func(fs *pflag.FlagSet) action {
			o := initFlags(fs)
			return func(ctx context.Context, in *invocation) error {
				if err := o.check(in); err != nil {
					return err
				}
				return o.run(ctx, in)
			}
		},
	}
}

// initOptions are the flags of init.
type initOptions struct {
	fs         *pflag.FlagSet
	log, data  string
	size       units.Size
	logSize    units.Size
	segment    units.Size
	durability string
	force      bool
	sparse     bool

	paths []string // one, or log and data
}

func initFlags(fs *pflag.FlagSet) *initOptions {
	o := &initOptions{fs: fs}
	fs.Var(&o.size, "size", "of the file that is created")
	fs.BoolVar(&o.sparse, "sparse", false, "do not reserve the file's space")
	fs.StringVar(&o.log, "log", "", "`DEVICE` for the log")
	fs.StringVar(&o.data, "data", "", "`DEVICE` for the data")
	fs.Var(&o.logSize, "log-size", "of the log, instead of an eighth of its device or 4GiB")
	fs.Var(&o.segment, "segment-size", "of the log's segments, instead of 16MiB or a 16th of the log")
	fs.StringVar(&o.durability, "durability", "write",
		"`MODE` write: acknowledged lasts; flush: flushed lasts")
	fs.BoolVar(&o.force, "force", false, "destroy what the devices hold")
	return o
}

// check refuses what makes no sense before a device is looked at.
func (o *initOptions) check(in *invocation) error {
	refuse := func(format string, args ...any) error {
		return usageError(in.cmd, fmt.Sprintf(format, args...))
	}
	two := o.log != "" || o.data != ""
	switch {
	case len(in.args) == 0 && (o.log == "" || o.data == ""):
		return refuse("name a file or a device, or both --log and --data")
	case len(in.args) > 0 && two:
		return refuse("%q is too much beside --log and --data", in.args[0])
	case two && o.fs.Changed("size"):
		return refuse("--size is for a pool in one file")
	case o.sparse && !o.fs.Changed("size"):
		return refuse("--sparse is for a file that --size creates")
	case o.durability != "write" && o.durability != "flush":
		return refuse("--durability %q: want write or flush", o.durability)
	}
	o.paths = []string{o.log, o.data}
	if !two {
		o.paths = in.args
	}
	for _, s := range []struct {
		flag     string
		value    units.Size
		min, max int64
	}{
		{"size", o.size, 64 << 20, placement.MaxSize},
		{"log-size", o.logSize, 8 * minSegment, log.MaxBlocks * log.BlockSize},
		{"segment-size", o.segment, minSegment, maxSegment},
	} {
		n := int64(s.value)
		switch {
		case !o.fs.Changed(s.flag):
		case n < s.min || n > s.max:
			return refuse("--%s %s: want %s to %s", s.flag, units.ExactSize(n),
				units.FormatSize(s.min), units.FormatSize(s.max))
		case n%log.BlockSize != 0:
			return refuse("--%s %s: not a multiple of 4 KiB", s.flag, units.ExactSize(n))
		}
	}
	if two {
		return device.CheckApart(o.log, o.data)
	}
	return nil
}

// run claims the devices, makes the pool and says what it looks like. If anything goes wrong, files
// that it created are removed.
func (o *initOptions) run(ctx context.Context, in *invocation) error {
	devs, err := o.open()
	if err != nil {
		return o.advise(err)
	}
	for _, d := range devs {
		err = errors.Join(err, d.Prepare())
	}
	if err == nil {
		err = o.format(ctx, in, devs)
	}
	var label *placement.Label
	if err == nil {
		label, err = device.ReadLabel(devs[0])
	}
	for _, d := range devs {
		if err != nil {
			err = errors.Join(err, d.Discard())
		} else {
			err = d.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("init %s: %w", strings.Join(o.paths, " "), err)
	}
	doc := initResult(label, devs)
	return in.answer(doc, func() string { return o.text(doc) })
}

// open claims the devices. None is written to before all are found fit.
func (o *initOptions) open() (devs []*device.Device, err error) {
	for _, path := range o.paths {
		d, err := device.OpenForInit(path, device.InitOptions{
			Force: o.force, Create: int64(o.size), Sparse: o.sparse,
		})
		if err != nil {
			for _, d := range devs {
				err = errors.Join(err, d.Discard())
			}
			return nil, err
		}
		devs = append(devs, d)
	}
	return devs, nil
}

func (o *initOptions) format(ctx context.Context, in *invocation, devs []*device.Device) error {
	disks := interruptibly(ctx, placement.Disks{devs[0], devs[len(devs)-1]})
	p := newProgress(in, "writing the log")
	defer p.end()
	cfg := placement.FormatConfig{
		LogSize: int64(o.logSize), SegmentBlocks: uint32(o.segment / log.BlockSize),
		Created: time.Now().Unix(), Rand: func(b []byte) { rand.Read(b) },
		Prefill: devs[0].Info().Kind == device.RegularFile, Progress: p.show,
	}
	if o.durability == "flush" {
		cfg.Durability = placement.DurabilityFlush
	}
	return placement.Format(disks, cfg)
}

// advise adds what to do about a refusal.
func (o *initOptions) advise(err error) error {
	e := &control.Error{Message: err.Error(), Err: err}
	switch {
	case errors.Is(err, device.ErrHoldsData):
		e.Code = control.CodeHoldsData
		e.Next = "name another device, or destroy what is there with --force"
	case errors.Is(err, device.ErrInUse):
		e.Code = control.CodeInUse
		e.Next = "end that, or name another device"
	case errors.Is(err, device.ErrNoDevice) && len(o.paths) == 1 && o.size == 0:
		e.Code = control.CodeFailed
		e.Next = "to create a file: unblend init " + o.paths[0] + " --size SIZE"
	default:
		return err
	}
	return e
}

// initResult describes the new pool.
func initResult(l *placement.Label, devs []*device.Device) control.InitResult {
	r := control.InitResult{
		Schema: control.SchemaInit, UUID: units.FormatUUID(l.Pool), Created: control.UTC(l.Created),
		Durability: l.Durability.String(), SegmentSize: int64(l.SegmentBlocks) * log.BlockSize,
		LogSize:  int64(l.LogBlocks()) * log.BlockSize,
		Metadata: int64(l.Home.Blocks) * log.BlockSize,
	}
	for _, z := range l.Zones {
		if z.Kind == placement.ZoneData {
			r.DataSize += int64(z.Blocks) * log.BlockSize
		}
	}
	roles := []string{control.RoleBoth}
	if len(devs) == 2 {
		roles = []string{control.RoleLog, control.RoleData}
	}
	for i, d := range devs {
		info := d.Info()
		r.Devices = append(r.Devices, control.DeviceStatus{
			Role: roles[i], Path: info.Path, Present: true, Kind: info.Kind.String(),
			Number: info.Number, Size: info.Size, Rotational: info.Rotational,
			VolatileCache: info.VolatileCache, FUA: info.FUA,
		})
		for _, held := range d.Holds() {
			r.Wiped = append(r.Wiped, info.Path+": "+held.String())
		}
	}
	return r
}

func (o *initOptions) text(r control.InitResult) string {
	s := ""
	for _, w := range r.Wiped {
		s += "destroyed: " + w + "\n"
	}
	s += fmt.Sprintf("pool %s\n", r.UUID)
	for _, d := range r.Devices {
		s += fmt.Sprintf("%-8s  %s, %s of %s\n", d.Role, d.Path, d.Kind, units.FormatSize(d.Size))
	}
	s += fmt.Sprintf("log %s, data %s, metadata %s twice, durability %s\n",
		units.FormatSize(r.LogSize), units.FormatSize(r.DataSize), units.FormatSize(r.Metadata),
		r.Durability)
	return s + "serve it: unblend serve " + strings.Join(o.paths, " ") + "\n"
}
