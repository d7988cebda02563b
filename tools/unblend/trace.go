package main

import (
	"cmp"
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
		name: "trace", args: "blend|destage [INTERVAL [COUNT]]", min: 1, max: 3, daemon: true,
		short: "watch how guests' writes blend, and what the disk gets",
		long: `Counts in the kernel, and prints every INTERVAL (10, 1min), COUNT times; without
INTERVAL once, at the end. It needs root and disturbs nobody. --json prints one
document in a line for each report.

blend: writes only, in the order in which the kernel issues them to each device:

  each volume   what its guest writes
  merged        what one disk would have got that holds all volumes end to end
  sent          what the pool's devices do get: log, destage, metadata

SEQ %      writes that start where the one before them ended
RUN        mean length of writes that continue each other
SEEKS/MiB  writes that start elsewhere, for each MiB written
MEDIAN     of how far they jump, to the power of two below
ADDS/s     seeks of the merged stream that mixing this volume with the others adds

Destage comes later than the writes it is for: a long time tells more than a short one.

destage: what guests wrote, and what became of it:

ABSORBED  overwritten, discarded or removed in the log, of what has left it
RUN       mean length of what was moved to one place; MEDIAN: the power of two below
FILL      of what was written to volumes' places, what was not overwritten meanwhile
IN LOG    how long half of the moved bytes had been in the log, and 99 % of them
STALLED   sum of the times that writes waited for room

--verify compares what the kernel was seen to write with what the daemon counts, and
ends with exit code 5 where they differ by more than 1 %.`,
		examples: []string{
			"unblend trace blend", "unblend trace blend 10", "unblend trace blend 10 6 --json",
			"unblend trace blend --seconds 60 --volume db1", "unblend trace destage 60",
			"unblend trace destage --verify --seconds 60",
		},
		setup: func(fs *pflag.FlagSet) action {
			var o traceOptions
			fs.Var(&o.length, "seconds", "end after this long (60, 5min)")
			fs.StringArrayVar(&o.only, "volume", nil, "show only the row of `NAME`; may be repeated")
			fs.Float64Var(&o.destage.SeekMillis, "seek-ms", 8, "destage: `MS` that a seek of the disk takes")
			fs.Float64Var(&o.destage.MBPerSecond, "mbps", 150, "destage: `MB` that the disk writes a second")
			fs.BoolVar(&o.destage.Verify, "verify", false, "destage: compare with the daemon's counters")
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
	destage  blend.DestageOptions
}

// view is what trace shows.
type view interface {
	Poll(ctx context.Context) error
	Close() error
	report(ctx context.Context) (traceReport, error)
	last() (traceReport, error) // at the end, when the context has ended
}

// traceReport is what a view has found in one time.
type traceReport struct {
	doc    any
	screen string
	failed error // what was found to be wrong
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
	v, err := views[in.args[0]](ctx, o, daemon)
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
	return errors.Join(o.watch(ctx, in, v), v.Close())
}

// views begin to count, by their names.
var views = map[string]func(context.Context, *traceOptions, blend.Daemon) (view, error){
	"blend": openBlend, "destage": openDestage,
}

// parse reads the arguments.
func (o *traceOptions) parse(in *invocation) error {
	if views[in.args[0]] == nil {
		return usageError(in.cmd, fmt.Sprintf("there is no view %q", in.args[0][:min(len(in.args[0]), 64)]))
	}
	if d := o.destage; !(d.SeekMillis > 0 && d.MBPerSecond > 0) {
		return usageError(in.cmd, "--seek-ms, --mbps: want numbers above 0")
	}
	if in.args[0] != "destage" && o.destage.Verify {
		return usageError(in.cmd, "--verify: only trace destage has it")
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
// one is printed in any case. What a report found to be wrong does not end it.
func (o *traceOptions) watch(ctx context.Context, in *invocation, v view) (failed error) {
	start := time.Now()
	end := start.Add(o.length.Std())
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	next := start.Add(o.interval)
	for n := 0; ; {
		select {
		case <-ctx.Done():
			r, err := v.last()
			if err == nil {
				err = printReport(in, r)
			}
			return cmp.Or(r.failed, failed, errors.Join(err, ctx.Err()))
		case <-poll.C:
		}
		now := time.Now()
		last := o.length > 0 && !now.Before(end)
		if !last && (o.interval == 0 || now.Before(next)) {
			if err := v.Poll(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		r, err := v.report(ctx)
		if ctx.Err() != nil {
			continue
		}
		if err == nil {
			err = printReport(in, r)
		}
		if err != nil {
			return err
		}
		failed = cmp.Or(failed, r.failed)
		if n++; last || n == o.count {
			return failed
		}
		for !next.After(now) { // a report that took long skips some
			next = next.Add(o.interval)
		}
	}
}

// printReport prints one report: a line of JSON, or a screen.
func printReport(in *invocation, r traceReport) error {
	if !in.common.json {
		return print(in.out, r.screen)
	}
	b, err := json.Marshal(r.doc)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return print(in.out, string(b)+"\n")
}

// shown reports whether the row of a volume is wanted.
func (o *traceOptions) shown(name string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, name)
}

// blendView is trace blend.
type blendView struct {
	*blend.Tracer
	o *traceOptions
}

func openBlend(ctx context.Context, o *traceOptions, d blend.Daemon) (view, error) {
	t, err := blend.Open(ctx, d)
	return blendView{t, o}, err
}

func (v blendView) report(ctx context.Context) (traceReport, error) {
	doc, err := v.Report(ctx)
	return v.show(doc), err
}

func (v blendView) last() (traceReport, error) {
	doc, err := v.Last()
	return v.show(doc), err
}

func (v blendView) show(doc control.TraceBlend) traceReport {
	doc.Streams = slices.DeleteFunc(doc.Streams, func(s control.TraceStream) bool {
		return s.Kind == control.StreamVolume && !v.o.shown(s.Name)
	})
	return traceReport{doc: doc, screen: blendScreen(doc)}
}
