package blend

import (
	"context"
	"fmt"
	"time"

	"unblend/bpf"
	"unblend/tools/internal/control"
)

// Report returns how long requests took that were done since the last one. Poll follows the volumes.
func (r *Requests) Report(ctx context.Context) (control.TraceLatency, error) {
	if err := r.Poll(ctx); err != nil {
		return control.TraceLatency{}, err
	}
	return r.Last()
}

// Last is Report without a look at the daemon.
func (r *Requests) Last() (control.TraceLatency, error) {
	now := time.Now()
	doc := control.TraceLatency{
		Schema: control.SchemaTraceLatency, Start: r.since.UTC().Truncate(time.Second),
		Seconds: now.Sub(r.since).Seconds(), Rows: []control.TraceTimes{}, Notes: r.notes(),
	}
	r.since = now
	for _, v := range r.tracer.volumes.known {
		if err := r.rows(&doc, v.stream, control.StreamVolume, v.name); err != nil {
			return doc, err
		}
	}
	for _, stream := range []int{bpf.Log, bpf.Data, bpf.Metadata, bpf.Other} {
		if err := r.rows(&doc, stream, kinds[stream], ""); err != nil {
			return doc, err
		}
	}
	l, err := r.kernel.Lost()
	if err != nil {
		return doc, fmt.Errorf("what was lost: %w", err)
	}
	doc.Lost, r.lost = l.Unfollowed-r.lost, l.Unfollowed
	r.tracer.volumes.drop()
	return doc, nil
}

// notes says what cannot be seen.
func (r *Requests) notes() []string {
	notes := append([]string(nil), r.tracer.backing.notes...)
	if n := r.tracer.volumes.without; n > 0 {
		notes = append(notes, fmt.Sprintf("%d more volumes than there was room for: start the trace anew", n))
	}
	if away := r.tracer.away; away != nil {
		notes = append(notes, "volumes as they were before the daemon went away: "+away.Error())
	}
	return notes
}

// rows adds the rows of a stream: for reads and for writes, if there were any.
func (r *Requests) rows(doc *control.TraceLatency, stream int, kind, name string) error {
	reads, writes, err := r.kernel.Latency(stream)
	if err != nil {
		return err
	}
	before := r.before[stream]
	r.before[stream] = [2]bpf.Times{reads, writes}
	for i, t := range []bpf.Times{reads.Sub(before[0]), writes.Sub(before[1])} {
		if t.Requests == 0 {
			continue
		}
		row := control.TraceTimes{
			Kind: kind, Name: name, Op: ops[bpf.Op(i)], Requests: t.Requests, Split: t.Split,
			Total: part(&t.Total, t.Requests), Queue: part(&t.Queue, t.Requests),
			Device: part(&t.Served, t.Requests),
		}
		if t.Split > 0 {
			batch, log, reply := part(&t.Batch, t.Split), part(&t.Log, t.Split), part(&t.Reply, t.Split)
			row.Batch, row.Log, row.Reply = &batch, &log, &reply
		}
		doc.Rows = append(doc.Rows, row)
	}
	return nil
}

// part describes one part of the time of n requests.
func part(p *bpf.Part, n uint64) control.TimePart {
	return control.TimePart{
		Mean: int64(p.Sum) / int64(n), P50: int64(p.Quantile(0.5)), P99: int64(p.Quantile(0.99)),
		Histogram: trimmed(p.Buckets),
	}
}
