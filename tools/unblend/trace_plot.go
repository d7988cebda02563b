package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"unblend/tools/internal/control"
	"unblend/tools/internal/picture"
	"unblend/tools/internal/tracefile"
	"unblend/tools/internal/traceplot"
)

// pngScale is how many pixels a PNG has for a unit of the figure.
const pngScale = 2

// plot draws what was recorded.
func (o *traceOptions) plot(_ context.Context, in *invocation) error {
	path := in.args[1]
	t, err := loadTrace(path)
	if err != nil {
		return err
	}
	if o.svg == "" && o.png == "" {
		o.svg = path + ".svg"
	}
	doc := t.Summary()
	if o.svg != "" {
		c := picture.NewSVG(traceplot.Width, traceplot.Height)
		t.Draw(c)
		if err := save(o.svg, c.Encode); err != nil {
			return err
		}
		doc.Files = append(doc.Files, o.svg)
	}
	if o.png != "" {
		c := picture.NewRaster(traceplot.Width, traceplot.Height, pngScale)
		t.Draw(c)
		if err := save(o.png, c.Encode); err != nil {
			return err
		}
		doc.Files = append(doc.Files, o.png)
	}
	return in.answerLine(doc, plotText(doc))
}

// loadTrace reads a record.
func loadTrace(path string) (*traceplot.Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("trace plot: %w", err)
	}
	defer f.Close()
	t, err := traceplot.Load(f)
	if err == nil {
		return t, nil
	}
	e := &control.Error{
		Code: control.CodeBadRequest, Message: fmt.Sprintf("%s: %v", path, err), Err: err,
		Next: "record anew: unblend trace record FILE",
	}
	if errors.Is(err, tracefile.ErrVersion) {
		e.Code, e.Next = control.CodeUnsupported, "use the version of unblend that recorded it, or a newer one"
	}
	return nil, e
}

// save writes a picture.
func save(path string, encode func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	if err := errors.Join(encode(f), f.Close()); err != nil {
		return fmt.Errorf("picture %s: %w", path, err)
	}
	return nil
}

// plotText says what was drawn.
func plotText(doc control.TracePlot) string {
	s := fmt.Sprintf("%s: %.1f s, %s, %d writes of guests, %d to the pool's devices",
		oneLine(strings.Join(doc.Files, ", ")), doc.Seconds, plural(doc.Volumes, "volume"), doc.Writes, doc.Sent)
	if doc.Dropped > 0 {
		s += fmt.Sprintf("; %d requests are missing in the record", doc.Dropped)
	}
	if !doc.Whole {
		s += "; the record was cut short"
	}
	return s + "\n"
}
