package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

func listCommand() *command {
	return &command{
		name: "list", args: "[NAME...]", max: 1 << 16, complete: completeNodes, daemon: true,
		short: "list volumes and snapshots",
		long: `All volumes, or what is named. MAPPED is what has its place on the capacity device,
what is shared with others included, IN LOG what has not been moved there yet.

--tree shows below each snapshot what continues it. UNIQUE is what nothing older
shares, FREES what removing it would free: nothing while several others share it.
--all adds what was removed and stays because several others need it.`,
		examples: []string{
			"unblend list", "unblend list web1 --json", "unblend list --tree", "unblend list --tree web1",
		},
		setup: func(fs *pflag.FlagSet) action {
			var r control.ListRequest
			fs.BoolVar(&r.Snapshots, "snapshots", false, "list snapshots too")
			fs.BoolVar(&r.All, "all", false, "list snapshots too, and what was removed and stays")
			tree := fs.Bool("tree", false, "list snapshots too, as a tree by origin")
			return func(ctx context.Context, in *invocation) error {
				if *tree {
					return listTree(ctx, in, r.All)
				}
				r.Snapshots = r.Snapshots || slices.ContainsFunc(in.args, control.IsSnapshot)
				doc, err := in.client().List(ctx, r)
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

// chosen returns what is named, in the order of the list.
func chosen(all []control.Volume, names []string) ([]control.Volume, error) {
	if err := known(all, names); err != nil || len(names) == 0 {
		return all, err
	}
	return slices.DeleteFunc(all, func(v control.Volume) bool {
		return !slices.Contains(names, v.Name)
	}), nil
}

// known refuses names that are not in the list.
func known(all []control.Volume, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(all, func(v control.Volume) bool { return v.Name == name }) {
			return &control.Error{
				Code: control.CodeNotFound, Message: control.Object(name) + ": there is none",
				Next: "see: unblend list --snapshots",
			}
		}
	}
	return nil
}

// volumeTable is what list prints.
func volumeTable(all []control.Volume) string {
	t := units.NewTable("NAME", ">SIZE", ">MAPPED", ">IN LOG", "DEVICE", "CREATED")
	for _, v := range all {
		t.Row(shownName(v), units.FormatSize(v.Size), units.FormatSize(v.Mapped),
			units.FormatSize(v.InLog), shownState(v), v.Created.UTC().Format("2006-01-02 15:04"))
	}
	return t.String()
}

func shownName(v control.Volume) string {
	if v.Hidden {
		return fmt.Sprintf("(removed #%d)", v.ID)
	}
	return v.Name
}

func shownState(v control.Volume) string {
	s := stateWord(v, func(path string) string { return path })
	if v.ReadOnly && (!v.Snapshot || v.Device != "") {
		s += " (read-only)"
	}
	return s
}
