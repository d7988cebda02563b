package tracefile

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"unblend/tools/internal/control"
)

// trace is one in memory.
type trace struct {
	head    control.TraceEvents
	streams []control.TraceEventsStream
	events  []control.TraceEvent
}

func (t *trace) Head(h control.TraceEvents) error {
	t.head = h
	return nil
}

func (t *trace) Stream(s control.TraceEventsStream) error {
	t.streams = append(t.streams, s)
	return nil
}

func (t *trace) Event(e control.TraceEvent) error {
	t.events = append(t.events, e)
	return nil
}

var (
	example = trace{
		head: control.TraceEvents{
			Schema: control.SchemaTraceEvents, Start: control.UTC(1_790_000_000), Layout: "end-to-end",
			Sample: 1, Notes: []string{"a note\non two lines"},
		},
		streams: []control.TraceEventsStream{
			{
				Schema: control.SchemaTraceEventsStream, Kind: "volume", Name: "web1", Dev: "259:1",
				Base: 1 << 30, Size: 1 << 20,
			},
		},
		events: []control.TraceEvent{
			{At: 5, Kind: "volume", Name: "web1", Op: "write", Offset: 4096, Bytes: 512, Queue: 1, Device: 9},
			{At: 7, Kind: "log", Name: "sda", Op: "write", Bytes: 8192, Failed: true},
		},
	}
	exampleEnd = control.TraceEventsEnd{
		Schema: control.SchemaTraceEventsEnd, Seconds: 1.5, Events: 2, Dropped: 3, Lost: 4,
	}
)

// written returns the example as a file.
func written(t testing.TB) string {
	var b bytes.Buffer
	w, err := NewWriter(&b, example.head)
	if err == nil {
		err = w.Streams(example.streams)
	}
	for _, e := range example.events {
		err = errors.Join(err, w.Event(e))
	}
	if err = errors.Join(err, w.End(exampleEnd)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	var got trace
	end, whole, err := Read(strings.NewReader(written(t)), &got)
	if err != nil || !whole || end != exampleEnd || !reflect.DeepEqual(got, example) {
		t.Errorf("%v, whole %t\n got %+v %+v\nwant %+v %+v", err, whole, got, end, example, exampleEnd)
	}
}

// TestCutShort: a trace that was not ended is read as far as it goes, wherever it ends.
func TestCutShort(t *testing.T) {
	text := written(t)
	head := strings.Index(text, "\n") + 1
	last := strings.LastIndex(strings.TrimSpace(text), "\n") + 1
	for n := head; n < last; n++ {
		var got trace
		_, whole, err := Read(strings.NewReader(text[:n]), &got)
		lines := strings.Count(text[:n], "\n")
		// A line is also whole without the newline that ends it.
		if text[n] == '\n' {
			lines++
		}
		if err != nil || whole || 1+len(got.streams)+len(got.events) != lines {
			t.Fatalf("%d bytes: whole %t, %v, %+v", n, whole, err, got)
		}
	}
}

func TestRefused(t *testing.T) {
	text := written(t)
	lines := strings.SplitAfter(text, "\n")
	for name, x := range map[string]struct {
		text string
		want error
	}{
		"empty":             {"", ErrFormat},
		"something else":    {"\x89PNG\r\n", ErrFormat},
		"another document":  {`{"schema":"unblend/list/v1"}` + "\n", ErrFormat},
		"newer":             {strings.Replace(text, "trace-events/v1", "trace-events/v2", 1), ErrVersion},
		"a line is missing": {strings.Replace(text, lines[2], "", 1), ErrFormat},
		"a damaged line":    {strings.Replace(text, lines[2], lines[2][5:], 1), ErrFormat},
		"a foreign line":    {strings.Replace(text, lines[2], `{"schema":"x"}`+"\n", 1), ErrFormat},
		"no line's kind":    {strings.Replace(text, lines[2], "{}\n", 1), ErrFormat},
		"more":              {text + lines[2], ErrFormat},
		"an endless line":   {lines[0] + strings.Repeat("x", 2*maxLine), ErrFormat},
	} {
		if _, _, err := Read(strings.NewReader(x.text), &trace{}); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(written(f))
	f.Fuzz(func(t *testing.T, text string) {
		var got trace
		end, whole, err := Read(strings.NewReader(text), &got)
		if err == nil && whole && end.Events != uint64(len(got.events)) {
			t.Errorf("%d requests, the end has %d", len(got.events), end.Events)
		}
	})
}
