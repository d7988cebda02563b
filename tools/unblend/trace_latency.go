package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// latencyRows is how many volumes' rows the screen shows: those first that wait longest.
const latencyRows = 24

// latency prints how long requests take.
func (o *traceOptions) latency(ctx context.Context, in *invocation) error {
	if err := o.parse(in); err != nil {
		return err
	}
	r, err := o.follow(ctx, in, true)
	if err != nil {
		return err
	}
	o.announce(in)
	err = watch(ctx, o, r, func(doc control.TraceLatency) error {
		doc.Rows = slices.DeleteFunc(doc.Rows, func(t control.TraceTimes) bool {
			return t.Kind == control.StreamVolume && !o.shown(t.Name)
		})
		return in.answerLine(doc, latencyScreen(doc, len(o.only) > 0))
	})
	return errors.Join(err, r.Close())
}

// latencyScreen lays a report out for people.
func latencyScreen(doc control.TraceLatency, histograms bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f s, %d requests lost; means, but for p50 and p99\n", doc.Seconds, doc.Lost)
	t := units.NewTable("REQUESTS OF", "", ">IOPS", ">P50", ">P99", ">MEAN", ">= QUEUE", ">+ DEVICE",
		">= BATCH", ">+ LOG", ">+ REPLY")
	volumes, sent := apart(doc.Rows)
	for i, r := range volumes {
		if i < latencyRows {
			t.Row(latencyRow(r.Name, r, doc.Seconds)...)
		}
	}
	for _, r := range sent {
		t.Row(latencyRow("pool: "+r.Kind, r, doc.Seconds)...)
	}
	b.WriteString(t.String())
	if n := len(volumes) - latencyRows; n > 0 {
		fmt.Fprintf(&b, "%d more rows, of volumes that wait less: --json, or --volume NAME\n", n)
	}
	b.WriteString(latencyLegend)
	if histograms {
		for _, r := range volumes {
			b.WriteString(histogramText(r))
		}
	}
	for _, n := range doc.Notes {
		b.WriteString("note: " + oneLine(n) + "\n")
	}
	return b.String() + "\n"
}

const latencyLegend = `QUEUE: in the device's queue. DEVICE: at its driver, which of a volume is unblend.
Of its writes, BATCH: until the log's write was issued, LOG: until that was done, REPLY: until
the request was. These three are inferred from when the log was written.
`

// apart returns the rows of volumes, those first that wait longest in all, and the others.
func apart(rows []control.TraceTimes) (volumes, sent []control.TraceTimes) {
	for _, r := range rows {
		if r.Kind == control.StreamVolume {
			volumes = append(volumes, r)
		} else {
			sent = append(sent, r)
		}
	}
	all := func(r control.TraceTimes) float64 { return float64(r.Requests) * float64(r.Total.Mean) }
	slices.SortStableFunc(volumes, func(x, y control.TraceTimes) int {
		return cmp.Compare(all(y), all(x))
	})
	return volumes, sent
}

// latencyRow is the row of one kind of request.
func latencyRow(name string, r control.TraceTimes, seconds float64) []string {
	row := []string{
		name, r.Op, perSecond(r.Requests, seconds), span(r.Total.P50), span(r.Total.P99), span(r.Total.Mean),
		span(r.Queue.Mean), span(r.Device.Mean),
	}
	for _, p := range []*control.TimePart{r.Batch, r.Log, r.Reply} {
		if p == nil {
			row = append(row, "-")
		} else {
			row = append(row, span(p.Mean))
		}
	}
	return row
}

// histogramText draws the histogram of one kind of request.
func histogramText(r control.TraceTimes) string {
	first := slices.IndexFunc(r.Total.Histogram, func(n uint64) bool { return n > 0 })
	t := units.NewTable(">"+r.Name+", "+r.Op, ">REQUESTS", "")
	most := max(1, slices.Max(r.Total.Histogram))
	for i, n := range r.Total.Histogram[first:] {
		t.Row(span(int64(1)<<(first+i))+" up", fmt.Sprint(n), strings.Repeat("#", int((n*40+most-1)/most)))
	}
	return "\n" + t.String()
}

func span(ns int64) string { return units.FormatDuration(time.Duration(ns)) }
