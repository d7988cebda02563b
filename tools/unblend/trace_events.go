package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"unblend/tools/internal/blend"
	"unblend/tools/internal/control"
	"unblend/tools/internal/tracefile"
	"unblend/tools/internal/units"
)

// recordLength is how long record records where nothing is said: its file must not fill a disk.
const recordLength = 10 * time.Second

// sink takes requests as they come.
type sink interface {
	Streams([]control.TraceEventsStream) error
	Event(control.TraceEvent) error
	Flush() error
	End(control.TraceEventsEnd) error
}

// events prints single requests.
func (o *traceOptions) events(ctx context.Context, in *invocation) error {
	r, err := o.follow(ctx, in, false)
	if err != nil {
		return err
	}
	out, err := newEventSink(in, r.Head())
	if err == nil {
		_, err = collect(ctx, r, o.length.Std(), out)
	}
	return errors.Join(err, r.Close())
}

// newEventSink returns what prints requests, and prints what comes first.
func newEventSink(in *invocation, head control.TraceEvents) (sink, error) {
	if in.common.json {
		return tracefile.NewWriter(in.out, head)
	}
	p := &eventPrinter{bufio.NewWriter(in.out)}
	return p, p.begin(head)
}

// record writes single requests to a file.
func (o *traceOptions) record(ctx context.Context, in *invocation) error {
	length := o.length.Std()
	if length == 0 {
		length = recordLength
	}
	r, err := o.follow(ctx, in, false)
	if err != nil {
		return err
	}
	end, err := recordTo(ctx, in, r, length)
	if err = errors.Join(err, r.Close()); end.File == "" { // nothing was recorded
		return err
	}
	return errors.Join(in.answerLine(end, recordText(end)), err)
}

// recordTo records to the file that is named. The outcome has the file's name if it is whole.
func recordTo(
	ctx context.Context, in *invocation, r *blend.Requests, length time.Duration,
) (control.TraceEventsEnd, error) {
	path := in.args[1]
	f, err := os.Create(path)
	if err != nil {
		return control.TraceEventsEnd{}, fmt.Errorf("trace record: %w", err)
	}
	fmt.Fprintf(in.err, "unblend: recording for %s to %s\n", units.FormatDuration(length), oneLine(path))
	w, err := tracefile.NewWriter(f, r.Head())
	var end control.TraceEventsEnd
	if err == nil {
		end, err = collect(ctx, r, length, w)
	}
	if e := f.Close(); e != nil {
		return control.TraceEventsEnd{}, errors.Join(err, e)
	}
	if err == nil || canceled(err) {
		end.File = path
	}
	return end, err
}

// recordText says what was recorded, and what is missing.
func recordText(end control.TraceEventsEnd) string {
	return fmt.Sprintf("%s: %s\nnext: unblend trace plot %s\n", oneLine(end.File), endText(end),
		oneLine(end.File))
}

// endText sums a trace up.
func endText(end control.TraceEventsEnd) string {
	return fmt.Sprintf("%d requests in %.1f s; %d dropped (came faster than they were taken), "+
		"%d lost (not followed)", end.Events, end.Seconds, end.Dropped, end.Lost)
}

// follow opens a trace of single requests.
func (o *traceOptions) follow(ctx context.Context, in *invocation, times bool) (*blend.Requests, error) {
	daemon := in.client()
	list, err := daemon.List(ctx, control.ListRequest{})
	if err == nil {
		err = known(list.Volumes, o.only)
	}
	if err != nil {
		return nil, err
	}
	if times {
		return blend.OpenRequests(ctx, daemon, blend.RequestOptions{Times: true})
	}
	return blend.OpenRequests(ctx, daemon, blend.RequestOptions{Only: o.only, Every: o.sample})
}

// collect hands requests on as they come, for so long, or until it is interrupted. Then it takes what
// was done until then, and ends the sink.
func collect(
	ctx context.Context, r *blend.Requests, length time.Duration, to sink,
) (control.TraceEventsEnd, error) {
	end := time.Now().Add(length)
	for ctx.Err() == nil && (length == 0 || time.Now().Before(end)) {
		if err := to.Streams(r.Streams()); err != nil {
			return control.TraceEventsEnd{}, err
		}
		until := time.Now().Add(pollEvery)
		if length > 0 && until.After(end) {
			until = end
		}
		if err := pass(r, until, to); err != nil {
			return control.TraceEventsEnd{}, err
		}
		if err := to.Flush(); err != nil {
			return control.TraceEventsEnd{}, err
		}
		if err := r.Poll(ctx); err != nil && ctx.Err() == nil {
			return control.TraceEventsEnd{}, err
		}
	}
	err := r.Detach()
	if err == nil {
		err = pass(r, time.Time{}, to)
	}
	sum, e := r.End()
	if err = errors.Join(err, e); err == nil {
		err = to.End(sum)
	}
	return sum, errors.Join(err, ctx.Err())
}

// pass hands on what comes until then; at the zero time all that is there.
func pass(r *blend.Requests, until time.Time, to sink) error {
	wait := until
	if until.IsZero() {
		wait = time.Unix(1, 0) // it has passed
	}
	for until.IsZero() || time.Now().Before(until) {
		e, err := r.Next(wait)
		if errors.Is(err, blend.ErrNone) {
			return nil
		}
		if err == nil {
			err = to.Event(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eventPrinter prints requests for people.
type eventPrinter struct{ w *bufio.Writer }

// The columns: names are longer than theirs at times, and nothing is cut off.
const eventRow = "%12s  %-16s  %-12s  %15s  %10s  %8s  %8s%s\n"

func (p *eventPrinter) begin(head control.TraceEvents) error {
	for _, n := range head.Notes {
		fmt.Fprintf(p.w, "note: %s\n", oneLine(n))
	}
	if head.Sample > 1 {
		fmt.Fprintf(p.w, "one request in %d, by chance\n", head.Sample)
	}
	fmt.Fprintf(p.w, eventRow, "DONE AT", "STREAM", "OP", "OFFSET", "SIZE", "QUEUE", "DEVICE", "")
	return p.Flush()
}

func (p *eventPrinter) Streams([]control.TraceEventsStream) error { return nil }

func (p *eventPrinter) Event(e control.TraceEvent) error {
	_, err := p.w.WriteString(eventLine(e))
	return err
}

// eventLine is the line of one request.
func eventLine(e control.TraceEvent) string {
	name, failed := e.Name, ""
	if e.Kind != control.StreamVolume {
		name = e.Kind + " on " + e.Name
	}
	if e.Failed {
		failed = "  failed"
	}
	return fmt.Sprintf(eventRow, fmt.Sprintf("%.6f s", float64(e.At+e.Device)/1e9), oneLine(name), e.Op,
		fmt.Sprint(e.Offset), size(uint64(e.Bytes)), units.FormatDuration(time.Duration(e.Queue)),
		units.FormatDuration(time.Duration(e.Device)), failed)
}

func (p *eventPrinter) Flush() error {
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

func (p *eventPrinter) End(e control.TraceEventsEnd) error {
	fmt.Fprintln(p.w, endText(e))
	return p.Flush()
}
