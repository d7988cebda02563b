package vmtest

import (
	"fmt"
	"slices"
	"time"

	"unblend/tools/internal/blocktrace"
)

// span is a range of sectors of a device.
type span struct {
	dev        blocktrace.Device
	start, end uint64
}

func (s span) holds(dev blocktrace.Device, sector uint64) bool {
	return s.dev == dev && sector >= s.start && sector < s.end
}

// durability judges what the kernel's block layer was seen to do. The guests wrote every sector
// once, so that a sector of a guest's disk stands for one write.
type durability struct {
	guests []blocktrace.Device
	log    span
	roots  []span // the root slots, one span for each device's
	meta   []span // the metadata areas, labels and roots included
	data   blocktrace.Device

	// places says where on the log device a guest's sector was found after the run.
	places map[span][]uint64

	done    []written      // writes to the log, metadata and data that completed, in order
	flushes []flushed      // in order of completion
	acks    []acknowledged // guests' writes
	issued  map[span][]blocktrace.Event
}

// written is a write to a backing device.
type written struct {
	span
	issue, end time.Duration
	fua        bool
}

// flushed is a flush of a backing device.
type flushed struct {
	dev        blocktrace.Device
	issue, end time.Duration
}

// acknowledged is a write that a guest's device completed.
type acknowledged struct {
	span
	at time.Duration
}

// verdict counts what was seen, and names what broke a promise.
type verdict struct {
	acks, fua, flushed int // guests' writes; those of which all was written with FUA, or flushed
	logWrites, logFUA  int
	roots, rootFUA     int
	dataFlushes        int
	exceptions         []string
}

func (v *verdict) exception(format string, args ...any) {
	v.exceptions = append(v.exceptions, fmt.Sprintf(format, args...))
}

// judge looks at all events, which are sorted by time.
func (d *durability) judge(events []blocktrace.Event) *verdict {
	d.issued = map[span][]blocktrace.Event{}
	v := &verdict{}
	for _, e := range events {
		d.see(e, v)
	}
	for _, w := range d.done {
		if d.log.holds(w.dev, w.start) {
			v.logWrites++
			if w.fua {
				v.logFUA++
			}
		}
	}
	for _, f := range d.flushes {
		if f.dev == d.data {
			v.dataFlushes++
		}
	}
	for _, a := range d.acks {
		d.judgeAck(a, v)
	}
	d.judgeRoots(v)
	return v
}

// see pairs issues with completions.
func (d *durability) see(e blocktrace.Event, v *verdict) {
	at := span{e.Dev, e.Sector, e.End()}
	if e.Op == blocktrace.Flush { // of which one is under way at a time; its sector says nothing
		at.start, at.end = 0, 0
	}
	if slices.Contains(d.guests, e.Dev) {
		if e.Complete && e.Op == blocktrace.Write && e.Sectors > 0 && e.Err == 0 {
			d.acks = append(d.acks, acknowledged{at, e.At})
		}
		return
	}
	if e.Op != blocktrace.Flush && (e.Op != blocktrace.Write || e.Sectors == 0) {
		return
	}
	if !e.Complete {
		d.issued[at] = append(d.issued[at], e)
		return
	}
	was := d.issued[at]
	if len(was) == 0 {
		v.exception("a completion without its issue: %+v", e)
		return
	}
	d.issued[at] = was[1:]
	switch {
	case e.Err != 0:
		v.exception("a request failed: %+v", e)
	case e.Op == blocktrace.Flush:
		d.flushes = append(d.flushes, flushed{e.Dev, was[0].At, e.At})
	default:
		d.done = append(d.done, written{at, was[0].At, e.At, was[0].FUA})
	}
}

// durableAt returns when a write was on the medium, and whether it is at all.
func (d *durability) durableAt(w written) (time.Duration, bool) {
	if w.fua {
		return w.end, true
	}
	for _, f := range d.flushes {
		if f.dev == w.dev && f.issue >= w.end {
			return f.end, true
		}
	}
	return 0, false
}

// judgeAck checks that every sector of a guest's write was durable in the log before the guest was
// told.
func (d *durability) judgeAck(a acknowledged, v *verdict) {
	v.acks++
	fua := true
	for s := a.start; s < a.end; s++ {
		ok := false
		for _, place := range d.places[span{a.dev, s, s + 1}] {
			for _, w := range d.done {
				if w.holds(d.log.dev, place) {
					at, durable := d.durableAt(w)
					if durable && at <= a.at {
						ok = true
						fua = fua && w.fua
					}
				}
			}
		}
		if !ok {
			v.exception("sector %d of guest %s was acknowledged at %v and not durable in the log",
				s, a.dev, a.at)
			return
		}
	}
	if fua {
		v.fua++
	} else {
		v.flushed++
	}
}

// judgeRoots checks that a flush of the data device came between two generations' roots, and that
// no page of metadata was still in a volatile cache when a root that may reach it was issued.
func (d *durability) judgeRoots(v *verdict) {
	var group span              // slot of the generation that is being written
	var groupEnd time.Duration  // when the root before it was complete
	var latestEnd time.Duration // of any root so far
	var first written           // copy of the group
	for _, w := range d.done {
		i := slices.IndexFunc(d.roots, func(s span) bool { return s.holds(w.dev, w.start) })
		if i < 0 {
			continue
		}
		v.roots++
		if w.fua {
			v.rootFUA++
		}
		slot := span{start: w.start - d.roots[i].start}
		if v.roots == 1 || slot != group {
			group, groupEnd, first = slot, latestEnd, w
		} else if at, ok := d.durableAt(first); !ok || at > w.issue {
			v.exception("root on %s at %v: the copy on %s was not durable", w.dev, w.issue, first.dev)
		}
		latestEnd = max(latestEnd, w.end)
		if !slices.ContainsFunc(d.flushes, func(f flushed) bool {
			return f.dev == d.data && f.issue >= groupEnd && f.end <= w.issue
		}) {
			v.exception("root on %s at %v: no flush of the data device since the root before it",
				w.dev, w.issue)
		}
		d.judgePages(w, v)
	}
}

// judgePages checks the metadata that was written before a root.
func (d *durability) judgePages(root written, v *verdict) {
	for _, w := range d.done {
		in := func(list []span) bool {
			return slices.ContainsFunc(list, func(s span) bool { return s.holds(w.dev, w.start) })
		}
		if w.issue >= root.issue || !in(d.meta) || in(d.roots) {
			continue
		}
		if at, ok := d.durableAt(w); !ok || at > root.issue {
			v.exception("root on %s at %v: the page on %s at sector %d was not durable",
				root.dev, root.issue, w.dev, w.start)
		}
	}
}
