package picture

import (
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"unicode/utf8"
)

// Raster is a canvas that becomes a PNG.
type Raster struct {
	img   *image.RGBA
	scale float64
}

// NewRaster returns a white canvas with so many pixels to a unit, in each direction.
func NewRaster(width, height, scale float64) *Raster {
	r := &Raster{
		image.NewRGBA(image.Rect(0, 0, int(math.Ceil(width*scale)), int(math.Ceil(height*scale)))), scale,
	}
	r.Rect(0, 0, width, height, 0xffffff)
	return r
}

// Encode writes the PNG.
func (r *Raster) Encode(w io.Writer) error { return png.Encode(w, r.img) }

// blend puts a color on a pixel that covers it by a share.
func (r *Raster) blend(x, y int, c Color, share float64) {
	if !(image.Point{X: x, Y: y}).In(r.img.Rect) || share <= 0 {
		return
	}
	share = min(share, 1)
	old := r.img.RGBAAt(x, y)
	mix := func(was uint8, shift int) uint8 {
		return uint8(float64(was)*(1-share) + float64(uint8(c>>shift))*share + 0.5)
	}
	r.img.SetRGBA(x, y, color.RGBA{mix(old.R, 16), mix(old.G, 8), mix(old.B, 0), 255})
}

// fill fills whole pixels.
func (r *Raster) fill(x0, y0, x1, y1 float64, c Color) {
	for y := int(math.Round(y0)); y < int(math.Round(y1)); y++ {
		for x := int(math.Round(x0)); x < int(math.Round(x1)); x++ {
			r.blend(x, y, c, 1)
		}
	}
}

// Rect fills a rectangle, of one pixel at least.
func (r *Raster) Rect(x, y, width, height float64, c Color) {
	x, y, width, height = x*r.scale, y*r.scale, max(1, width*r.scale), max(1, height*r.scale)
	r.fill(x, y, x+width, y+height, c)
}

// Line draws a line through all points.
func (r *Raster) Line(points []Point, width float64, c Color) {
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		r.segment(a.X*r.scale, a.Y*r.scale, b.X*r.scale, b.Y*r.scale, width*r.scale/2, c)
	}
}

// segment draws a line with round ends. Pixels at its edge are covered in part.
func (r *Raster) segment(ax, ay, bx, by, half float64, c Color) {
	dx, dy := bx-ax, by-ay
	length := dx*dx + dy*dy
	reach := half + 1
	for y := int(min(ay, by) - reach); y <= int(max(ay, by)+reach); y++ {
		x0, x1 := min(ax, bx), max(ax, bx)
		if dy != 0 { // only where the line passes this row
			t0, t1 := (float64(y)-reach-ay)/dy, (float64(y)+1+reach-ay)/dy
			t0, t1 = max(0, min(t0, t1)), min(1, max(t0, t1))
			x0, x1 = min(ax+t0*dx, ax+t1*dx), max(ax+t0*dx, ax+t1*dx)
		}
		for x := int(x0 - reach); x <= int(x1+reach); x++ {
			px, py := float64(x)+0.5, float64(y)+0.5
			t := 0.0
			if length > 0 {
				t = max(0, min(1, ((px-ax)*dx+(py-ay)*dy)/length))
			}
			r.blend(x, y, c, half+0.5-math.Hypot(px-ax-t*dx, py-ay-t*dy))
		}
	}
}

// Field draws the squares of a field.
func (r *Raster) Field(f *Field, c Color) {
	f.runs(func(col, row, n int) {
		x, y := f.X+float64(col)*f.Side, f.Y+float64(row)*f.Side
		r.Rect(x, y, float64(n)*f.Side, f.Side, c)
	})
}

// Text writes a line. Letters come in whole multiples of their size.
func (r *Raster) Text(x, y, size float64, a Anchor, bold bool, c Color, text string) {
	k := max(1, int(size*r.scale/(1.5*glyphHeight)+0.5))
	left := int(x * r.scale)
	switch width := utf8.RuneCountInString(text) * glyphPitch * k; a {
	case Middle:
		left -= width / 2
	case End:
		left -= width
	}
	top := int(y*r.scale) - (glyphHeight-1)*k
	for _, letter := range text {
		for gy := range glyphHeight {
			for gx := range glyphWidth {
				if !inked(letter, gx, gy) {
					continue
				}
				px, py := float64(left+gx*k), float64(top+gy*k)
				wide := float64(k)
				if bold {
					wide *= 1.5
				}
				r.fill(px, py, px+wide, py+float64(k), c)
			}
		}
		left += glyphPitch * k
	}
}
