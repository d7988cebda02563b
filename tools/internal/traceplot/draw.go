package traceplot

import (
	"fmt"
	"math"

	"unblend/tools/internal/picture"
	"unblend/tools/internal/units"
)

// The figure, in its units.
const (
	Width  = 1300
	Height = 940

	left, mainWidth    = 84, 690
	zoomLeft, zoomWide = 890, 310
	guestTop, guestH   = 120, 360
	sentTop, sentH     = 590, 270
	bandGap            = 12
	side               = 2  // of a dot
	bigSide            = 4  // enlarged
	textSize           = 12 // of most text
	lineHeight         = 14
)

// Colors.
const (
	ink   picture.Color = 0x111111
	dim   picture.Color = 0x555555
	edge  picture.Color = 0x999999
	faint picture.Color = 0xe4e4e4
	path  picture.Color = 0xb8b8b8
)

var classColors = [...]picture.Color{0x1f4e9c, 0xd9660d, 0x2a8c4a, 0x777777}

// volumeColor returns the color of a volume: neighbors get hues that lie far apart, and none is so light
// that it is lost on white.
func volumeColor(i int) picture.Color {
	const saturation, luminance = 0.75, 0.36
	hue := math.Mod(float64(i)*0.618034, 1) * 6
	channel := func(shift float64) float64 {
		return 1 - saturation + saturation*max(0, min(1, math.Abs(math.Mod(hue+shift, 6)-3)-1))
	}
	r, g, b := channel(0), channel(4), channel(2)
	light := min(1, luminance/(0.3*r+0.59*g+0.11*b))
	part := func(v float64) picture.Color { return picture.Color(v*light*255 + 0.5) }
	return part(r)<<16 | part(g)<<8 | part(b)
}

// Draw draws the figure.
func (t *Trace) Draw(c picture.Canvas) {
	t.drawTitle(c)
	from, to := t.enlarged()
	whole := pane{left, guestTop, mainWidth, guestH, 0, t.length}
	zoom := pane{zoomLeft, guestTop, zoomWide, guestH, from, to}
	t.drawGuests(c, whole, zoom)
	whole.y, whole.height = sentTop, sentH
	zoom.y, zoom.height = sentTop, sentH
	t.drawSent(c, whole, zoom)
}

func (t *Trace) drawTitle(c picture.Canvas) {
	seconds := float64(t.length) / 1e9
	c.Text(left, 34, 20, picture.Start, true, ink,
		fmt.Sprintf("What %s and what the disk gets", plural(len(t.volumes), "guest writes", "guests write")))
	s := fmt.Sprintf("%.1f s from %s on; each dot is a write, at the time when the kernel issued it", seconds,
		t.head.Start.UTC().Format("2006-01-02 15:04:05 UTC"))
	if n := t.head.Sample; n > 1 {
		s += fmt.Sprintf("; one in %d, by chance", n)
	}
	if n := t.end.Dropped + t.end.Lost; n > 0 {
		s += fmt.Sprintf("; %d are missing", n)
	}
	if !t.whole {
		s += "; the record was cut short"
	}
	c.Text(left, 54, textSize, picture.Start, false, dim, s)
}

// heads writes what is above the two panes of a row.
func heads(c picture.Canvas, whole, zoom pane, title, figures, zoomed, what string) {
	c.Text(whole.x, whole.y-26, 15, picture.Start, true, ink, title)
	c.Text(whole.x, whole.y-9, textSize, picture.Start, false, dim, figures)
	c.Text(zoom.x, zoom.y-26, 15, picture.Start, true, ink, zoomed)
	c.Text(zoom.x, zoom.y-9, textSize, picture.Start, false, dim, what)
}

// drawGuests draws the upper row: all volumes end to end.
func (t *Trace) drawGuests(c picture.Canvas, whole, zoom pane) {
	var end int64
	for _, v := range t.volumes {
		end = max(end, v.base+v.size)
	}
	o := inOrder(t.guests, func(write) string { return "" })
	seen := between(t.guests, zoom.from, zoom.to)
	heads(c, whole, zoom, "Guests: as one disk would get it that holds their volumes end to end",
		figuresOf(o, t.length), fmt.Sprintf("Enlarged: %d writes", len(seen)),
		"the line is the way of the disk's head")
	y := func(off int64) float64 { return whole.y + (1-float64(off)/float64(end))*whole.height }
	for _, p := range []pane{whole, zoom} {
		for _, v := range t.volumes {
			c.Line([]picture.Point{{X: p.x, Y: y(v.base)}, {X: p.x + p.width, Y: y(v.base)}}, 1, faint)
		}
	}
	for off := int64(0); off <= end; off += sizeStep(end) {
		tick(c, whole, y(off), units.FormatSize(off))
	}
	c.Text(whole.x-8, whole.y-9, textSize, picture.End, false, dim, "position")
	fields := make([]*picture.Field, len(t.volumes))
	for _, w := range t.guests {
		f := fields[w.of]
		if f == nil { // no larger than the volume, of which there may be many
			v := t.volumes[w.of]
			top := y(v.base + v.size)
			f = picture.NewField(whole.x, top, whole.width, y(v.base)-top, side)
			fields[w.of] = f
		}
		f.Set(whole.at(w.at), y(w.off+w.len), y(w.off))
	}
	for i, f := range fields {
		if f != nil {
			c.Field(f, volumeColor(i))
		}
	}
	t.walk(c, zoom, seen, func(w write) (float64, picture.Color) {
		return y(w.off + w.len/2), volumeColor(w.of)
	}, func(write) string { return "" })
	t.nameVolumes(c, whole, y)
	for _, p := range []pane{whole, zoom} {
		p.frame(c)
		p.times(c)
	}
}

// nameVolumes writes the names beside the volumes, as many as there is room for.
func (t *Trace) nameVolumes(c picture.Canvas, p pane, y func(int64) float64) {
	last, without := math.Inf(1), 0
	for i, v := range t.volumes {
		at := y(v.base+v.size/2) + 4
		if last-at < lineHeight-2 {
			without++
			continue
		}
		last = at
		c.Text(p.x+p.width+8, at, textSize, picture.Start, false, volumeColor(i), shorten(v.name, 13))
	}
	if without > 0 {
		c.Text(p.x+p.width+8, p.y-9, textSize, picture.Start, false, dim, fmt.Sprintf("%d not named", without))
	}
}

// drawSent draws the lower row: a band for each class on each device.
func (t *Trace) drawSent(c picture.Canvas, whole, zoom pane) {
	device := func(w write) string { return t.bands[w.of].device }
	o := inOrder(t.sent, device)
	seen := between(t.sent, zoom.from, zoom.to)
	heads(c, whole, zoom, "Disk: what it gets from unblend", figuresOf(o, t.length),
		"The same time: "+plural(len(seen), "write", "writes"), "a line for each device")
	if len(t.bands) == 0 {
		c.Text(whole.x+whole.width/2, whole.y+whole.height/2, textSize, picture.Middle, false, dim,
			"no writes to the pool's devices in this record")
	}
	var weights float64
	for _, b := range t.bands {
		weights += b.weight()
	}
	room := whole.height - bandGap*float64(max(0, len(t.bands)-1))
	top := whole.y
	near := nearBands(t.bands, seen)
	scales := make([]scale, len(t.bands))
	for i, b := range t.bands {
		h := room * b.weight() / weights
		part, zoomed := whole, zoom
		part.y, part.height, zoomed.y, zoomed.height = top, h, top, h
		t.drawBand(c, i, part)
		scales[i] = scale{near[i].low, near[i].high, top, h}
		if near[i].high > 0 {
			labels(c, zoom.x+zoom.width+8, picture.Start, scales[i])
		}
		zoomed.frame(c)
		top += h + bandGap
	}
	t.walk(c, zoom, seen, func(w write) (float64, picture.Color) {
		return scales[w.of].y(w.off + w.len/2), classColors[rank(t.bands[w.of].class)]
	}, device)
	whole.times(c)
	zoom.times(c)
	c.Text(whole.x-8, whole.y-9, textSize, picture.End, false, dim, "position")
	c.Text(left, Height-24, textSize, picture.Start, false, dim, "Above, positions are computed: volumes lie "+
		"thick, one behind the other. Below, they are measured; each band has a scale of its own. The log is a "+
		"ring: at its end it begins anew.")
}

// drawBand draws one band of the left pane.
func (t *Trace) drawBand(c picture.Canvas, n int, p pane) {
	b := t.bands[n]
	s := scale{b.low, b.high, p.y, p.height}
	color := classColors[rank(b.class)]
	labels(c, p.x-8, picture.End, s)
	f := picture.NewField(p.x, p.y, p.width, p.height, side)
	for _, w := range t.sent {
		if w.of == n {
			f.Set(p.at(w.at), s.y(w.off+w.len), s.y(w.off))
		}
	}
	c.Field(f, color)
	p.frame(c)
	x, y := p.x+p.width+8, p.y+11
	c.Text(x, y, textSize, picture.Start, true, color, b.name())
	if p.height >= 2*lineHeight-2 {
		c.Text(x, y+lineHeight, textSize, picture.Start, false, dim, "on "+shorten(b.device, 10))
	}
	if p.height >= 4*lineHeight {
		c.Text(x, y+2*lineHeight, textSize, picture.Start, false, dim,
			fmt.Sprintf("%.0f %% in order", share(b.order)))
	}
}

// walk draws writes of an enlarged pane in their order: dots, and a line for each disk that joins them.
func (t *Trace) walk(
	c picture.Canvas, p pane, ws []write, place func(write) (float64, picture.Color),
	disk func(write) string,
) {
	var disks []string
	lines := map[string][]picture.Point{}
	for _, w := range ws {
		y, _ := place(w)
		d := disk(w)
		if lines[d] == nil {
			disks = append(disks, d)
		}
		lines[d] = append(lines[d], picture.Point{X: p.at(w.at), Y: y})
	}
	for _, d := range disks {
		if len(lines[d]) > 1 {
			c.Line(lines[d], 1, path)
		}
	}
	for _, w := range ws {
		y, color := place(w)
		c.Rect(p.at(w.at)-bigSide/2, y-bigSide/2, bigSide, bigSide, color)
	}
}
