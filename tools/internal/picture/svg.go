package picture

import (
	"fmt"
	"html"
	"io"
	"strconv"
	"strings"
)

// SVG is a canvas that becomes an SVG document.
type SVG struct {
	width, height float64
	body          strings.Builder
}

// NewSVG returns a white canvas.
func NewSVG(width, height float64) *SVG {
	s := &SVG{width: width, height: height}
	s.Rect(0, 0, width, height, 0xffffff)
	return s
}

// num writes a number without more digits than one sees.
func num(v float64) string {
	s := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0")
}

// Rect fills a rectangle.
func (s *SVG) Rect(x, y, width, height float64, c Color) {
	fmt.Fprintf(&s.body, "<path fill=\"#%06x\" d=\"M%s %sh%sv%sh-%sz\"/>\n", c, num(x), num(y), num(width),
		num(height), num(width))
}

// Line draws a line through all points.
func (s *SVG) Line(points []Point, width float64, c Color) {
	fmt.Fprintf(&s.body, "<polyline fill=\"none\" stroke=\"#%06x\" stroke-width=\"%s\" "+
		"stroke-linejoin=\"round\" points=\"", c, num(width))
	for i, p := range points {
		if i > 0 {
			s.body.WriteByte(' ')
		}
		s.body.WriteString(num(p.X) + "," + num(p.Y))
	}
	s.body.WriteString("\"/>\n")
}

// Field draws the squares of a field: a stroke for each run of them.
func (s *SVG) Field(f *Field, c Color) {
	fmt.Fprintf(&s.body, "<path fill=\"none\" stroke=\"#%06x\" stroke-width=\"%s\" d=\"", c, num(f.Side))
	f.runs(func(col, row, n int) {
		fmt.Fprintf(&s.body, "M%s %sh%s", num(f.X+float64(col)*f.Side), num(f.Y+(float64(row)+0.5)*f.Side),
			num(float64(n)*f.Side))
	})
	s.body.WriteString("\"/>\n")
}

// Text writes a line.
func (s *SVG) Text(x, y, size float64, a Anchor, bold bool, c Color, text string) {
	weight := ""
	if bold {
		weight = ` font-weight="bold"`
	}
	fmt.Fprintf(&s.body, "<text x=\"%s\" y=\"%s\" font-size=\"%s\" text-anchor=\"%s\" "+
		"fill=\"#%06x\"%s>%s</text>\n", num(x), num(y), num(size), a, c, weight, html.EscapeString(text))
}

// Encode writes the document.
func (s *SVG) Encode(w io.Writer) error {
	_, err := fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%s\" height=\"%s\" "+
		"viewBox=\"0 0 %[1]s %[2]s\" font-family=\"Helvetica, Arial, sans-serif\">\n%s</svg>\n",
		num(s.width), num(s.height), s.body.String())
	return err
}
