package blend

import (
	"errors"
	"testing"
	"time"

	"unblend/bpf"
	"unblend/tools/internal/control"
)

// requests begins to follow requests; they come from replay alone.
func (h *host) requests(o RequestOptions) *Requests {
	h.t.Helper()
	r, err := prepareRequests(h.t.Context(), h, sysfs(h.sys), o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { r.Close() })
	return r
}

// request lets a request of 4 KiB take its way: issued so long after the start, queued 10 ns before that
// and done 100 ns after it.
func (h *host) request(r *Requests, d bpf.Device, op bpf.Op, at time.Duration, off int64) {
	h.t.Helper()
	at += r.zero
	for _, s := range []bpf.Step{
		{Kind: bpf.BioQueued, Time: at - 10, ID: 1},
		{Kind: bpf.RequestIssued, Time: at, ID: 2, First: 1},
		{Kind: bpf.RequestDone, Time: at + 100, ID: 2},
	} {
		s.Device, s.Op, s.Sector, s.Sectors = d, op, uint64(off/bpf.SectorSize), 8
		if err := r.kernel.Replay(s); err != nil {
			h.t.Fatal(err)
		}
	}
}

// all returns what Next has.
func (h *host) all(r *Requests) (all []control.TraceEvent) {
	h.t.Helper()
	for {
		e, err := r.Next(time.Unix(1, 0))
		if errors.Is(err, ErrNone) {
			return all
		}
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, e)
	}
}

func TestRequests(t *testing.T) {
	h := newHost(t)
	a := h.attach("a", 0)
	h.attach("b", 1)
	r := h.requests(RequestOptions{Every: 1})
	var names []string
	for _, s := range r.Streams() {
		names = append(names, s.Kind+" "+s.Name)
		if s.Name == "b" && (s.Base != mibs || s.Dev != "259:1" || s.Size != mibs) {
			t.Errorf("%+v", s)
		}
	}
	if len(names) != 4 || len(r.Streams()) != 0 { // the volumes, sda, dm-0
		t.Errorf("streams %q, and then %+v", names, r.Streams())
	}
	sda := bpf.DeviceNumber(8, 0)
	h.request(r, a, bpf.OpDiscard, 1000, 8192)
	h.request(r, sda, bpf.OpWrite, 2000, 5*mibs) // the log, on the partition
	h.request(r, bpf.DeviceNumber(1, 1), bpf.OpWrite, 2000, 0)
	want := []control.TraceEvent{
		{At: 1000, Kind: "volume", Name: "a", Op: "discard", Offset: 8192, Bytes: 4096, Queue: 10, Device: 100},
		{At: 2000, Kind: "log", Name: "sda", Op: "write", Offset: 5 * mibs, Bytes: 4096, Queue: 10, Device: 100},
	}
	got := h.all(r)
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if end, err := r.End(); err != nil || end.Events != 2 || end.Dropped+end.Lost != 0 {
		t.Errorf("%+v, %v", end, err)
	}
}

// TestRequestsFollow: a volume that loses its device still has the requests it had; one that gets it is
// another. A request of which nobody knows any more whose it was is counted as lost.
func TestRequestsFollow(t *testing.T) {
	h := newHost(t)
	a := h.attach("a", 0)
	r := h.requests(RequestOptions{Every: 1})
	r.Streams()
	poll := func() {
		t.Helper()
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.request(r, a, bpf.OpWrite, 1, 0)
	h.detach("a")
	h.attach("c", 0)
	poll()
	if s := r.Streams(); len(s) != 1 || s[0].Name != "c" {
		t.Errorf("%+v", s)
	}
	h.request(r, a, bpf.OpWrite, 2, 0)
	if got := h.all(r); len(got) != 2 || got[0].Name != "a" || got[1].Name != "c" {
		t.Errorf("%+v", got)
	}
	h.request(r, a, bpf.OpWrite, 3, 0)
	h.detach("c")
	poll()
	poll()
	if got := h.all(r); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if end, err := r.End(); err != nil || end.Lost != 1 || end.Events != 2 {
		t.Errorf("%+v, %v", end, err)
	}
}

// TestRequestsOnly: of what is named, and nothing else.
func TestRequestsOnly(t *testing.T) {
	h := newHost(t)
	a, b := h.attach("a", 0), h.attach("b", 1)
	r := h.requests(RequestOptions{Every: 1, Only: []string{"b"}})
	for i, d := range []bpf.Device{a, b, bpf.DeviceNumber(8, 0)} {
		h.request(r, d, bpf.OpWrite, time.Duration(i), 5*mibs)
	}
	if got := h.all(r); len(got) != 1 || got[0].Name != "b" {
		t.Errorf("%+v", got)
	}
}

// TestLatencyReport: rows have what came since the last report, and the parts of writes.
func TestLatencyReport(t *testing.T) {
	h := newHost(t)
	a, sda := h.attach("a", 0), bpf.DeviceNumber(8, 0)
	r := h.requests(RequestOptions{Times: true})
	report := func() control.TraceLatency {
		t.Helper()
		doc, err := r.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	h.request(r, a, bpf.OpRead, 1000, 0)
	if doc := report(); len(doc.Rows) != 1 || doc.Rows[0].Op != "read" || doc.Rows[0].Total.Mean != 110 ||
		doc.Rows[0].Batch != nil {
		t.Errorf("%+v", doc.Rows)
	}
	// The log's write begins 30 ns after the guest's and ends 20 ns before it.
	at := r.zero + 2000
	for _, s := range []bpf.Step{
		{Kind: bpf.BioQueued, Time: at, ID: 1, Device: a, Sector: 8},
		{Kind: bpf.RequestIssued, Time: at, ID: 2, First: 1, Device: a, Sector: 8},
		{Kind: bpf.RequestIssued, Time: at + 30, ID: 3, Device: sda, Sector: uint64(5 * mibs / bpf.SectorSize)},
		{Kind: bpf.RequestDone, Time: at + 80, ID: 3},
		{Kind: bpf.RequestDone, Time: at + 100, ID: 2},
	} {
		s.Op, s.Sectors = bpf.OpWrite, 8
		if err := r.kernel.Replay(s); err != nil {
			t.Fatal(err)
		}
	}
	h.detach("a")
	doc := report()
	if len(doc.Rows) != 2 || doc.Rows[1].Kind != "log" || doc.Rows[1].Device.Mean != 50 {
		t.Fatalf("%+v", doc.Rows)
	}
	w := doc.Rows[0]
	if w.Name != "a" || w.Op != "write" || w.Requests != 1 || w.Split != 1 || w.Batch.Mean != 30 ||
		w.Log.Mean != 50 || w.Reply.Mean != 20 || w.Device.Mean != 100 || len(w.Device.Histogram) != 7 {
		t.Errorf("%+v", w)
	}
	if doc = report(); len(doc.Rows) != 0 || len(r.tracer.volumes.known) != 0 {
		t.Errorf("%+v", doc.Rows)
	}
}
