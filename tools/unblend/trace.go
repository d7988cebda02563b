package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"unblend/tools/internal/blend"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// pollEvery is how often the tracer looks for volumes that get or lost their device.
const pollEvery = 100 * time.Millisecond

func traceCommand() *command {
	return &command{
		name: "trace", args: "blend [INTERVAL [COUNT]]", min: 1, max: 3, daemon: true,
		short: "watch how guests' writes blend, and what the disk gets",
		long: `Counts in the kernel, and prints every INTERVAL (10, 1min), COUNT times; without
INTERVAL once, at the end. It needs root and disturbs nobody. Writes only, in the
order in which the kernel issues them to each device:

  each volume   what its guest writes
  merged        what one disk would have got that holds all volumes end to end
  sent          what the pool's devices do get: log, destage, metadata

SEQ %      writes that start where the one before them ended
RUN        mean length of writes that continue each other
SEEKS/MiB  writes that start elsewhere, for each MiB written
MEDIAN     of how far they jump, to the power of two below
ADDS/s     seeks of the merged stream that mixing this volume with the others adds

Destage comes later than the writes it is for: a long time tells more than a short one.
--json prints one document in a line for each report.`,
		examples: []string{
			"unblend trace blend", "unblend trace blend 10", "unblend trace blend 10 6 --json",
			"unblend trace blend --seconds 60 --volume db1",
		},
		setup: func(fs *pflag.FlagSet) action {
			var o traceOptions
			fs.Var(&o.length, "seconds", "end after this long (60, 5min)")
			fs.StringArrayVar(&o.only, "volume", nil, "show only the row of `NAME`; may be repeated")
			return o.run
		},
	}
}

// traceOptions say how long to trace and what to show.
type traceOptions struct {
	length   units.Duration // 0: until interrupted
	interval time.Duration  // 0: one report, at the end
	count    int            // 0: no limit
	only     []string
}

func (o *traceOptions) run(ctx context.Context, in *invocation) error {
	if err := o.parse(in); err != nil {
		return err
	}
	daemon := in.client()
	list, err := daemon.List(ctx, control.ListRequest{})
	if err == nil {
		err = known(list.Volumes, o.only)
	}
	if err != nil {
		return err
	}
	t, err := blend.Open(ctx, daemon)
	if err != nil {
		return err
	}
	if o.interval == 0 { // nothing is to be seen for a while
		until := "until interrupted"
		if o.length > 0 {
			until = "for " + units.FormatDuration(o.length.Std())
		}
		fmt.Fprintln(in.err, "unblend: tracing "+until)
	}
	return errors.Join(o.watch(ctx, in, t), t.Close())
}

// parse reads the arguments.
func (o *traceOptions) parse(in *invocation) error {
	if in.args[0] != "blend" {
		return usageError(in.cmd, fmt.Sprintf("there is no view %q", in.args[0][:min(len(in.args[0]), 64)]))
	}
	var err error
	if len(in.args) > 1 {
		if o.interval, err = units.ParseDuration(in.args[1]); err != nil {
			return usageError(in.cmd, "INTERVAL: "+err.Error())
		}
		if o.interval < pollEvery {
			return usageError(in.cmd, fmt.Sprintf("INTERVAL: want %v or more", pollEvery))
		}
	}
	if len(in.args) > 2 {
		if o.count, err = strconv.Atoi(in.args[2]); err != nil || o.count < 1 {
			return usageError(in.cmd, fmt.Sprintf("COUNT %q: want a number above 0", in.args[2]))
		}
	}
	return nil
}

// watch prints reports until it is told to end, or has printed all. What was counted since the last
// one is printed in any case.
func (o *traceOptions) watch(ctx context.Context, in *invocation, t *blend.Tracer) error {
	start := time.Now()
	end := start.Add(o.length.Std())
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	next := start.Add(o.interval)
	for n := 0; ; {
		select {
		case <-ctx.Done():
			doc, err := t.Last()
			return errors.Join(err, o.print(in, doc), ctx.Err())
		case <-poll.C:
		}
		now := time.Now()
		last := o.length > 0 && !now.Before(end)
		if !last && (o.interval == 0 || now.Before(next)) {
			if err := t.Poll(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		doc, err := t.Report(ctx)
		if ctx.Err() != nil {
			continue
		}
		if err != nil {
			return err
		}
		if err := o.print(in, doc); err != nil {
			return err
		}
		if n++; last || n == o.count {
			return nil
		}
		for !next.After(now) { // a report that took long skips some
			next = next.Add(o.interval)
		}
	}
}

// print prints one report: a line of JSON, or a screen.
func (o *traceOptions) print(in *invocation, doc control.TraceBlend) error {
	if len(o.only) > 0 {
		doc.Streams = slices.DeleteFunc(doc.Streams, func(s control.TraceStream) bool {
			return s.Kind == control.StreamVolume && !slices.Contains(o.only, s.Name)
		})
	}
	if !in.common.json {
		return print(in.out, blendScreen(doc))
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return print(in.out, string(b)+"\n")
}
