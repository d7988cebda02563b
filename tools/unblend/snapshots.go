package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

func snapshotCommand() *command {
	return &command{
		name: "snapshot", args: "VOLUME@SNAPSHOT... | --group VOLUME... @SNAPSHOT", min: 1, max: 1 << 16,
		complete: completeVolumes, daemon: true, short: "keep what volumes hold at this moment",
		long: `Takes no time and no space, and guests go on. What a guest has written and not yet
flushed out of its own cache is not in it: let it sync, or freeze its file systems.

Several volumes are frozen at the same moment, under one name: up to 112 at a time.
With --group they are named first, and the name comes once, at the end.`,
		examples: []string{
			"unblend snapshot web1@monday", "unblend snapshot db1@nightly db1-log@nightly",
			"unblend snapshot --group db1 db1-log @nightly",
		},
		setup: func(fs *pflag.FlagSet) action {
			group := fs.Bool("group", false, "the volumes, then @SNAPSHOT")
			return func(ctx context.Context, in *invocation) error { return snapshot(ctx, in, *group) }
		},
	}
}

// ungrouped returns the names of a group's snapshots.
func ungrouped(in *invocation) ([]string, error) {
	last := len(in.args) - 1
	to := in.args[last]
	if last == 0 || !strings.HasPrefix(to, "@") {
		return nil, usageError(in.cmd, fmt.Sprintf("%q: with --group the volumes come first, then @SNAPSHOT",
			to))
	}
	var names []string
	for _, volume := range in.args[:last] {
		if control.IsSnapshot(volume) {
			return nil, usageError(in.cmd, fmt.Sprintf("%q: with --group the name comes once, at the end",
				volume))
		}
		names = append(names, volume+to)
	}
	return names, nil
}

func snapshot(ctx context.Context, in *invocation, group bool) error {
	names := in.args
	if group {
		var err error
		if names, err = ungrouped(in); err != nil {
			return err
		}
	}
	var r control.SnapshotRequest
	for _, name := range names {
		volume, snap, is := strings.Cut(name, "@")
		if !is {
			return usageError(in.cmd, fmt.Sprintf("%q: the name of the snapshot is missing", name))
		}
		if len(r.Volumes) > 0 && snap != r.Name {
			return usageError(in.cmd, fmt.Sprintf("%q and %q: snapshots of one moment have one name",
				names[0], name))
		}
		r.Volumes, r.Name = append(r.Volumes, volume), snap
	}
	doc, err := in.client().Snapshot(ctx, r)
	if err != nil {
		return err
	}
	return in.answer(doc, func() string {
		var b strings.Builder
		for _, v := range doc.Volumes {
			fmt.Fprintf(&b, "%s  snapshot  %s\n", v.Name, units.FormatSize(v.Size))
		}
		return b.String()
	})
}

func cloneCommand() *command {
	return &command{
		name: "clone", args: "VOLUME@SNAPSHOT NAME", min: 2, max: 2, complete: completeSnapshots,
		daemon: true, short: "make volumes that begin as a snapshot is",
		long: `A clone takes space only for what is written to it. It has no device until it is
attached.

With --count, NAME ends with %d or %05d, for the number, which is padded with zeros to
so many digits. All of the clones are made, or none.`,
		examples: []string{
			"unblend clone golden@v1 web7 --attach",
			"unblend clone golden@v1 desk-%05d --count 10000 --first 1",
		},
		setup: func(fs *pflag.FlagSet) action {
			var r control.CloneRequest
			fs.IntVar(&r.Count, "count", 0, "make `N` clones, with numbers in their names")
			fs.IntVar(&r.First, "first", 0, "`NUMBER` of the first of them (with --count)")
			fs.IntVar(&r.QueueDepth, "queue-depth", 0,
				"`N` requests under way at most, instead of as many as the snapshot's volume")
			fs.BoolVar(&r.Attach, "attach", false, "make the device of the one clone")
			return func(ctx context.Context, in *invocation) error {
				if err := cloneNames(in, fs, &r); err != nil {
					return err
				}
				doc, err := in.client().Clone(ctx, r)
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return cloneText(doc) })
			}
		},
	}
}

// numbered is a name that ends with the place of a number.
var numbered = regexp.MustCompile(`^([^%]*)%(?:0([1-9][0-9]?))?d$`)

// cloneNames takes the names of the clones from the call.
func cloneNames(in *invocation, fs *pflag.FlagSet, r *control.CloneRequest) error {
	r.Source, r.Name = in.args[0], in.args[1]
	many := fs.Changed("count")
	switch {
	case !many && fs.Changed("first"):
		return usageError(in.cmd, "--first is for many, with --count")
	case !many && strings.Contains(r.Name, "%"):
		return usageError(in.cmd, fmt.Sprintf("%q is for many, with --count", r.Name))
	case !many:
		return nil
	case r.Count < 1:
		return usageError(in.cmd, fmt.Sprintf("--count %d: want 1 or more", r.Count))
	case r.Attach:
		return usageError(in.cmd, "--attach is for one clone, without --count")
	}
	m := numbered.FindStringSubmatch(r.Name)
	if m == nil {
		return usageError(in.cmd, fmt.Sprintf(
			"%q: with --count a name ends with %%d or %%05d, and has no other %%", r.Name))
	}
	r.Name = m[1]
	if m[2] != "" {
		r.Width, _ = strconv.Atoi(m[2]) // one or two digits
	}
	return nil
}

func cloneText(r control.CloneResult) string {
	if r.Last == "" {
		return volumeLine(r.Volume)
	}
	return fmt.Sprintf("%s to %s: %d clones of %s, %s thin\n", r.Volume.Name, r.Last, r.Count, r.Source,
		units.FormatSize(r.Volume.Size))
}

func rollbackCommand() *command {
	return &command{
		name: "rollback", args: "VOLUME@SNAPSHOT", min: 1, max: 1, complete: completeSnapshots,
		daemon: true, short: "make a volume what a snapshot of it is",
		long: `What the volume holds now is lost, unless a snapshot has it: take one first. Its
snapshots stay, newer ones too. A volume that is open is left alone: stop the guest.
An attached volume has its device again afterwards.`,
		examples: []string{"unblend rollback web1@monday"},
		setup: func(*pflag.FlagSet) action {
			return func(ctx context.Context, in *invocation) error {
				doc, err := in.client().Rollback(ctx, control.RollbackRequest{Name: in.args[0]})
				if err != nil {
					return err
				}
				return in.answer(doc, func() string { return volumeLine(doc.Volume) })
			}
		},
	}
}
