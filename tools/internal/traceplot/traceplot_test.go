package traceplot

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"unblend/tools/internal/control"
	"unblend/tools/internal/picture"
	"unblend/tools/internal/tracefile"
)

const mib = int64(1) << 20

// recording is a trace that is made up.
type recording struct {
	t   *testing.T
	buf bytes.Buffer
	w   *tracefile.Writer
	n   uint64
}

func newRecording(t *testing.T, volumes int, size int64) *recording {
	t.Helper()
	r := &recording{t: t}
	var err error
	r.w, err = tracefile.NewWriter(&r.buf, control.TraceEvents{
		Schema: control.SchemaTraceEvents, Start: control.UTC(1_790_000_000), Sample: 1,
	})
	var all []control.TraceEventsStream
	for i := range volumes {
		all = append(all, control.TraceEventsStream{
			Schema: control.SchemaTraceEventsStream, Kind: control.StreamVolume, Name: fmt.Sprint("vm", i),
			Base: int64(i) * size, Size: size,
		})
	}
	if err = errors.Join(err, r.w.Streams(all)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recording) add(at int64, kind, name string, off, n int64) {
	r.n++
	err := r.w.Event(control.TraceEvent{
		At: at, Kind: kind, Name: name, Op: control.OpWrite, Offset: off, Bytes: n,
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *recording) end() string {
	err := r.w.End(control.TraceEventsEnd{
		Schema: control.SchemaTraceEventsEnd, Seconds: 10, Events: r.n, Dropped: 7,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.buf.String()
}

// mixed is a recording of guests that take turns, each in order, and of what is sent: the log in order,
// destage, metadata on both devices.
func mixed(t *testing.T, volumes, writes int) string {
	r := newRecording(t, volumes, 64*mib)
	step := int64(1e10) / int64(writes)
	for i := range int64(writes) {
		at := i * step
		v, n := i%int64(volumes), i/int64(volumes)
		r.add(at, control.StreamVolume, fmt.Sprint("vm", v), n*4096, 4096)
		if i%8 == 0 {
			r.add(at+step/2, control.StreamLog, "fast", mib+i*4096, 8*4096)
		}
		if i%100 == 0 {
			r.add(at+step/3, control.StreamData, "large", 900*mib-i*4096, 65536)
			r.add(at+step/3, control.StreamMetadata, "fast", 500*mib, 4096)
			r.add(at+step/3, control.StreamMetadata, "large", 2000*mib, 4096)
		}
	}
	return r.end()
}

// sheet is a canvas that keeps what was drawn.
type sheet struct {
	texts  []string
	fields map[picture.Color]*picture.Field
	rects  map[picture.Color]int
	lines  [][]picture.Point
	out    []string // outside of the figure
}

func (s *sheet) inside(x, y float64, what string) {
	if x < 0 || x > Width || y < 0 || y > Height {
		s.out = append(s.out, fmt.Sprintf("%s at %.0f, %.0f", what, x, y))
	}
}

func (s *sheet) Rect(x, y, w, h float64, c picture.Color) {
	s.inside(x, y, "rectangle")
	s.inside(x+w, y+h, "rectangle")
	s.rects[c]++
}

func (s *sheet) Line(points []picture.Point, _ float64, c picture.Color) {
	for _, p := range points {
		s.inside(p.X, p.Y, "line")
	}
	if c == path {
		s.lines = append(s.lines, points)
	}
}

func (s *sheet) Field(f *picture.Field, c picture.Color) { s.fields[c] = f }

func (s *sheet) Text(x, y, size float64, a picture.Anchor, _ bool, _ picture.Color, text string) {
	width := float64(len(text)) * size / 2
	switch a {
	case picture.End:
		x -= width
	case picture.Middle:
		x -= width / 2
	}
	s.inside(x, y, text)
	s.inside(x+width, y, text)
	s.texts = append(s.texts, text)
}

func drawn(t *testing.T, text string) (*Trace, *sheet) {
	t.Helper()
	tr, err := Load(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	s := &sheet{fields: map[picture.Color]*picture.Field{}, rects: map[picture.Color]int{}}
	tr.Draw(s)
	for _, o := range s.out {
		t.Errorf("outside of the figure: %s", o)
	}
	return tr, s
}

// TestFigure: the figure says and shows what is in the recording.
func TestFigure(t *testing.T) {
	const volumes, writes = 4, 4000
	tr, s := drawn(t, mixed(t, volumes, writes))
	all := strings.Join(s.texts, "\n")
	for _, want := range []string{
		"What 4 guests write", "10.0 s from 2026-09-21", "7 are missing",
		"400 writes/s, 1.6 MiB/s; 0 % start where the one before ended; 400 seeks/s", "vm0", "vm3",
		"256 MiB", "on fast", "100 % in order", "metadata", "time, s", "time, ms, from 4.",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not said in:\n%s", want, all)
		}
	}
	for i := range volumes {
		if s.fields[volumeColor(i)] == nil || s.rects[volumeColor(i)] == 0 {
			t.Errorf("volume %d is not drawn", i)
		}
	}
	if len(s.lines) != 3 { // one disk above, two below
		t.Fatalf("%d ways of heads", len(s.lines))
	}
	down := 0 // above, each write jumps: to the next volume, or from the last to the first one
	for i, p := range s.lines[0][1:] {
		if p.Y > s.lines[0][i].Y {
			down++
		}
	}
	if n := len(s.lines[0]); down < n/volumes-1 || down > n/volumes+1 {
		t.Errorf("%d of %d steps lead back to the first volume", down, n)
	}
	if d := tr.Summary(); d.Volumes != volumes || d.Writes != writes || d.Sent != writes/8+3*writes/100 ||
		!d.Whole || d.Seconds != 10 || d.Dropped != 7 {
		t.Errorf("%+v", d)
	}
	for i, want := range []string{"log fast", "data large", "metadata fast", "metadata large"} {
		if b := tr.bands[i]; b.class+" "+b.device != want {
			t.Errorf("band %d is %s on %s, want %s", i, b.class, b.device, want)
		}
	}
}

// TestLogIsALine: the dots of the log rise from one corner to the other.
func TestLogIsALine(t *testing.T) {
	tr, _ := drawn(t, mixed(t, 1, 800))
	s := scale{tr.bands[0].low, tr.bands[0].high, 0, 100}
	for i, w := range tr.sent {
		if w.of != 0 {
			continue
		}
		if want := 100 - 3 - 94*float64(i)/float64(len(tr.sent)); s.y(w.off) > want+3 || s.y(w.off) < want-3 {
			t.Errorf("write %d of the log lies at %.1f, want %.1f", i, s.y(w.off), want)
		}
	}
}

// TestOutOfOrder: requests come in the order in which they were done; what counts is when they were
// issued.
func TestOutOfOrder(t *testing.T) {
	r := newRecording(t, 1, mib)
	at := rand.New(rand.NewPCG(7, 7)).Perm(100)
	for _, i := range at {
		r.add(int64(i)*1000, control.StreamVolume, "vm0", int64(i)*512, 512)
	}
	tr, s := drawn(t, r.end())
	if o := inOrder(tr.guests, func(write) string { return "" }); o.sequential != 99 || o.seeks != 0 {
		t.Errorf("%+v", o)
	}
	if !strings.Contains(strings.Join(s.texts, "\n"), "no writes to the pool's devices") {
		t.Error("nobody says that the lower row is empty")
	}
}

// TestManyVolumes: names have room or are left out.
func TestManyVolumes(t *testing.T) {
	_, s := drawn(t, mixed(t, 200, 1000))
	if !strings.Contains(strings.Join(s.texts, "\n"), " not named") {
		t.Error("200 names have room")
	}
}

func TestLoadRefuses(t *testing.T) {
	whole := mixed(t, 2, 100)
	lines := strings.SplitAfter(whole, "\n")
	for name, x := range map[string]struct {
		text string
		want error
	}{
		"no writes":       {newRecording(t, 2, mib).end(), ErrEmpty},
		"no such volume":  {strings.Replace(whole, lines[1], "", 1), tracefile.ErrFormat},
		"negative offset": {strings.Replace(whole, `"offset":4096`, `"offset":-4096`, 1), tracefile.ErrFormat},
		"endless": {
			strings.Replace(whole, `"offset":4096`, `"offset":9223372036854775807`, 1), tracefile.ErrFormat,
		},
		"volume of no size": {strings.Replace(whole, `"size":67108864`, `"size":0`, 1), tracefile.ErrFormat},
	} {
		if _, err := Load(strings.NewReader(x.text)); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	tr, err := Load(strings.NewReader(strings.Join(lines[:len(lines)-2], "")))
	if err != nil || tr.Summary().Whole {
		t.Errorf("a recording that was cut short: %v", err)
	}
}

func TestSteps(t *testing.T) {
	for _, x := range [][2]float64{{0.7, 1}, {1, 1}, {1.1, 2}, {3, 5}, {7, 10}, {0.03, 0.05}} {
		if got := niceStep(x[0]); got < x[1]*0.999 || got > x[1]*1.001 {
			t.Errorf("step of %g: %g, want %g", x[0], got, x[1])
		}
	}
	for step, want := range map[float64]int{1: 0, 10: 0, 0.5: 1, 0.1: 1, 0.02: 2} {
		if got := decimals(step); got != want {
			t.Errorf("decimals of %g: %d, want %d", step, got, want)
		}
	}
	for n := int64(1); n < 1<<40; n = n*3 + 1 {
		if parts := n / sizeStep(n); n >= 8 && (parts < 4 || parts > 8) {
			t.Errorf("%d in steps of %d are %d", n, sizeStep(n), parts)
		}
	}
}
