package vmtest

import (
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/blocktrace"
)

// Devices of the recorded runs below.
var (
	guestDev = blocktrace.Device{Major: 259, Minor: 9}
	fastDev  = blocktrace.Device{Major: 259, Minor: 0}
	dataDev  = blocktrace.Device{Major: 259, Minor: 1}
)

// recording builds a run, one event per microsecond.
type recording struct{ events []blocktrace.Event }

func (r *recording) add(e blocktrace.Event) {
	e.At = time.Duration(len(r.events)) * time.Microsecond
	r.events = append(r.events, e)
}

// request is issued; the function that is returned completes it.
func (r *recording) request(dev blocktrace.Device, op blocktrace.Op, fua bool, at, n uint64) func() {
	e := blocktrace.Event{Dev: dev, Op: op, FUA: fua, Sector: at, Sectors: n}
	r.add(e)
	e.Complete = true
	return func() { r.add(e) }
}

func (r *recording) write(dev blocktrace.Device, fua bool, at, n uint64) func() {
	return r.request(dev, blocktrace.Write, fua, at, n)
}

func (r *recording) flush(dev blocktrace.Device) func() {
	return r.request(dev, blocktrace.Flush, false, 0, 0)
}

// checkpoint does what one must, without the steps that skip names.
func (r *recording) checkpoint(slot uint64, skip string) {
	if skip != "data flush" {
		r.flush(dataDev)()
	}
	r.write(fastDev, false, 100, 8)()
	r.write(dataDev, skip == "data flush", 100, 8)()
	if skip != "page flush" {
		r.flush(fastDev)()
	}
	if skip != "page flush" && skip != "data flush" {
		r.flush(dataDev)()
	}
	first := r.write(fastDev, skip != "root FUA", 8+slot*8, 8)
	if skip == "order of roots" {
		second := r.write(dataDev, true, 8+slot*8, 8)
		second()
		first()
		return
	}
	first()
	r.write(dataDev, true, 8+slot*8, 8)()
}

func newDurability() *durability {
	return &durability{
		guests: []blocktrace.Device{guestDev},
		log:    span{fastDev, 1000, 2000},
		roots:  []span{{fastDev, 8, 24}, {dataDev, 8, 24}},
		meta:   []span{{fastDev, 0, 200}, {dataDev, 0, 200}},
		data:   dataDev,
		places: map[span][]uint64{
			{guestDev, 0, 1}: {1008}, {guestDev, 1, 2}: {1009}, {guestDev, 7, 8}: {1050, 1015},
		},
	}
}

// TestJudge gives the judge runs that keep the promises, and runs that break each of them.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, want string
		run        func(r *recording)
	}{
		{"FUA", "", func(r *recording) {
			guest := r.write(guestDev, false, 0, 2)
			r.write(fastDev, true, 1000, 16)()
			guest()
		}},
		{"flush", "", func(r *recording) {
			guest := r.write(guestDev, false, 0, 2)
			r.write(fastDev, false, 1000, 16)()
			r.flush(fastDev)()
			guest()
		}},
		{"acknowledged too early", "not durable in the log", func(r *recording) {
			guest := r.write(guestDev, false, 0, 2)
			end := r.write(fastDev, true, 1000, 16)
			guest()
			end()
		}},
		{"never durable", "not durable in the log", func(r *recording) {
			guest := r.write(guestDev, false, 0, 2)
			r.write(fastDev, false, 1000, 16)()
			guest()
		}},
		{"flush of the other device", "not durable in the log", func(r *recording) {
			guest := r.write(guestDev, false, 0, 2)
			r.write(fastDev, false, 1000, 16)()
			r.flush(dataDev)()
			guest()
		}},
		{"flush issued before the write's end", "not durable in the log", func(r *recording) {
			guest := r.write(guestDev, false, 0, 2)
			end := r.write(fastDev, false, 1000, 16)
			flush := r.flush(fastDev)
			end()
			flush()
			guest()
		}},
		{"a sector that is nowhere", "not durable in the log", func(r *recording) {
			guest := r.write(guestDev, false, 1, 2)
			r.write(fastDev, true, 1000, 16)()
			guest()
		}},
		{"written elsewhere only", "not durable in the log", func(r *recording) {
			guest := r.write(guestDev, false, 0, 1)
			r.write(fastDev, true, 1016, 16)()
			guest()
		}},
		{"the second of two places", "", func(r *recording) {
			guest := r.write(guestDev, false, 7, 1)
			r.write(fastDev, true, 1008, 8)()
			guest()
		}},
		{"checkpoints", "", func(r *recording) {
			r.checkpoint(1, "")
			r.checkpoint(0, "")
		}},
		{"no data flush", "no flush of the data device", func(r *recording) {
			r.checkpoint(1, "")
			r.checkpoint(0, "data flush")
		}},
		{"pages not flushed", "was not durable", func(r *recording) {
			r.checkpoint(1, "page flush")
		}},
		{"first root not durable", "the copy on 259:0 was not durable", func(r *recording) {
			r.checkpoint(1, "root FUA")
		}},
		{"roots at the same time", "the copy on 259:1 was not durable", func(r *recording) {
			r.checkpoint(1, "order of roots")
		}},
		{"an error", "a request failed", func(r *recording) {
			r.write(fastDev, true, 1000, 8)
			r.add(blocktrace.Event{
				Dev: fastDev, Op: blocktrace.Write, Sector: 1000, Sectors: 8, Complete: true, Err: -5,
			})
		}},
	} {
		var r recording
		c.run(&r)
		v := newDurability().judge(r.events)
		got := strings.Join(v.exceptions, "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: exceptions %q, want %q", c.name, got, c.want)
		}
	}
}
