package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

const forceUsage = "even if it is open; whoever has it open gets errors"

func createCommand() *command {
	return &command{
		name: "create", args: "NAME --size SIZE", min: 1, max: 1, daemon: true,
		short: "make a volume and its device",
		long: `The volume is thin: it takes space as it is written. Its device is there, under
/dev/unblend/NAME, when the verb returns, and again after every restart until it is
detached. What is printed begins with that path.

NAME: 1 to 63 of the letters, digits and . _ + -, not beginning with . or -.
SIZE: 1 MiB to 256 TiB, a multiple of 4 KiB: 20G, 1.5TiB, 1048576.`,
		examples: []string{
			"unblend create web1 --size 20G", "unblend create db1 --size 1T --no-attach",
		},
		setup: func(fs *pflag.FlagSet) action {
			var r control.CreateRequest
			var size units.Size
			fs.Var(&size, "size", "what the guest sees")
			fs.IntVar(&r.QueueDepth, "queue-depth", 0,
				"`N` requests under way at most, instead of 128")
			fs.BoolVar(&r.NoAttach, "no-attach", false, "leave it without a device")
			return func(ctx context.Context, in *invocation) error {
				if !fs.Changed("size") {
					return usageError(in.cmd, "--size is missing")
				}
				r.Name, r.Size = in.args[0], int64(size)
				doc, err := in.client().Create(ctx, r)
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return volumeLine(doc.Volume) })
			}
		},
	}
}

func attachCommand() *command {
	return &command{
		name: "attach", args: "NAME", min: 1, max: 1, complete: completeVolumes, daemon: true,
		short: "make the device of a volume",
		long: `The device is there, under /dev/unblend/NAME, when the verb returns, and again
after every restart until it is detached.`,
		examples: []string{"unblend attach db1"},
		setup: func(fs *pflag.FlagSet) action {
			var r control.AttachRequest
			fs.IntVar(&r.QueueDepth, "queue-depth", 0,
				"`N` requests under way at most, instead of as many as before")
			fs.BoolVar(&r.ReadOnly, "read-only", false, "let guests read only")
			return func(ctx context.Context, in *invocation) error {
				r.Name = in.args[0]
				doc, err := in.client().Attach(ctx, r)
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return volumeLine(doc.Volume) })
			}
		},
	}
}

func detachCommand() *command {
	return &command{
		name: "detach", args: "NAME", min: 1, max: 1, complete: completeVolumes, daemon: true,
		short:    "take the device of a volume away",
		long:     `The volume and its data stay. A device that is open is left alone.`,
		examples: []string{"unblend detach db1"},
		setup: func(fs *pflag.FlagSet) action {
			var r control.DetachRequest
			fs.BoolVar(&r.Force, "force", false, forceUsage)
			return func(ctx context.Context, in *invocation) error {
				r.Name = in.args[0]
				doc, err := in.client().Detach(ctx, r)
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return volumeLine(doc.Volume) })
			}
		},
	}
}

func rmCommand() *command {
	return &command{
		name: "rm", args: "NAME", min: 1, max: 1, complete: completeVolumes, daemon: true,
		short:    "delete a volume and its data",
		long:     `There is no way back. A volume that is open is left alone.`,
		examples: []string{"unblend rm web1"},
		setup: func(fs *pflag.FlagSet) action {
			var r control.RemoveRequest
			fs.BoolVar(&r.Force, "force", false, forceUsage)
			return func(ctx context.Context, in *invocation) error {
				r.Name = in.args[0]
				doc, err := in.client().Remove(ctx, r)
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return "" })
			}
		},
	}
}

func listCommand() *command {
	return &command{
		name: "list", args: "[NAME...]", max: 1 << 16, complete: completeVolumes, daemon: true,
		short: "list volumes",
		long: `All of them, or those that are named. MAPPED is what has its place on the capacity
device, IN LOG what has not been moved there yet.`,
		examples: []string{"unblend list", "unblend list web1 --json"},
		setup: func(*pflag.FlagSet) action {
			return func(ctx context.Context, in *invocation) error {
				doc, err := in.client().List(ctx)
				if err == nil {
					doc.Volumes, err = chosen(doc.Volumes, in.args)
				}
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return volumeTable(doc.Volumes) })
			}
		},
	}
}

// chosen returns the volumes that are named, in the order of the list.
func chosen(all []control.Volume, names []string) ([]control.Volume, error) {
	for _, name := range names {
		if !slices.ContainsFunc(all, func(v control.Volume) bool { return v.Name == name }) {
			return nil, &control.Error{
				Code: control.CodeNotFound, Message: fmt.Sprintf("volume %q: there is none", name),
				Next: "see: unblend list",
			}
		}
	}
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(v control.Volume) bool {
			return !slices.Contains(names, v.Name)
		})
	}
	return all, nil
}

// volumeLine is what create, attach and detach print. Scripts take the first word.
func volumeLine(v control.Volume) string {
	device := v.State
	if v.Device != "" {
		device = filepath.Base(v.Device)
	}
	ro := ""
	if v.ReadOnly {
		ro = "  read-only"
	}
	return fmt.Sprintf("%s  %s  %s thin%s\n", v.Link, device, units.FormatSize(v.Size), ro)
}

// volumeTable is what list prints.
func volumeTable(all []control.Volume) string {
	t := units.NewTable("NAME", ">SIZE", ">MAPPED", ">IN LOG", "DEVICE", "CREATED")
	for _, v := range all {
		device := v.State
		if v.Device != "" {
			device = v.Device
		}
		if v.ReadOnly {
			device += " (read-only)"
		}
		t.Row(v.Name, units.FormatSize(v.Size), units.FormatSize(v.Mapped),
			units.FormatSize(v.InLog), device, v.Created.UTC().Format("2006-01-02 15:04"))
	}
	return t.String()
}
