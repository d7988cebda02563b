package traceplot

import (
	"fmt"
	"unicode/utf8"

	"unblend/tools/internal/picture"
	"unblend/tools/internal/units"
)

// scale is where the bytes of a band lie.
type scale struct {
	low, high   int64
	top, height float64
}

func (s scale) y(off int64) float64 {
	const inset = 3 // so that dots do not lie on the edge
	return s.top + s.height - inset - float64(off-s.low)/float64(max(1, s.high-s.low))*(s.height-2*inset)
}

// labels writes the ends of a scale beside it.
func labels(c picture.Canvas, x float64, a picture.Anchor, s scale) {
	c.Text(x, s.top+10, textSize, a, false, dim, units.FormatSize(s.high))
	if s.height >= 2*lineHeight {
		c.Text(x, s.top+s.height, textSize, a, false, dim, units.FormatSize(s.low))
	}
}

// tick writes a label on the left of a pane.
func tick(c picture.Canvas, p pane, y float64, label string) {
	c.Line([]picture.Point{{X: p.x - 4, Y: y}, {X: p.x, Y: y}}, 1, edge)
	c.Text(p.x-8, y+4, textSize, picture.End, false, dim, label)
}

// nearBands returns the bands as they would be with some of the writes only.
func nearBands(all []band, ws []write) []band {
	near := make([]band, len(all))
	for _, w := range ws {
		near[w.of].add(w)
	}
	return near
}

func share(o order) float64 { return 100 * float64(o.sequential) / float64(max(1, o.writes)) }

// figuresOf says how writes follow each other.
func figuresOf(o order, length int64) string {
	seconds := float64(length) / 1e9
	return fmt.Sprintf("%.0f writes/s, %.1f MiB/s; %.0f %% start where the one before ended; %.0f seeks/s",
		float64(o.writes)/seconds, float64(o.bytes)/seconds/(1<<20), share(o), float64(o.seeks)/seconds)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// shorten cuts a name that is too long for its place.
func shorten(s string, most int) string {
	s = units.Printable(s)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-2]) + ".."
}
