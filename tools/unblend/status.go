package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// statusVolumes is how many volumes status lists; more are for list.
const statusVolumes = 32

func statusCommand() *command {
	return &command{
		name: "status", args: "[VOL]", max: 1, daemon: true, complete: completeNodes,
		short: "say how the pool is",
		long: `Pool, devices, log, space, volumes, warnings.
Exit code 5: the pool is degraded or read-only, or 80 % or more of its space are used.

--layout says in which runs a volume or snapshot lies on the data device, and --svg draws
it: the volume from left to right, the device from top to bottom. What lies in order is a
straight line.`,
		examples: []string{
			"unblend status", "unblend status --json",
			"unblend status web1 --layout --svg web1.svg",
		},
		setup: func(fs *pflag.FlagSet) action {
			var f layoutFlags
			fs.BoolVar(&f.layout, "layout", false, "say how VOL lies on the data device")
			fs.StringVar(&f.svg, "svg", "", "with --layout: draw it into `FILE`")
			return func(ctx context.Context, in *invocation) error {
				if err := f.check(in); err != nil {
					return err
				}
				if f.layout {
					return layout(ctx, in, &f)
				}
				return status(ctx, in)
			}
		},
	}
}

func status(ctx context.Context, in *invocation) error {
	c := in.client()
	doc, err := c.Status(ctx)
	if err != nil {
		return err
	}
	var list control.List
	if !in.common.json && doc.Volumes.Total <= statusVolumes {
		if list, err = c.List(ctx, control.ListRequest{}); err != nil {
			return err
		}
	}
	err = in.answer(doc, func() string { return statusText(doc, list.Volumes) })
	if err == nil && doc.State != control.PoolOK {
		return exitError(exitWorse)
	}
	return err
}

// statusText lays the status out for people.
func statusText(s control.Status, volumes []control.Volume) string {
	var b strings.Builder
	line := func(head, format string, args ...any) {
		b.WriteString(pad(head, 10) + oneLine(fmt.Sprintf(format, args...)) + "\n")
	}
	state := s.State
	if s.Pool.Reason != "" {
		state += ": " + s.Pool.Reason
	}
	line("pool", "%s  %s", s.Pool.UUID, state)
	line("", "durability %s, generation %d, checkpoint %s", s.Pool.Durability, s.Pool.Generation,
		ago(s.Time, s.Pool.Checkpoint))
	line("daemon", "%s, pid %d, up %s, %s of memory", s.Daemon.Version, s.Daemon.PID,
		units.FormatDuration(s.Time.Sub(s.Daemon.Started)), units.FormatSize(s.Daemon.RSS))
	if s.Daemon.CPUs != "" {
		line("", "on CPUs %s", s.Daemon.CPUs)
	}
	for _, d := range s.Devices {
		line(d.Role, "%s", deviceText(d))
	}
	line("log", "%s full (%s of %s), %d of %d segments free, %s", perMille(s.Log.Pressure),
		units.FormatSize(s.Log.Used), units.FormatSize(s.Log.Size), s.Log.SegmentsFree,
		s.Log.Segments, s.Work.Now)
	if s.Log.Stalled > 0 {
		line("", "%d volumes wait for room", s.Log.Stalled)
	}
	line("space", "%s used (%s of %s), %s promised to the log",
		units.FormatShare(s.Space.Size-s.Space.Free, s.Space.Size),
		units.FormatSize(s.Space.Size-s.Space.Free), units.FormatSize(s.Space.Size),
		units.FormatSize(s.Space.Promised))
	if s.Work.ReplacedBytes > 0 {
		line("", "%s put back into order while guests were idle",
			units.FormatSize(int64(s.Work.ReplacedBytes)))
	}
	if len(s.Space.Growth) > 0 {
		line("growth", "%s", growthText(s.Space.Growth))
	}
	line("metadata", "%s used (of %s)",
		units.FormatShare(s.Space.MetadataSize-s.Space.MetadataFree, s.Space.MetadataSize),
		units.FormatSize(s.Space.MetadataSize))
	line("cache", "%s, %s of it shared blocks, hits: %s of pages, %s of shared blocks",
		units.FormatSize(s.Cache.Size), units.FormatSize(s.Cache.Shared),
		hitShare(s.Cache.PageHits, s.Cache.PageMisses),
		hitShare(s.Cache.BlockHits, s.Cache.BlockMisses))
	line("volumes", "%d, %d attached, %d snapshots, %s in all, %s mapped", s.Volumes.Total,
		s.Volumes.Attached, s.Volumes.Snapshots, units.FormatSize(s.Volumes.Size),
		units.FormatSize(s.Volumes.Mapped))
	if d := damageText(s.Damage); d != "" {
		line("damage", "%s", d)
	}
	if s.Scrub.State != "" && s.Scrub.State != control.ScrubNone {
		line("scrub", "%s", scrubLine(s.Scrub))
	}
	writeTail(&b, s, volumes)
	return b.String()
}

// writeTail adds the table of the volumes and the warnings.
func writeTail(b *strings.Builder, s control.Status, volumes []control.Volume) {
	switch {
	case len(volumes) > 0:
		b.WriteString("\n" + volumeTable(volumes))
	case s.Volumes.Total > 0:
		b.WriteString("\nfor the volumes see: unblend list\n")
	}
	for i, w := range s.Warnings {
		if i == 0 {
			b.WriteString("\n")
		}
		next := ""
		if w.Next != "" {
			next = "; " + w.Next
		}
		b.WriteString("warning: " + oneLine(w.Message+next) + "\n")
	}
}

func deviceText(d control.DeviceStatus) string {
	if !d.Present {
		return d.Path + "  missing"
	}
	s := fmt.Sprintf("%s  %s of %s", d.Path, d.Kind, units.FormatSize(d.Size))
	if d.Rotational {
		s += ", rotational"
	}
	switch {
	case d.VolatileCache && d.FUA:
		s += ", volatile cache with FUA"
	case d.VolatileCache:
		s += ", volatile cache without FUA"
	}
	if n := d.ReadErrors + d.WriteErrors; n > 0 {
		s += fmt.Sprintf(", %d ERRORS", n)
	}
	return s
}

// damageText lists what was found bad, "" if nothing was.
func damageText(d control.DamageStatus) string {
	var parts []string
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{d.ReadErrors, "blocks unreadable"},
		{d.LostBlocks, "blocks lost in the log"},
		{d.BadBlocks, "bad blocks on the capacity device"},
		{d.PageDamage, "bad copies of metadata pages"},
		{d.PageRepairs, "repaired"},
	} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	if d.Last != "" {
		parts = append(parts, "last: "+d.Last)
	}
	return strings.Join(parts, ", ")
}

// growthText names the volumes that grew most since the daemon started.
func growthText(list []control.VolumeGrowth) string {
	var parts []string
	for _, g := range list[:min(len(list), 3)] {
		parts = append(parts, fmt.Sprintf("%s %s, %s an hour", g.Name, units.FormatSize(g.Bytes),
			units.FormatSize(g.PerHour)))
	}
	return strings.Join(parts, "; ")
}

// hitShare returns which share of lookups were hits.
func hitShare(hits, misses uint64) string {
	return units.FormatShare(int64(hits), int64(hits+misses))
}

func perMille(n int) string { return units.FormatShare(int64(n), 1000) }

// ago says how long before now t was.
func ago(now, t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return "none yet"
	}
	if now.Sub(t) < time.Second {
		return "just now"
	}
	return units.FormatDuration(now.Sub(t)) + " ago"
}
