package traceplot

import (
	"math"
	"strconv"

	"unblend/tools/internal/picture"
)

// pane is a rectangle in which time goes from left to right.
type pane struct {
	x, y, width, height float64
	from, to            int64 // ns
}

// at returns where a time lies.
func (p pane) at(t int64) float64 {
	return p.x + float64(t-p.from)/float64(max(1, p.to-p.from))*p.width
}

// frame draws its edges.
func (p pane) frame(c picture.Canvas) {
	r, b := p.x+p.width, p.y+p.height
	c.Line([]picture.Point{{X: p.x, Y: p.y}, {X: r, Y: p.y}, {X: r, Y: b}, {X: p.x, Y: b}, {X: p.x, Y: p.y}},
		1, edge)
}

// times draws the axis of time below it: seconds, or milliseconds where all is shorter than that.
func (p pane) times(c picture.Canvas) {
	length := float64(p.to-p.from) / 1e9
	unit, name := 1.0, "s"
	if length < 1 {
		unit, name = 1e-3, "ms"
	}
	step := niceStep(length / unit / 7)
	base := p.y + p.height
	for v := 0.0; v <= length/unit*1.0001; v += step {
		x := p.at(p.from + int64(v*unit*1e9))
		c.Line([]picture.Point{{X: x, Y: base}, {X: x, Y: base + 4}}, 1, edge)
		label := strconv.FormatFloat(math.Round(v/step)*step, 'f', decimals(step), 64)
		c.Text(x, base+17, textSize, picture.Middle, false, dim, label)
	}
	title := "time, " + name
	if p.from > 0 {
		title += ", from " + strconv.FormatFloat(float64(p.from)/1e9, 'f', 3, 64) + " s on"
	}
	c.Text(p.x+p.width/2, base+33, textSize, picture.Middle, false, dim, title)
}

// niceStep returns 1, 2 or 5 times a power of ten, at least v.
func niceStep(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range [...]float64{1, 2, 5} {
		if v <= f*unit {
			return f * unit
		}
	}
	return 10 * unit
}

// decimals returns how many digits behind the point multiples of a step have.
func decimals(step float64) int { return max(0, int(math.Ceil(-math.Log10(step)-1e-9))) }

// sizeStep returns a power of two that cuts n bytes into 4 to 8 parts.
func sizeStep(n int64) int64 {
	step := int64(1)
	for step <= n/8 {
		step *= 2
	}
	return step
}
