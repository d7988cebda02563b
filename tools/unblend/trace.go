package main

import (
	"context"
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

// view is one of the things that trace shows or makes.
type view struct {
	args     string // behind its name
	min, max int    // how many they are
	flags    []string
	run      func(*traceOptions, context.Context, *invocation) error
}

// views by name.
func views() map[string]view {
	return map[string]view{
		"blend": {"[INTERVAL [COUNT]]", 0, 2, []string{"seconds", "volume"}, (*traceOptions).blend},
		"destage": {
			"[INTERVAL [COUNT]]", 0, 2,
			[]string{"seconds", "volume", "verify", "seek-ms", "mbps"},
			(*traceOptions).destages,
		},
		"events": {"", 0, 0, []string{"seconds", "volume", "sample"}, (*traceOptions).events},
		"record": {"FILE", 1, 1, []string{"seconds", "sample"}, (*traceOptions).record},
		"latency": {
			"[INTERVAL [COUNT]]", 0, 2, []string{"seconds", "volume"}, (*traceOptions).latency,
		},
		"plot": {"FILE", 1, 1, []string{"svg", "png"}, (*traceOptions).plot},
	}
}

// viewFlags are those that not every view takes.
var viewFlags = []string{"seconds", "volume", "sample", "verify", "seek-ms", "mbps", "svg", "png"}

// maxSample bounds --sample.
const maxSample = 1 << 30

func traceCommand() *command {
	return &command{
		name: "trace", args: "blend|destage|latency [INTERVAL [COUNT]] | events | record FILE | plot FILE",
		min: 1, max: 3, daemon: true, lines: true,
		short: "watch how guests' writes blend, and what the disk gets",
		long: `Watches in the kernel, which needs root and disturbs nobody.

blend counts, and prints every INTERVAL (10, 1min), COUNT times; without INTERVAL
once, at the end. Writes only, in the order in which the kernel issues them to each
device:

  each volume   what its guest writes
  merged        what one disk would have got that holds all volumes end to end
  sent          what the pool's devices do get: log, destage, metadata

SEQ %      writes that start where the one before them ended
RUN        mean length of writes that continue each other
SEEKS/MiB  writes that start elsewhere, for each MiB written
MEDIAN     of how far they jump, to the power of two below
ADDS/s     seeks of the merged stream that mixing this volume with the others adds

Destage comes later than the writes it is for: a long time tells more than a short one.

destage shows what guests wrote, and what became of it:

ABSORBED  overwritten, discarded or removed in the log, of what has left it
RUN       mean length of what was moved to one place; MEDIAN: the power of two below
FILL      of what was written to volumes' places, what was not overwritten meanwhile
IN LOG    how long half of the moved bytes had been in the log, and 99 % of them
STALLED   sum of the times that writes waited for room

--verify compares what the kernel was seen to write with what the daemon counts, and
ends with exit code 5 where they differ by more than 1 %.

latency shows how long requests took: in their device's QUEUE, and at its DEVICE, which
of a volume is unblend. Of writes that is split: until the log's write was issued
(BATCH), until that was done (LOG), until the request was (REPLY). The split is
inferred: the latest write to the log that was issued after a request and done before
it is taken for the one that carried it. p50 and p99 are estimated within powers of
two. With --volume it shows the histograms.

events prints single requests as they are done: of each volume and of the pool's
devices, or of the volumes that are named. QUEUE is how long a request waited in its
device's queue, DEVICE how long its driver had it; a volume's driver is unblend.

record writes the same to FILE, for 10 s if nothing is said, and plot makes a picture
of that: guests' writes as one disk would have got them, above what the disk did get.
plot needs neither root nor the daemon; without --svg and --png it makes FILE.svg.

--json prints one document in a line for each report, request or file.`,
		examples: []string{
			"unblend trace blend", "unblend trace blend 10", "unblend trace blend 10 6 --json",
			"unblend trace blend --seconds 60 --volume db1", "unblend trace events --volume db1",
			"unblend trace destage 60", "unblend trace destage --verify --seconds 60",
			"unblend trace latency 10", "unblend trace latency --seconds 30 --volume db1",
			"unblend trace events --sample 100 --json", "unblend trace record today.trace --seconds 30",
			"unblend trace plot today.trace --svg today.svg --png today.png",
		},
		setup: traceFlags,
	}
}

func traceFlags(fs *pflag.FlagSet) action {
	o := traceOptions{flags: fs}
	fs.Var(&o.length, "seconds", "end after this long (60, 5min)")
	fs.StringArrayVar(&o.only, "volume", nil, "only the volume of this `NAME`; may be repeated")
	fs.Float64Var(&o.destage.SeekMillis, "seek-ms", 8, "`MS` that a seek of the disk takes")
	fs.Float64Var(&o.destage.MBPerSecond, "mbps", 150, "`MB` that the disk writes a second")
	fs.BoolVar(&o.destage.Verify, "verify", false, "compare with the daemon's counters")
	fs.IntVar(&o.sample, "sample", 1, "take one request in `N`, by chance")
	fs.StringVar(&o.svg, "svg", "", "write the picture to this `FILE`, as SVG")
	fs.StringVar(&o.png, "png", "", "write the picture to this `FILE`, as PNG")
	return o.run
}

// traceOptions say how long to trace and what to show.
type traceOptions struct {
	flags    *pflag.FlagSet
	length   units.Duration // 0: until interrupted
	interval time.Duration  // 0: one report, at the end
	count    int            // 0: no limit
	only     []string
	sample   int
	destage  blend.DestageOptions
	svg, png string
}

func (o *traceOptions) run(ctx context.Context, in *invocation) error {
	name := in.args[0]
	v, there := views()[name]
	if !there {
		return usageError(in.cmd, fmt.Sprintf("there is no view %q", name[:min(len(name), 64)]))
	}
	c := *in.cmd // what is wrong with this view is told with its own usage
	c.args = name + " " + v.args
	in.cmd = &c
	var alien error
	o.flags.Visit(func(f *pflag.Flag) {
		if slices.Contains(viewFlags, f.Name) && !slices.Contains(v.flags, f.Name) {
			alien = usageError(in.cmd, fmt.Sprintf("--%s does not go with %s", f.Name, name))
		}
	})
	switch n := len(in.args) - 1; {
	case alien != nil:
		return alien
	case n < v.min:
		return usageError(in.cmd, "something is missing")
	case n > v.max:
		return usageError(in.cmd, fmt.Sprintf("%q is too much", in.args[v.max+1]))
	case !(o.destage.SeekMillis > 0 && o.destage.MBPerSecond > 0):
		return usageError(in.cmd, "--seek-ms, --mbps: want numbers above 0")
	case o.sample < 1 || o.sample > maxSample:
		return usageError(in.cmd, fmt.Sprintf("--sample: want 1 to %d", maxSample))
	}
	return v.run(o, ctx, in)
}

// begin reads the arguments and returns the daemon, which knows the volumes that are named.
func (o *traceOptions) begin(ctx context.Context, in *invocation) (*control.Client, error) {
	if err := o.parse(in); err != nil {
		return nil, err
	}
	daemon := in.client()
	list, err := daemon.List(ctx, control.ListRequest{})
	if err == nil {
		err = known(list.Volumes, o.only)
	}
	return daemon, err
}

// blend prints how the writes of guests blend.
func (o *traceOptions) blend(ctx context.Context, in *invocation) error {
	daemon, err := o.begin(ctx, in)
	if err != nil {
		return err
	}
	t, err := blend.Open(ctx, daemon)
	if err != nil {
		return err
	}
	o.announce(in)
	err = watch(ctx, o, t, func(doc control.TraceBlend) error {
		doc.Streams = slices.DeleteFunc(doc.Streams, func(s control.TraceStream) bool {
			return s.Kind == control.StreamVolume && !o.shown(s.Name)
		})
		return in.answerLine(doc, blendScreen(doc))
	})
	return errors.Join(err, t.Close())
}

// announce says what happens while nothing is to be seen.
func (o *traceOptions) announce(in *invocation) {
	if o.interval > 0 {
		return
	}
	until := "until interrupted"
	if o.length > 0 {
		until = "for " + units.FormatDuration(o.length.Std())
	}
	fmt.Fprintln(in.err, "unblend: tracing "+until)
}

// parse reads the arguments.
func (o *traceOptions) parse(in *invocation) error {
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

// reporter is what reports of one kind come from.
type reporter[T any] interface {
	Poll(context.Context) error
	Report(context.Context) (T, error)
	Last() (T, error)
}

// watch prints reports until it is told to end, or has printed all. What was counted since the last
// one is printed in any case.
func watch[T any](ctx context.Context, o *traceOptions, t reporter[T], print func(T) error) error {
	start := time.Now()
	end := start.Add(o.length.Std())
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	next := start.Add(o.interval)
	for n := 0; ; {
		select {
		case <-ctx.Done():
			doc, err := t.Last()
			return errors.Join(err, print(doc), ctx.Err())
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
		if err := print(doc); err != nil {
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

// shown reports whether the row of a volume is wanted.
func (o *traceOptions) shown(name string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, name)
}
