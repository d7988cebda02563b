package tracefile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"unblend/tools/internal/control"
)

// maxLine bounds a line: notes may be long, names are not.
const maxLine = 1 << 20

var (
	// ErrFormat is returned for what is no trace, or a damaged one.
	ErrFormat = errors.New("not a recorded trace")
	// ErrVersion is returned for a trace of a newer format.
	ErrVersion = errors.New("a trace in a format that this version does not know")
)

// Reader takes what a trace holds, in its order.
type Reader interface {
	Head(control.TraceEvents) error
	Stream(control.TraceEventsStream) error
	Event(control.TraceEvent) error
}

// Read reads a trace and returns its last line. A trace that was cut short has none: whole is false
// then.
func Read(from io.Reader, to Reader) (end control.TraceEventsEnd, whole bool, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 1<<16), maxLine)
	r := reading{to: to}
	for lines.Scan() {
		err := r.take(lines.Bytes())
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) && r.lines > 1 && !lines.Scan() { // the line that was being written
			return end, false, lines.Err()
		}
		if err != nil {
			return end, false, fmt.Errorf("line %d: %w", r.lines, err)
		}
	}
	switch {
	case lines.Err() != nil:
		return end, false, fmt.Errorf("line %d: %w: %w", r.lines+1, ErrFormat, lines.Err())
	case r.lines == 0:
		return end, false, fmt.Errorf("it is empty: %w", ErrFormat)
	case r.whole && r.end.Events != r.events:
		return end, false, fmt.Errorf("%d requests, and the last line has %d: %w", r.events, r.end.Events,
			ErrFormat)
	}
	return r.end, r.whole, nil
}

// reading is how far a trace was read.
type reading struct {
	to     Reader
	lines  int
	events uint64
	end    control.TraceEventsEnd
	whole  bool // the last line was there
}

// take hands one line on.
func (r *reading) take(line []byte) error {
	r.lines++
	var kind struct {
		Schema control.Schema `json:"schema"`
		Kind   string         `json:"kind"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	first := r.lines == 1
	switch {
	case r.whole:
		return fmt.Errorf("behind the last one: %w", ErrFormat)
	case first && kind.Schema == control.SchemaTraceEvents:
		return hand(line, r.to.Head)
	case first && strings.HasPrefix(string(kind.Schema), "unblend/trace-events/"):
		return fmt.Errorf("%s: %w", kind.Schema, ErrVersion)
	case first:
		return ErrFormat
	case kind.Schema == control.SchemaTraceEventsStream:
		return hand(line, r.to.Stream)
	case kind.Schema == control.SchemaTraceEventsEnd:
		r.whole = true
		return hand(line, func(e control.TraceEventsEnd) error {
			r.end = e
			return nil
		})
	case kind.Schema == "" && kind.Kind != "":
		r.events++
		return hand(line, r.to.Event)
	}
	return ErrFormat
}

func hand[T any](line []byte, to func(T) error) error {
	var doc T
	if err := json.Unmarshal(line, &doc); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return to(doc)
}
