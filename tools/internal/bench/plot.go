package bench

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// The sizes of the picture, in pixels.
const (
	plotWidth = 820
	plotLeft  = 330 // where the scale begins
	plotRight = 90
	plotRow   = 20
	plotHead  = 30 // of a workload
	plotTop   = 44
	plotEnd   = 34
)

// picture is an SVG under way.
type picture struct {
	strings.Builder
	from, to float64 // powers of ten at the ends of the scale
}

// x returns where a ratio lies.
func (p *picture) x(v float64) float64 {
	return plotLeft + (math.Log10(v)-p.from)/(p.to-p.from)*(plotWidth-plotLeft-plotRight)
}

func (p *picture) text(x, y float64, anchor, attributes, text string) {
	fmt.Fprintf(p, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y, anchor, attributes,
		html.EscapeString(text))
}

// path draws a line; d is its path.
func (p *picture) path(stroke, attributes, d string, at ...any) {
	fmt.Fprintf(p, "<path d=\"%s\" stroke=\"%s\"%s/>\n", fmt.Sprintf(d, at...), stroke, attributes)
}

// SVG draws the ratios: a dot at the median and a line from the least to the most, on a logarithmic
// scale.
func (s *Suite) SVG() string {
	height := float64(plotTop + plotEnd)
	for _, under := range s.columns() {
		height += plotHead
		for _, row := range s.rows() {
			if _, ok := s.ratio(Cell{row.ID, under.Workload, under.Volumes}); ok {
				height += plotRow
			}
		}
	}
	p := &picture{}
	p.from, p.to = s.scale()
	fmt.Fprintf(p, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "+
		"font-family=\"sans-serif\" font-size=\"12\">\n", plotWidth, height)
	p.WriteString("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n")
	p.text(8, 20, "start", ` font-size="14"`,
		"requests per second, unblend / target: to the right of 1 unblend is faster")
	p.grid(height - plotEnd)
	y := float64(plotTop)
	for _, under := range s.columns() {
		y += plotHead
		p.text(8, y-8, "start", ` font-weight="bold"`, under.WorkloadTitle())
		for _, row := range s.rows() {
			if r, ok := s.ratio(Cell{row.ID, under.Workload, under.Volumes}); ok {
				y += plotRow
				p.row(y, row.Title, r)
			}
		}
	}
	p.WriteString("</svg>\n")
	return p.String()
}

// grid draws the scale down to end.
func (p *picture) grid(end float64) {
	for e := p.from; e <= p.to; e++ {
		for _, f := range [...]float64{1, 2, 5} {
			v, stroke := f*math.Pow(10, e), "#ddd"
			if e == p.to && f > 1 {
				break
			}
			if v == 1 {
				stroke = "#444"
			}
			p.path(stroke, "", "M%.1f %dV%.1f", p.x(v), plotTop, end+4)
			p.text(p.x(v), end+20, "middle", ` fill="#444"`, strconv.FormatFloat(v, 'g', 4, 64))
		}
	}
}

// row draws one ratio.
func (p *picture) row(y float64, title string, r Ratio) {
	colour := "#06c"
	if r.Median < 1 {
		colour = "#c50"
	}
	p.text(plotLeft-12, y-6, "end", "", title)
	p.path(colour, ` stroke-width="3" stroke-opacity="0.4"`, "M%.1f %.1fH%.1f", p.x(r.Least), y-10, p.x(r.Most))
	fmt.Fprintf(p, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", p.x(r.Median), y-10, colour)
	p.text(plotWidth-12, y-6, "end", "", short(r.Median))
}

// scale returns the powers of ten between which all ratios lie.
func (s *Suite) scale() (from, to float64) {
	from, to = -1, 1
	for _, r := range s.Ratios {
		if r.Least > 0 {
			from = min(from, math.Floor(math.Log10(r.Least)))
		}
		to = max(to, math.Ceil(math.Log10(r.Most)))
	}
	return from, to
}
