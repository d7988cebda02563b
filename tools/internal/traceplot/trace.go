// Package traceplot makes a picture of a recorded trace: guests' writes over time as one disk would have
// got them that holds all volumes end to end, above what the pool's devices did get. Beside each, a short
// time is enlarged, and a line shows the way that a disk's head would take.
package traceplot

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"unblend/tools/internal/control"
	"unblend/tools/internal/tracefile"
)

// maxWrites bounds what is kept in memory: 160 MB.
const maxWrites = 4 << 20

var (
	// ErrEmpty is returned for a trace without a write of a guest.
	ErrEmpty = errors.New("no guest wrote anything while it was recorded")
	// ErrTooLong is returned for a trace of more writes than are looked at.
	ErrTooLong = fmt.Errorf("more than %d writes: record a shorter time, or with --sample", maxWrites)
)

// write is one write, of a guest or to a device.
type write struct {
	at       int64 // ns since the start
	off, len int64 // bytes; of a guest: on the disk that holds all volumes
	of       int   // volume or band
}

// volume is one in the trace.
type volume struct {
	name       string
	base, size int64
}

// Trace is a recorded trace, in the order in which requests were issued.
type Trace struct {
	head    control.TraceEvents
	end     control.TraceEventsEnd
	whole   bool
	volumes []volume
	bands   []band
	guests  []write
	sent    []write
	length  int64 // ns
}

// Load reads a trace.
func Load(from io.Reader) (*Trace, error) {
	t := &Trace{}
	var err error
	if t.end, t.whole, err = tracefile.Read(from, (*loader)(t)); err != nil {
		return nil, err
	}
	if len(t.guests) == 0 {
		return nil, ErrEmpty
	}
	order := func(a, b write) int { return cmp.Compare(a.at, b.at) }
	slices.SortStableFunc(t.guests, order)
	slices.SortStableFunc(t.sent, order)
	t.length = max(int64(t.end.Seconds*1e9), t.guests[len(t.guests)-1].at, 1)
	if n := len(t.sent); n > 0 {
		t.length = max(t.length, t.sent[n-1].at)
	}
	t.arrange()
	return t, nil
}

// Summary says what is in the picture.
func (t *Trace) Summary() control.TracePlot {
	return control.TracePlot{
		Schema: control.SchemaTracePlot, Seconds: float64(t.length) / 1e9, Volumes: len(t.volumes),
		Writes: len(t.guests), Sent: len(t.sent), Dropped: t.end.Dropped + t.end.Lost, Whole: t.whole,
	}
}

// loader takes what the file holds.
type loader Trace

func (l *loader) Head(h control.TraceEvents) error {
	l.head = h
	return nil
}

func (l *loader) Stream(s control.TraceEventsStream) error {
	if s.Kind != control.StreamVolume {
		return nil
	}
	if s.Base < 0 || s.Size <= 0 || s.Base+s.Size < s.Base {
		return fmt.Errorf("volume %q: at %d, size %d: %w", s.Name, s.Base, s.Size, tracefile.ErrFormat)
	}
	v := volume{s.Name, s.Base, s.Size}
	if i := l.volume(s.Name); i >= 0 {
		l.volumes[i] = v
	} else {
		l.volumes = append(l.volumes, v)
	}
	return nil
}

// volume returns the number of the one with that name, or -1.
func (l *loader) volume(name string) int {
	return slices.IndexFunc(l.volumes, func(v volume) bool { return v.name == name })
}

func (l *loader) Event(e control.TraceEvent) error {
	if e.Op != control.OpWrite {
		return nil
	}
	if e.At < 0 || e.Offset < 0 || e.Bytes <= 0 || e.Offset+e.Bytes < 0 {
		return fmt.Errorf("a write of %d at %d: %w", e.Bytes, e.Offset, tracefile.ErrFormat)
	}
	if len(l.guests)+len(l.sent) == maxWrites {
		return ErrTooLong
	}
	w := write{at: e.At, off: e.Offset, len: e.Bytes}
	if e.Kind != control.StreamVolume {
		w.of = l.band(e.Kind, e.Name)
		l.bands[w.of].add(w)
		l.sent = append(l.sent, w)
		return nil
	}
	if w.of = l.volume(e.Name); w.of < 0 {
		return fmt.Errorf("a write to volume %q, which nothing names before: %w", e.Name, tracefile.ErrFormat)
	}
	w.off += l.volumes[w.of].base
	l.guests = append(l.guests, w)
	return nil
}

// band returns the number of the band of a class on a device.
func (l *loader) band(class, device string) int {
	i := slices.IndexFunc(l.bands, func(b band) bool { return b.class == class && b.device == device })
	if i < 0 {
		i = len(l.bands)
		l.bands = append(l.bands, band{class: class, device: device})
	}
	return i
}

// order is how far writes continue each other.
type order struct {
	writes, sequential, seeks int
	bytes                     int64
}

// inOrder looks at writes in their order. stream tells which of them lie on one disk.
func inOrder(ws []write, stream func(write) string) order {
	var o order
	ends := map[string]int64{}
	for _, w := range ws {
		s := stream(w)
		switch end, there := ends[s]; {
		case there && end == w.off:
			o.sequential++
		case there:
			o.seeks++
		}
		ends[s] = w.off + w.len
		o.writes++
		o.bytes += w.len
	}
	return o
}
