package main

import (
	"context"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

func renameCommand() *command {
	return &command{
		name: "rename", args: "NAME NEW", min: 2, max: 2, complete: completeNodes, daemon: true,
		short: "give a volume or snapshot another name",
		long: `The snapshots of a volume keep theirs behind the @. The device stays, and whoever has
it open goes on; its link has the new name.`,
		examples: []string{"unblend rename web1 web2", "unblend rename web1@monday web1@good"},
		setup: func(*pflag.FlagSet) action {
			return func(ctx context.Context, in *invocation) error {
				doc, err := in.client().Rename(ctx, control.RenameRequest{
					Name: in.args[0], To: in.args[1],
				})
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return volumeLine(doc.Volume) })
			}
		},
	}
}

func resizeCommand() *command {
	return &command{
		name: "resize", args: "NAME --size SIZE", min: 1, max: 1, complete: completeVolumes,
		daemon: true, short: "make a volume larger",
		long: `It cannot become smaller. From Linux 6.16 on the guest's disk grows at once; before,
when the volume is attached the next time, which the verb then says.

SIZE: up to 256 TiB, a multiple of 4 KiB: 40G, 1.5TiB.`,
		examples: []string{"unblend resize web1 --size 40G"},
		setup: func(fs *pflag.FlagSet) action {
			var size units.Size
			fs.Var(&size, "size", "what the guest sees from now on")
			return func(ctx context.Context, in *invocation) error {
				if !fs.Changed("size") {
					return usageError(in.cmd, "--size is missing")
				}
				doc, err := in.client().Resize(ctx, control.ResizeRequest{
					Name: in.args[0], Size: int64(size),
				})
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return volumeLine(doc.Volume) })
			}
		},
	}
}
