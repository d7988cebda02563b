package main

import (
	"context"
	"fmt"
	"path/filepath"

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
		name: "attach", args: "NAME", min: 1, max: 1, complete: completeNodes, daemon: true,
		short: "make the device of a volume or snapshot",
		long: `The device is there, under /dev/unblend/NAME, when the verb returns, and again
after every restart until it is detached. The device of a snapshot is read-only.`,
		examples: []string{"unblend attach db1", "unblend attach db1@monday"},
		setup: func(fs *pflag.FlagSet) action {
			var r control.AttachRequest
			fs.IntVar(&r.QueueDepth, "queue-depth", 0,
				"`N` requests under way at most, instead of as many as before")
			fs.BoolVar(&r.ReadOnly, "read-only", false, "let guests read only, as always with snapshots")
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
		name: "detach", args: "NAME", min: 1, max: 1, complete: completeNodes, daemon: true,
		short:    "take the device of a volume or snapshot away",
		long:     `It and its data stay. A device that is open is left alone.`,
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

// volumeLine is what verbs that change one volume print. Scripts take the first word.
func volumeLine(v control.Volume) string {
	more := ""
	if v.ReadOnly {
		more = "  read-only"
	}
	if v.DeviceSize != 0 {
		more += fmt.Sprintf("  (the device has %s until the next attach: this kernel lacks ublk UPDATE_SIZE,"+
			" Linux 6.16)", units.FormatSize(v.DeviceSize))
	}
	return fmt.Sprintf("%s  %s  %s thin%s\n", v.Link, stateWord(v, filepath.Base),
		units.FormatSize(v.Size), more)
}

// stateWord says what a volume or snapshot is at the moment; path shows the device, if there is one.
func stateWord(v control.Volume, path func(string) string) string {
	switch {
	case v.Device != "":
		return path(v.Device)
	case v.Snapshot && !v.Hidden:
		return "snapshot"
	}
	return v.State
}
