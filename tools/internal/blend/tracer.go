package blend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"unblend/bpf"
	"unblend/tools/internal/control"
)

// Daemon is what the tracer asks.
type Daemon interface {
	List(ctx context.Context, r control.ListRequest) (control.List, error)
	Status(ctx context.Context) (control.Status, error)
	Flow(ctx context.Context) (control.Flow, error)
}

// minRoom is how many volumes can be watched at least; else there is room for twice those that have a
// device at the start.
const minRoom = 64

// Tracer counts what guests write and what the pool's devices get. It is for one goroutine.
type Tracer struct {
	daemon  Daemon
	kernel  *bpf.Analyzer
	sys     sysfs
	volumes volumes
	backing backing
	since   time.Time                    // when the time of the next report began
	before  [bpf.FirstGuest]bpf.Counters // at the last report
	lost    uint64                       // likewise
	away    error                        // why the daemon did not answer the last time
	only    []string                     // volumes; empty: all, and the pool's devices
}

// Open begins to count. The errors of the kernel's side have code unsupported.
func Open(ctx context.Context, d Daemon) (*Tracer, error) {
	t, err := prepare(ctx, d, "/sys")
	if err != nil {
		return nil, err
	}
	if err := t.kernel.Attach(); err != nil {
		return nil, errors.Join(explain(err), t.Close())
	}
	t.since = time.Now()
	return t, nil
}

// prepare does all but to attach the programs. If volumes are named, nothing else is watched.
func prepare(ctx context.Context, d Daemon, sys sysfs, only ...string) (*Tracer, error) {
	st, err := d.Status(ctx)
	if err != nil {
		return nil, err
	}
	room := max(minRoom, 2*st.Volumes.Attached)
	kernel, err := bpf.Load(room)
	if err != nil {
		return nil, explain(err)
	}
	t := &Tracer{
		daemon: d, kernel: kernel, sys: sys, volumes: newVolumes(room), since: time.Now(), only: only,
	}
	if err := errors.Join(t.relocate(st), t.follow(ctx)); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// explain says what to do about a kernel, or a user, that tracing is not possible with.
func explain(err error) error {
	e := &control.Error{
		Code: control.CodeUnsupported, Message: fmt.Sprintf("tracing: %v", err), Err: err,
		Next: "see: unblend doctor",
	}
	switch {
	case errors.Is(err, bpf.ErrPermission):
		e.Next = "use sudo, or give the process CAP_BPF and CAP_PERFMON"
	case errors.Is(err, bpf.ErrUnsupported):
		e.Next = "boot Linux 6.12 or later with CONFIG_DEBUG_INFO_BTF=y; see: unblend doctor"
	}
	return e
}

// Close ends counting.
func (t *Tracer) Close() error { return t.kernel.Close() }

// Poll looks for volumes that got or lost their device. To call it several times a second costs
// next to nothing while none does.
func (t *Tracer) Poll(ctx context.Context) error { return t.daemonSaid(ctx, t.follow(ctx)) }

// daemonSaid keeps a daemon that does not answer from ending the trace: guests outlive it, and so
// does what is known of them.
func (t *Tracer) daemonSaid(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var refused *control.Error
	if errors.As(err, &refused) {
		t.away = err
		return nil
	}
	if err == nil {
		t.away = nil
	}
	return err
}

// relocate tells the kernel where the pool lies, if that is not what it knows.
func (t *Tracer) relocate(st control.Status) error {
	if len(t.only) > 0 {
		return nil
	}
	b := t.sys.locate(st)
	if t.backing.same(b) {
		return nil
	}
	err := t.kernel.WatchBacking(b.disks)
	if errors.Is(err, bpf.ErrTooManyRegions) {
		b = backing{notes: []string{"what the pool's devices get cannot be seen: " + err.Error()}}
		err = t.kernel.WatchBacking(nil)
	}
	t.backing = b
	return err
}

func (b backing) same(other backing) bool {
	return b.known == other.known && slices.Equal(b.notes, other.notes) &&
		slices.EqualFunc(b.disks, other.disks, func(x, y bpf.Backing) bool {
			return x.Device == y.Device && x.Hook == y.Hook && x.Stream == y.Stream &&
				slices.Equal(x.Regions, y.Regions)
		})
}

// Report returns what was counted since the last one. The daemon is asked first, so that a report
// is about all that it had.
func (t *Tracer) Report(ctx context.Context) (control.TraceBlend, error) {
	if err := t.daemonSaid(ctx, t.look(ctx)); err != nil {
		return control.TraceBlend{}, err
	}
	return t.Last()
}

// look asks the daemon where the pool lies and which volumes there are.
func (t *Tracer) look(ctx context.Context) error {
	st, err := t.daemon.Status(ctx)
	if err == nil {
		err = t.relocate(st)
	}
	if err == nil {
		err = t.follow(ctx)
	}
	return err
}

// Last is Report without a look at the daemon: at the end, there is no time for it.
func (t *Tracer) Last() (control.TraceBlend, error) {
	s, err := t.sample()
	if err != nil {
		return control.TraceBlend{}, err
	}
	doc := s.report()
	doc.Notes = t.notes()
	t.volumes.drop()
	return doc, nil
}

// notes says what could not be seen.
func (t *Tracer) notes() []string {
	notes := slices.Clone(t.backing.notes)
	if n := t.volumes.without; n > 0 {
		notes = append(notes,
			fmt.Sprintf("%d more volumes than there was room for: start the trace anew", n))
	}
	if t.away != nil {
		notes = append(notes, "volumes as they were before the daemon went away: "+t.away.Error())
	}
	return notes
}

// sample reads the counters and returns what they have grown by.
func (t *Tracer) sample() (sample, error) {
	now := time.Now()
	s := sample{start: t.since, length: now.Sub(t.since), backing: t.backing}
	t.since = now
	for i := range t.before {
		c, err := t.kernel.Read(i)
		if err != nil {
			return s, err
		}
		s.fixed[i], t.before[i] = c.Sub(t.before[i]), c
	}
	for _, v := range t.volumes.known {
		c, err := t.kernel.Read(v.stream)
		if err != nil {
			return s, fmt.Errorf("volume %q: %w", v.name, err)
		}
		s.guests = append(s.guests, guest{v.name, v.disk.number, c.Sub(v.before)})
		v.before = c
	}
	lost, err := t.kernel.Lost()
	if err != nil {
		return s, err
	}
	s.lost, t.lost = lost-t.lost, lost
	return s, nil
}
