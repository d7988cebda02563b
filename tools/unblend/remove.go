package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
)

// listedAtMost is how many names rm shows of those that it would remove.
const listedAtMost = 20

func rmCommand() *command {
	return &command{
		name: "rm", args: "NAME...", min: 1, max: 1 << 16, complete: completeNodes, daemon: true,
		short: "delete volumes and snapshots, and their data",
		long: `There is no way back. What is open is left alone, and so is a volume that has
snapshots, unless they are named as well.

A NAME with * ? or [...] stands for all that match; quote it for the shell. Without @
it matches volumes, with @ snapshots. What it matches is shown, and removed with --yes.
Space comes back in the background. Thousands of names take several steps; a crash between
them leaves the rest.`,
		examples: []string{
			"unblend rm web1", "unblend rm web1@monday", "unblend rm 'web1@*' web1 --yes",
			"unblend rm 'desk-*' --yes",
		},
		setup: func(fs *pflag.FlagSet) action {
			yes := fs.Bool("yes", false, "remove what patterns match")
			force := fs.Bool("force", false, forceUsage)
			return func(ctx context.Context, in *invocation) error { return rm(ctx, in, *yes, *force) }
		},
	}
}

func rm(ctx context.Context, in *invocation, yes, force bool) error {
	names := in.args
	if slices.ContainsFunc(names, isPattern) {
		list, err := in.client().List(ctx, control.ListRequest{Snapshots: true})
		if err != nil {
			return err
		}
		if names, err = expand(list.Volumes, names); err != nil {
			return err
		}
		if !yes {
			return wouldRemove(in, names)
		}
	}
	doc, err := removeAll(ctx, in, forRemoval(names), force)
	if err != nil {
		return err
	}
	return in.answer(doc, func() string { return "" })
}

// removeAll sends as many requests as the names need. One name goes as a name.
func removeAll(ctx context.Context, in *invocation, names []string, force bool) (control.Done, error) {
	c := in.client()
	if len(names) == 1 {
		return c.Remove(ctx, control.RemoveRequest{Name: names[0], Force: force})
	}
	p := newProgress(in, "removing")
	defer p.end()
	doc := control.Done{Schema: control.SchemaDone, Verb: "rm"}
	for part := range slices.Chunk(names, control.MaxNames) {
		done, err := c.Remove(ctx, control.RemoveRequest{Names: part, Force: force})
		if err != nil && doc.Count > 0 && !canceled(err) {
			e := *control.ErrorOf(err)
			e.Message += fmt.Sprintf(" (%d of %d were removed before)", doc.Count, len(names))
			err = &e
		}
		if err != nil {
			return doc, err
		}
		doc.Count += done.Count
		p.show(int64(doc.Count), int64(len(names)))
	}
	return doc, nil
}

// forRemoval puts snapshots before volumes, and each name once.
func forRemoval(names []string) []string {
	seen := map[string]bool{}
	var snapshots, volumes []string
	for _, name := range names {
		switch {
		case seen[name]:
		case control.IsSnapshot(name):
			snapshots = append(snapshots, name)
		default:
			volumes = append(volumes, name)
		}
		seen[name] = true
	}
	return append(snapshots, volumes...)
}

// isPattern reports whether a name stands for all that match. No name has these characters.
func isPattern(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// expand replaces patterns by the names that match: of volumes, with an @ of snapshots.
func expand(list []control.Volume, names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		if !isPattern(name) {
			all = append(all, name)
			continue
		}
		if _, err := path.Match(name, ""); err != nil {
			return nil, &control.Error{
				Code: control.CodeBadRequest, Message: fmt.Sprintf("rm: %q is no pattern", name),
				Next: "* stands for any characters, ? for one, [a-c] for one of some", Err: err,
			}
		}
		before := len(all)
		for _, v := range list {
			// The pattern is a valid one.
			if ok, _ := path.Match(name, v.Name); ok && v.Snapshot == control.IsSnapshot(name) {
				all = append(all, v.Name)
			}
		}
		if len(all) == before {
			return nil, &control.Error{
				Code: control.CodeNotFound, Message: fmt.Sprintf("rm: nothing matches %q", name),
				Next: "see: unblend list --snapshots",
			}
		}
	}
	return all, nil
}

// wouldRemove shows what patterns stand for, and refuses.
func wouldRemove(in *invocation, names []string) error {
	names = forRemoval(names)
	volumes := 0
	for i, name := range names {
		if !control.IsSnapshot(name) {
			volumes++
		}
		if i < listedAtMost {
			fmt.Fprintln(in.err, "would remove "+oneLine(control.Object(name)))
		}
	}
	if n := len(names) - listedAtMost; n > 0 {
		fmt.Fprintf(in.err, "and %d more\n", n)
	}
	return &control.Error{
		Code: control.CodeBadRequest,
		Message: fmt.Sprintf("rm: this would remove %d volumes and %d snapshots; nothing was removed",
			volumes, len(names)-volumes),
		Next: "to remove them: the same with --yes",
	}
}
