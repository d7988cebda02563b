package blend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"unblend/bpf"
	"unblend/tools/internal/control"
)

// relocateEvery is how often the daemon is asked whether the pool has got more space.
const relocateEvery = 5 * time.Second

// ErrNone is returned when no request was done in time.
var ErrNone = bpf.ErrNone

// ringSize holds what is done while nobody reads, in bytes: about 110,000 requests.
const ringSize = 8 << 20

// RequestOptions say which requests are followed, and what is to be known of them.
type RequestOptions struct {
	Only  []string // volumes; empty: all, and the pool's devices
	Every int      // one in so many is returned by Next, by chance; 0: none
	Times bool     // count how long they take
}

// Requests follows single requests of guests and of the pool's devices. It is for one goroutine.
type Requests struct {
	tracer *Tracer
	kernel *bpf.Requests
	every  int
	start  time.Time
	zero   time.Duration // start by the kernel's clock
	named  []*volume     // that Streams has returned
	disks  []disk        // likewise
	asked  time.Time     // when the daemon was asked where the pool lies
	times  bool          // Report is asked for
	before map[int][2]bpf.Times
	since  time.Time // when the time of the next report began
	lost   uint64    // at the last one
	count  uint64    // of what Next has returned
	alien  uint64    // requests of volumes that went away too early to be named
}

// OpenRequests begins to follow requests. Errors are those of Open.
func OpenRequests(ctx context.Context, d Daemon, o RequestOptions) (*Requests, error) {
	r, err := prepareRequests(ctx, d, "/sys", o)
	if err != nil {
		return nil, err
	}
	if err := r.kernel.Attach(); err != nil {
		return nil, errors.Join(explain(err), r.Close())
	}
	return r, nil
}

// prepareRequests does all but to attach the programs.
func prepareRequests(ctx context.Context, d Daemon, sys sysfs, o RequestOptions) (*Requests, error) {
	t, err := prepare(ctx, d, sys, o.Only...)
	if err != nil {
		return nil, err
	}
	ko := bpf.RequestOptions{Every: o.Every, Times: o.Times}
	if o.Every > 0 {
		ko.Ring = ringSize
	}
	kernel, err := t.kernel.Follow(ko)
	if err != nil {
		return nil, errors.Join(explain(err), t.Close())
	}
	now := time.Now()
	r := &Requests{
		tracer: t, kernel: kernel, every: o.Every, start: now, asked: now, since: now, times: o.Times,
		before: map[int][2]bpf.Times{},
	}
	var zero unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &zero); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.zero = time.Duration(zero.Nano())
	return r, nil
}

// Close ends it.
func (r *Requests) Close() error { return errors.Join(r.kernel.Close(), r.tracer.Close()) }

// Head describes what follows.
func (r *Requests) Head() control.TraceEvents {
	return control.TraceEvents{
		Schema: control.SchemaTraceEvents, Start: r.start.UTC().Truncate(time.Millisecond),
		Layout: control.LayoutEndToEnd, Sample: r.every, Notes: r.tracer.backing.notes,
	}
}

// Streams returns the volumes and devices that are watched and that it has not returned before.
func (r *Requests) Streams() []control.TraceEventsStream {
	var all []control.TraceEventsStream
	line := func(kind string, d disk, name string, base, size int64) {
		all = append(all, control.TraceEventsStream{
			Schema: control.SchemaTraceEventsStream, Kind: kind, Name: name, Dev: d.number, Base: base,
			Size: size,
		})
	}
	for _, v := range r.tracer.volumes.known {
		if !slices.Contains(r.named, v) {
			line(control.StreamVolume, v.disk, v.name, v.base, v.size)
		}
	}
	r.named = slices.Clone(r.tracer.volumes.known)
	for _, d := range r.tracer.backing.names {
		if !slices.Contains(r.disks, d) {
			r.disks = append(r.disks, d)
			line(control.StreamDevice, d, d.name, 0, d.size)
		}
	}
	return all
}

// Next waits until then, at most, for the next request that is done, and returns ErrNone if there is
// none.
func (r *Requests) Next(until time.Time) (control.TraceEvent, error) {
	for {
		o, err := r.kernel.Next(until)
		if err != nil {
			return control.TraceEvent{}, err
		}
		if e, ok := r.event(o); ok {
			r.count++
			return e, nil
		}
		r.alien++
	}
}

var (
	kinds = map[int]string{
		bpf.Log: control.StreamLog, bpf.Data: control.StreamData, bpf.Metadata: control.StreamMetadata,
		bpf.Other: control.StreamOther,
	}
	ops = map[bpf.Op]string{
		bpf.OpRead: control.OpRead, bpf.OpWrite: control.OpWrite, bpf.OpDiscard: control.OpDiscard,
		bpf.OpWriteZeroes: control.OpWriteZeroes,
	}
)

// event names what a request belongs to; false: that is not known any more.
func (r *Requests) event(o bpf.Outcome) (control.TraceEvent, bool) {
	e := control.TraceEvent{
		At: int64(o.Issued - r.zero), Op: ops[o.Op], Offset: o.Offset, Bytes: o.Bytes,
		Queue: int64(o.Issued - o.Queued), Device: int64(o.Done - o.Issued), Failed: o.Failed,
	}
	for _, v := range r.tracer.volumes.known {
		if v.stream == o.Stream && v.disk.device == o.Device {
			e.Kind, e.Name = control.StreamVolume, v.name
			return e, true
		}
	}
	for _, d := range r.tracer.backing.names {
		if d.device == o.Device {
			e.Kind, e.Name = kinds[o.Stream], d.name
			return e, e.Kind != ""
		}
	}
	return e, false
}

// Poll looks for volumes that got or lost their device. The requests of those that lost it must have
// been read until the next call; reports have their times until the next report.
func (r *Requests) Poll(ctx context.Context) error {
	if !r.times {
		r.tracer.volumes.drop()
	}
	if err := r.tracer.Poll(ctx); err != nil || time.Since(r.asked) < relocateEvery {
		return err
	}
	r.asked = time.Now()
	st, err := r.tracer.daemon.Status(ctx)
	if err == nil {
		err = r.tracer.relocate(st)
	}
	return r.tracer.daemonSaid(ctx, err)
}

// Detach ends following. Next still returns what was done before.
func (r *Requests) Detach() error { return r.kernel.Detach() }

// End sums up what Next has returned.
func (r *Requests) End() (control.TraceEventsEnd, error) {
	l, err := r.kernel.Lost()
	if err != nil {
		return control.TraceEventsEnd{}, fmt.Errorf("what was lost: %w", err)
	}
	return control.TraceEventsEnd{
		Schema: control.SchemaTraceEventsEnd, Seconds: time.Since(r.start).Seconds(), Events: r.count,
		Dropped: l.Dropped, Lost: l.Unfollowed + r.alien,
	}, nil
}
