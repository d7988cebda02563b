package picture

import (
	"bytes"
	"encoding/xml"
	"image/color"
	"image/png"
	"io"
	"strings"
	"testing"
)

// draw draws one of everything.
func draw(c Canvas) {
	c.Rect(2, 2, 4, 3, 0xff0000)
	c.Line([]Point{{10, 1}, {10, 9}, {18, 9}}, 2, 0x00ff00)
	f := NewField(20, 0, 10, 10, 2)
	f.Set(21, 1, 3)   // squares 0,0 and 0,1
	f.Set(23, 0, 0.5) // square 1,0
	f.Set(99, 99, 50) // the last one
	c.Field(f, 0x0000ff)
	c.Text(2, 19, 12, Start, false, 0x000000, "I<&")
}

func TestSVG(t *testing.T) {
	s := NewSVG(40, 20)
	draw(s)
	var b strings.Builder
	if err := s.Encode(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, b.String())
		}
	}
	for _, want := range []string{
		`viewBox="0 0 40 20"`, `fill="#ff0000" d="M2 2h4v3h-4z"`, `points="10,1 10,9 18,9"`,
		`stroke="#0000ff" stroke-width="2" d="M20 1h4M20 3h2M28 9h2"`, `>I&lt;&amp;</text>`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}

func TestRaster(t *testing.T) {
	r := NewRaster(40, 20, 2)
	draw(r)
	var b bytes.Buffer
	if err := r.Encode(&b); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil || img.Bounds().Dx() != 80 || img.Bounds().Dy() != 40 {
		t.Fatalf("%v, %v", err, img.Bounds())
	}
	const (
		white = 0xffffff
		red   = 0xff0000
		green = 0x00ff00
		blue  = 0x0000ff
	)
	for _, x := range []struct {
		x, y int
		want Color
	}{
		{0, 0, white},
		{4, 4, red},
		{11, 9, red},
		{12, 9, white}, // the rectangle ends at 12, 10
		{20, 10, green},
		{30, 18, green},
		{24, 10, white}, // the line
		{40, 0, blue},
		{47, 3, blue},
		{48, 0, white},
		{40, 7, blue},
		{45, 7, white},
		{59, 19, blue},
		{8, 24, 0},
		{6, 36, 0},
		{4, 30, white}, // the I has its stem at 8 and its foot from 6 on
	} {
		got := color.RGBAModel.Convert(img.At(x.x, x.y)).(color.RGBA)
		if c := Color(got.R)<<16 | Color(got.G)<<8 | Color(got.B); c != x.want {
			t.Errorf("at %d, %d: %06x, want %06x", x.x, x.y, c, x.want)
		}
	}
}

// TestOutside: what lies outside of the picture does no harm.
func TestOutside(t *testing.T) {
	r := NewRaster(4, 4, 1)
	r.Rect(-5, -5, 3, 3, 0)
	r.Line([]Point{{-3, 2}, {30, 2}}, 1, 0)
	r.Text(-100, 90, 12, End, true, 0, "far away")
	NewField(0, 0, 0, 0, 2).Set(1, 2, 3)
	if c := r.img.RGBAAt(3, 2); c.R != 0 && c.R == 255 {
		t.Errorf("the line does not cross the picture: %v", c)
	}
	if c := r.img.RGBAAt(3, 0); c.R != 255 {
		t.Errorf("something reaches into the corner: %v", c)
	}
}

// TestGlyphs: every printable letter is there, and no two look alike.
func TestGlyphs(t *testing.T) {
	if len(glyphs) != 6*glyphHeight {
		t.Fatalf("%d rows", len(glyphs))
	}
	for i, row := range glyphs {
		if len(row) != glyphLine*glyphPitch {
			t.Errorf("row %d has %d columns", i, len(row))
		}
	}
	seen := map[string]rune{}
	for c := ' '; c <= '~'; c++ {
		var shape strings.Builder
		for y := range glyphHeight {
			for x := range glyphWidth {
				if inked(c, x, y) {
					shape.WriteByte('#')
				} else {
					shape.WriteByte('.')
				}
			}
		}
		if other, there := seen[shape.String()]; there {
			t.Errorf("%q looks like %q", c, other)
		}
		seen[shape.String()] = c
	}
	if inked('ü', 2, 0) != inked('?', 2, 0) {
		t.Error("what is not in the type is no question mark")
	}
}
