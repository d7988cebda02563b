package bpf

import "math/bits"

// model is the same analysis in plain Go: it keeps every write and looks at the whole list when it
// is asked, where the kernel's keeps ends and counters.
type model struct {
	guests  map[Device]Guest
	backing map[Device]Backing
	writes  map[int][]write // by stream
	reads   map[int][2]uint64
}

// write is one of a stream, in sectors.
type write struct {
	start, end uint64
	owner      int
}

func newModel(guests []Guest, backing []Backing) *model {
	m := &model{
		guests: map[Device]Guest{}, backing: map[Device]Backing{},
		writes: map[int][]write{}, reads: map[int][2]uint64{},
	}
	for _, g := range guests {
		m.guests[g.Device] = g
	}
	for _, b := range backing {
		m.backing[b.Device] = b
	}
	return m
}

func (m *model) observe(e Event) {
	stream, whole, base := -1, Merged, uint64(0)
	if g, ok := m.guests[e.Device]; ok && g.Hook == e.Hook {
		stream, base = g.Stream, uint64(g.Base)/SectorSize
	}
	if b, ok := m.backing[e.Device]; ok && b.Hook == e.Hook {
		at := int64(e.Sector) * SectorSize
		for _, r := range b.Regions {
			if r.Start <= at && at < r.End {
				stream, whole = r.Stream, b.Stream
			}
		}
	}
	if stream < 0 || e.Sectors == 0 {
		return
	}
	end := e.Sector + uint64(e.Sectors)
	switch e.Op {
	case OpRead:
		r := m.reads[stream]
		m.reads[stream] = [2]uint64{r[0] + 1, r[1] + uint64(e.Sectors)*SectorSize}
	case OpWrite:
		m.writes[stream] = append(m.writes[stream], write{e.Sector, end, stream})
		m.writes[whole] = append(m.writes[whole], write{base + e.Sector, base + end, stream})
	}
}

// counters returns what the kernel should have counted of a stream.
func (m *model) counters(stream int) Counters {
	c := Counters{Reads: m.reads[stream][0], ReadBytes: m.reads[stream][1]}
	ws := m.writes[stream]
	run := uint64(0)
	for i, w := range ws {
		n := w.end - w.start
		c.Writes++
		c.Bytes += n * SectorSize
		for _, before := range ws[max(0, i-Window):i] {
			if before.end == w.start {
				c.Recent++
				break
			}
		}
		switch {
		case i == 0:
		case ws[i-1].end == w.start:
			c.Sequential++
			c.SequentialBytes += n * SectorSize
		default:
			c.Seeks++
			far := distance(ws[i-1].end, w.start)
			c.Travel += far * SectorSize
			c.Seek[bits.Len64(far)-1]++
			c.Run[bits.Len64(run)-1]++
			run = 0
		}
		run += n
	}
	return c
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// seeksWithout counts the seeks of the merged stream with one volume's writes taken out.
func (m *model) seeksWithout(stream int) uint64 {
	var seeks uint64
	var last *write
	for _, w := range m.writes[Merged] {
		if w.owner == stream {
			continue
		}
		if last != nil && last.end != w.start {
			seeks++
		}
		last = &w
	}
	return seeks
}
