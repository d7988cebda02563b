package tracefile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"unblend/tools/internal/control"
)

// Writer writes a trace. Lines are buffered until Flush.
type Writer struct{ w *bufio.Writer }

// NewWriter returns a writer of what begins with head.
func NewWriter(w io.Writer, head control.TraceEvents) (*Writer, error) {
	t := &Writer{bufio.NewWriterSize(w, 1<<16)}
	return t, t.line(head)
}

func (t *Writer) line(doc any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	if _, err := t.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

// Streams names what later requests are about.
func (t *Writer) Streams(all []control.TraceEventsStream) error {
	for _, s := range all {
		if err := t.line(s); err != nil {
			return err
		}
	}
	return nil
}

// Event adds a request.
func (t *Writer) Event(e control.TraceEvent) error { return t.line(e) }

// Flush writes what is buffered.
func (t *Writer) Flush() error {
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

// End adds the last line.
func (t *Writer) End(e control.TraceEventsEnd) error {
	if err := t.line(e); err != nil {
		return err
	}
	return t.Flush()
}
