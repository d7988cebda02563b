package perf

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Panel is one curve of a picture, on a scale of its own that begins at 0.
type Panel struct {
	Title string // with the unit
	Y     []float64
}

// The sizes of a picture, in pixels.
const (
	plotWidth, plotHeight = 640, 180 // of a panel, labels included
	plotLeft, plotRight   = 80, 24
	plotTop, plotBottom   = 34, 34
)

// Plot writes panels, one below the other, as an SVG. The points of each have the positions xs, which
// rise, on a logarithmic scale named xTitle.
func Plot(w io.Writer, xTitle string, xs []float64, panels ...Panel) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" `+
		"font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		plotWidth, plotHeight*len(panels))
	for i, p := range panels {
		fmt.Fprintf(&b, "<g transform=\"translate(0 %d)\">\n", i*plotHeight)
		p.draw(&b, xTitle, xs)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (p Panel) draw(b *strings.Builder, xTitle string, xs []float64) {
	top := ceiling(p.Y)
	first, last := math.Log(xs[0]), math.Log(xs[len(xs)-1])
	x := func(v float64) float64 {
		return plotLeft + (math.Log(v)-first)/(last-first)*(plotWidth-plotLeft-plotRight)
	}
	y := func(v float64) float64 {
		return plotHeight - plotBottom - v/top*(plotHeight-plotTop-plotBottom)
	}
	text := func(at, line float64, anchor, s string) {
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", at, line, anchor, s)
	}
	text(plotLeft, plotTop-14, "start", p.Title)
	for _, v := range [...]float64{0, top / 2, top} {
		fmt.Fprintf(b, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/>\n", plotLeft, y(v), plotWidth-plotRight)
		text(plotLeft-8, y(v)+4, "end", strconv.FormatFloat(v, 'g', 4, 64))
	}
	var line strings.Builder
	for i, v := range xs {
		text(x(v), plotHeight-plotBottom+16, "middle", strconv.FormatFloat(v, 'f', -1, 64))
		fmt.Fprintf(&line, "%.1f,%.1f ", x(v), y(p.Y[i]))
		fmt.Fprintf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#06c\"/>\n", x(v), y(p.Y[i]))
	}
	fmt.Fprintf(b, "<polyline points=\"%s\" fill=\"none\" stroke=\"#06c\" stroke-width=\"1.5\"/>\n",
		strings.TrimSpace(line.String()))
	text(plotWidth-plotRight, plotHeight-4, "end", xTitle)
}

// ceiling returns a round number that is above all of ys.
func ceiling(ys []float64) float64 {
	most := 0.0
	for _, v := range ys {
		most = max(most, v)
	}
	if most == 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range [...]float64{1, 2, 5} {
		if most <= f*unit {
			return f * unit
		}
	}
	return 10 * unit
}
