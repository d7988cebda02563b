// Package picture draws simple figures, the same way as SVG and as PNG: rectangles, lines, fields of
// small squares, text. There is no more to it than the figures of this project need.
package picture

import "math"

// Color is 0xRRGGBB.
type Color uint32

// Anchor says which end of a text its position is.
type Anchor string

// The anchors.
const (
	Start  Anchor = "start"
	Middle Anchor = "middle"
	End    Anchor = "end"
)

// Point is a position; y points downwards.
type Point struct{ X, Y float64 }

// Canvas is what figures are drawn on. Lengths are in units of the canvas, which are pixels of the PNG
// at a scale of 1.
type Canvas interface {
	// Rect fills a rectangle.
	Rect(x, y, width, height float64, c Color)
	// Line draws a line through all points.
	Line(points []Point, width float64, c Color)
	// Field draws the squares of a field in one color.
	Field(f *Field, c Color)
	// Text writes a line whose base is at y.
	Text(x, y, size float64, a Anchor, bold bool, c Color, s string)
}

// Field is a raster of squares of the same size, each of which is set or not. However many dots fall on
// it, it never takes more than its squares.
type Field struct {
	X, Y          float64 // of its upper left corner
	Side          float64 // of a square
	width, height int     // squares
	set           []bool
}

// NewField returns an empty field that covers a rectangle.
func NewField(x, y, width, height, side float64) *Field {
	w, h := max(1, int(math.Ceil(width/side))), max(1, int(math.Ceil(height/side)))
	return &Field{x, y, side, w, h, make([]bool, w*h)}
}

// Set sets the squares at x from y1 to y2. What lies outside sets the nearest one.
func (f *Field) Set(x, y1, y2 float64) {
	at := func(v, from float64, n int) int {
		return max(0, min(n-1, int((v-from)/f.Side)))
	}
	col := at(x, f.X, f.width)
	for row := at(min(y1, y2), f.Y, f.height); row <= at(max(y1, y2), f.Y, f.height); row++ {
		f.set[row*f.width+col] = true
	}
}

// runs calls do for each run of squares that are set and lie side by side.
func (f *Field) runs(do func(col, row, n int)) {
	for row := range f.height {
		for col := 0; col < f.width; col++ {
			n := 0
			for col+n < f.width && f.set[row*f.width+col+n] {
				n++
			}
			if n > 0 {
				do(col, row, n)
			}
			col += n
		}
	}
}
