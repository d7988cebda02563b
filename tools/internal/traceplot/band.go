package traceplot

import (
	"cmp"
	"slices"

	"unblend/tools/internal/control"
)

// band is the part of the lower picture for one class of writes to one device. Its scale goes from the
// first byte that was written to the last: what lies far apart on the device stands close together here.
type band struct {
	class, device string
	low, high     int64
	order         order
}

// add makes the band large enough for a write.
func (b *band) add(w write) {
	if b.high == 0 {
		b.low = w.off
	}
	b.low, b.high = min(b.low, w.off), max(b.high, w.off+w.len)
}

// classes from top to bottom, with how much room each gets.
var classes = []struct {
	class, name string
	weight      float64
}{
	{control.StreamLog, "log", 5},
	{control.StreamData, "destage", 4},
	{control.StreamMetadata, "metadata", 1.5},
	{control.StreamOther, "other", 1},
}

// rank returns the place of a class among the classes.
func rank(class string) int {
	for i, c := range classes {
		if c.class == class {
			return i
		}
	}
	return len(classes) - 1
}

func (b band) name() string    { return classes[rank(b.class)].name }
func (b band) weight() float64 { return classes[rank(b.class)].weight }

// arrange brings the bands into their order and counts what is in them.
func (t *Trace) arrange() {
	places := make([]int, len(t.bands)) // old numbers, in the new order
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(x, y int) int {
		return cmp.Or(cmp.Compare(rank(t.bands[x].class), rank(t.bands[y].class)),
			cmp.Compare(t.bands[x].device, t.bands[y].device))
	})
	sorted := make([]band, len(places))
	number := make([]int, len(places))
	for i, old := range places {
		sorted[i], number[old] = t.bands[old], i
	}
	t.bands = sorted
	by := make([][]write, len(sorted))
	for i := range t.sent {
		w := &t.sent[i]
		w.of = number[w.of]
		by[w.of] = append(by[w.of], *w)
	}
	for i := range t.bands {
		t.bands[i].order = inOrder(by[i], func(write) string { return "" })
	}
}

// between returns the writes from one moment to another.
func between(ws []write, from, to int64) []write {
	find := func(at int64) int {
		i, _ := slices.BinarySearchFunc(ws, at, func(w write, at int64) int { return cmp.Compare(w.at, at) })
		return i
	}
	return ws[find(from):find(to)]
}

// enlarged returns the time that the pictures on the right show: in the middle, of so many writes of
// guests that some to the log are among the rest.
func (t *Trace) enlarged() (from, to int64) {
	const few, many, enough = 100, 400, 12
	for n := few; ; n *= 2 {
		n = min(n, len(t.guests))
		first := (len(t.guests) - n) / 2
		from, to = t.guests[first].at, t.guests[first+n-1].at+1
		var logged int
		for _, w := range between(t.sent, from, to) {
			if t.bands[w.of].class == control.StreamLog {
				logged++
			}
		}
		if n >= many || n == len(t.guests) || logged >= enough {
			return from, to
		}
	}
}
