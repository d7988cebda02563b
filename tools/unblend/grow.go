package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

func growCommand() *command {
	return &command{
		name: "grow", args: "[POOL] [--size SIZE]", max: 1, complete: completePaths, daemon: true,
		short: "add space to the pool",
		long: `The daemon reads the sizes of the pool's devices anew and uses what there is more than
before, while guests go on; writes that wait because the pool is full go on too. A block
device has to be enlarged first, where it comes from. A pool, or its data, in a file:
--size enlarges the file. Nothing can become smaller.

POOL is the device or file of the pool, to be sure that it is the one that is served.
A pool can grow to 16 times the size that it was made with, at least to 8 GiB.`,
		examples: []string{
			"unblend grow",
			"unblend grow /var/lib/unblend/pool --size 40G",
		},
		setup: func(fs *pflag.FlagSet) action {
			var size units.Size
			var sparse bool
			fs.Var(&size, "size", "what the file with the data is to have")
			fs.BoolVar(&sparse, "sparse", false, "do not reserve the file's space on its file system")
			return func(ctx context.Context, in *invocation) error {
				r := control.GrowRequest{Size: int64(size), Sparse: sparse}
				switch {
				case fs.Changed("size") && size == 0:
					return usageError(in.cmd, "--size 0 is no size")
				case sparse && size == 0:
					return usageError(in.cmd, "--sparse goes with --size")
				}
				if len(in.args) > 0 {
					path, err := filepath.Abs(in.args[0])
					if err != nil {
						return fmt.Errorf("%s: %w", in.args[0], err)
					}
					r.Pool = path
				}
				doc, err := in.client().Grow(ctx, r)
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return growText(doc) })
			}
		},
	}
}

// growText says what the pool had and has.
func growText(g control.GrowResult) string {
	var b strings.Builder
	change := func(before, now int64) string {
		if before == now {
			return units.FormatSize(now)
		}
		return units.FormatSize(before) + " -> " + units.FormatSize(now)
	}
	if !g.Grown {
		b.WriteString("nothing to do: the pool uses all that its devices have\n")
	}
	for _, d := range g.Devices {
		fmt.Fprintf(&b, "%-8s  %s, %s\n", d.Role, d.Path, change(d.Before, d.Size))
	}
	fmt.Fprintf(&b, "data %s, metadata %s twice\n", change(g.DataBefore, g.DataSize),
		change(g.MetadataBefore, g.MetadataSize))
	return b.String()
}
