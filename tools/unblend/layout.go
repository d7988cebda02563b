package main

import (
	"context"
	"fmt"
	"html"
	"os"
	"strings"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// layoutFlags are the flags of status that ask how one volume lies.
type layoutFlags struct {
	layout bool
	svg    string
}

// check refuses what does not go together.
func (f *layoutFlags) check(in *invocation) error {
	switch {
	case !f.layout && f.svg != "":
		return usageError(in.cmd, "--svg goes with --layout")
	case f.layout && len(in.args) == 0:
		return usageError(in.cmd, "--layout wants a volume or snapshot")
	case !f.layout && len(in.args) > 0:
		return usageError(in.cmd, "a volume goes with --layout; for volumes see: unblend list")
	}
	return nil
}

// layout prints how a volume or snapshot lies on the capacity device, and draws it.
func layout(ctx context.Context, in *invocation, f *layoutFlags) error {
	doc, err := in.client().Layout(ctx, control.LayoutRequest{Name: in.args[0], Picture: f.svg != ""})
	if err != nil {
		return err
	}
	if f.svg != "" {
		if err := os.WriteFile(f.svg, []byte(layoutSVG(doc)), 0o644); err != nil {
			return fmt.Errorf("picture: %w", err)
		}
	}
	return in.answer(doc, func() string { return layoutText(doc) })
}

// layoutText lays a layout out for people.
func layoutText(l control.Layout) string {
	var b strings.Builder
	line := func(head, format string, args ...any) {
		b.WriteString(pad(head, 10) + oneLine(fmt.Sprintf(format, args...)) + "\n")
	}
	line("volume", "%s  %s, %s mapped, %s in the log", l.Name, units.FormatSize(l.Size),
		units.FormatSize(l.Mapped), units.FormatSize(l.InLog))
	if l.Mapped == 0 {
		line("runs", "none")
		return b.String()
	}
	line("runs", "%d, %s on average", l.Runs, units.FormatSize(l.MeanRun))
	line("home", "%s of it at natural places", units.FormatShare(l.Home, l.Mapped))
	line("shared", "%s of it with snapshots and clones", units.FormatShare(l.Shared, l.Mapped))
	if l.Lost > 0 {
		line("lost", "%s", units.FormatSize(l.Lost))
	}
	line("place", "from %s to %s of the data device", units.FormatSize(l.First),
		units.FormatSize(l.Last))
	t := units.NewTable("RUNS OF", ">NUMBER", ">BYTES", ">SHARE", "")
	for _, c := range l.Lengths {
		bar := strings.Repeat("#", int((c.Bytes*40+l.Mapped-1)/l.Mapped))
		t.Row(units.FormatSize(c.Length)+" up", fmt.Sprint(c.Runs), units.FormatSize(c.Bytes),
			units.FormatShare(c.Bytes, l.Mapped), bar)
	}
	b.WriteString("\n" + t.String())
	return b.String()
}

// The picture: a cell is 2 x 2 units, with room around it for the words.
const (
	svgCell   = 2
	svgLeft   = 90
	svgTop    = 40
	svgBottom = 50
)

// layoutSVG draws a layout: the volume from left to right, the device from top to bottom. What was
// written from one end to the other and lies in order is a straight line.
func layoutSVG(l control.Layout) string {
	pic := l.Picture
	if pic == nil {
		pic = &control.LayoutPicture{Width: 320, Height: 200}
	}
	w, h := pic.Width*svgCell, pic.Height*svgCell
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" `+
		`font-family="sans-serif" font-size="12">`+"\n", w+svgLeft+20, h+svgTop+svgBottom)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	text := func(x, y int, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", x, y, anchor,
			html.EscapeString(s))
	}
	text(svgLeft, 24, "start", fmt.Sprintf("%s: %s mapped in %d runs, %s on average", l.Name,
		units.FormatSize(l.Mapped), l.Runs, units.FormatSize(l.MeanRun)))
	text(svgLeft-6, svgTop+10, "end", units.FormatSize(l.First))
	text(svgLeft-6, svgTop+h/2, "end", "data device")
	text(svgLeft-6, svgTop+h, "end", units.FormatSize(l.Last))
	text(svgLeft, svgTop+h+18, "start", "0")
	text(svgLeft+w/2, svgTop+h+18, "middle", "volume")
	text(svgLeft+w, svgTop+h+18, "end", units.FormatSize(l.Size))
	fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#999"/>`+"\n",
		svgLeft, svgTop, w, h)
	most := int64(1)
	for _, c := range pic.Cells {
		most = max(most, c.Bytes)
	}
	const shades = 4
	for s := range int64(shades) {
		fmt.Fprintf(&b, `<path fill="#0a4a8a" fill-opacity="%.2f" d="`, float64(s+1)/shades)
		for _, c := range pic.Cells {
			if min(c.Bytes*shades/most, shades-1) == s {
				fmt.Fprintf(&b, "M%d %dh%dv%dh-%dz", svgLeft+c.X*svgCell, svgTop+c.Y*svgCell,
					svgCell, svgCell, svgCell)
			}
		}
		b.WriteString(`"/>` + "\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}
