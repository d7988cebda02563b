package bpf

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// follow loads both kinds of program for a test; nothing is attached.
func follow(t testing.TB, guests []Guest, backing []Backing, o RequestOptions) *Requests {
	t.Helper()
	r, err := load(t, guests, backing).Follow(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func step(t testing.TB, r *Requests, s Step) {
	t.Helper()
	if err := r.Replay(s); err != nil {
		t.Fatal(err)
	}
}

// drain returns all that is in the ring.
func drain(t testing.TB, r *Requests) (all []Outcome) {
	t.Helper()
	for {
		o, err := r.Next(time.Unix(1, 0))
		if errors.Is(err, ErrNone) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
}

func lost(t testing.TB, r *Requests) Losses {
	t.Helper()
	l, err := r.Lost()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// way is a write of one request: queued, issued and done at these times.
func way(id uint64, d Device, queued, issued, done time.Duration) []Step {
	return []Step{
		{Kind: BioQueued, Time: queued, ID: id, Device: d, Op: OpWrite, Sector: 8, Sectors: 8},
		{
			Kind: RequestIssued, Time: issued, ID: ^id, First: id, Made: issued - 1, Device: d, Op: OpWrite,
			Sector: 8, Sectors: 8,
		},
		{Kind: RequestDone, Time: done, ID: ^id},
	}
}

// TestRequestWays lets requests go each of the ways that there are.
func TestRequestWays(t *testing.T) {
	guests, backing := rig()
	a, dm := guests[0].Device, guests[3].Device // the latter has no queues
	want := Outcome{
		Queued: 10, Issued: 20, Done: 30, Device: a, Stream: FirstGuest, Op: OpWrite,
		Offset: 8 * SectorSize, Bytes: 8 * SectorSize,
	}
	r := follow(t, guests, backing, RequestOptions{Every: 1, Ring: 1 << 16})
	var own uint64 // makes the numbers of each way's requests different
	edit := func(steps []Step, f func([]Step) []Step) []Step { return f(steps) }
	changed := func(f func(*Outcome)) []Outcome {
		o := want
		f(&o)
		return []Outcome{o}
	}
	for name, x := range map[string]struct {
		steps []Step
		want  []Outcome
	}{
		"plain":       {way(1, a, 10, 20, 30), []Outcome{want}},
		"not watched": {way(1, DeviceNumber(1, 1), 10, 20, 30), nil},
		"no end":      {way(1, a, 10, 20, 30)[:2], nil},
		"no start":    {way(1, a, 10, 20, 30)[2:], nil},
		"empty": {edit(way(1, a, 10, 20, 30), func(s []Step) []Step {
			s[1].Sectors = 0
			return s
		}), nil},
		"flush": {edit(way(1, a, 10, 20, 30), func(s []Step) []Step {
			s[1].Op = 2
			return s
		}), nil},
		"discard that fails": {edit(way(1, a, 10, 20, 30), func(s []Step) []Step {
			s[1].Op, s[2].Failed = OpDiscard, true
			return s
		}), changed(func(o *Outcome) { o.Op, o.Failed = OpDiscard, true })},
		"split: queued when it was made": {
			way(1, a, 10, 20, 30)[1:], changed(func(o *Outcome) { o.Queued = 19 }),
		},
		"nothing known before": {edit(way(1, a, 10, 20, 30)[1:], func(s []Step) []Step {
			s[0].Made = 0
			return s
		}), changed(func(o *Outcome) { o.Queued = 20 })},
		"issued again": {edit(way(1, a, 10, 15, 30), func(s []Step) []Step {
			again := s[1]
			again.Time = 20
			return []Step{s[0], s[1], again, s[2]}
		}), []Outcome{want}},
		"merged, and its bio used anew": {edit(way(1, a, 5, 20, 30), func(s []Step) []Step {
			return []Step{s[0], {Kind: BioMerged, Time: 6, ID: 1, Device: a}, s[1], s[2]}
		}), changed(func(o *Outcome) { o.Queued = 19 })},
		"no queues": {[]Step{
			{Kind: BioQueued, Time: 10, ID: 1, Device: dm, Op: OpRead, Sector: 8, Sectors: 8},
			{Kind: RequestIssued, Time: 15, ID: 9, First: 1, Device: dm, Op: OpRead, Sector: 8, Sectors: 8},
			{Kind: RequestDone, Time: 20, ID: 9},
			{Kind: BioDone, Time: 30, ID: 1, Device: dm, Sector: 16},
		}, changed(func(o *Outcome) {
			o.Issued, o.Device, o.Stream, o.Op = 10, dm, guests[3].Stream, OpRead
		})},
		"of the log": {edit(way(1, backing[1].Device, 10, 20, 30), func(s []Step) []Step {
			s[1].Sector = 55
			return s
		}), changed(func(o *Outcome) {
			o.Device, o.Stream, o.Offset = backing[1].Device, Metadata, 55*SectorSize
		})},
	} {
		own += 1 << 10
		t.Run(name, func(t *testing.T) {
			for _, s := range x.steps {
				s.ID += own
				s.First += own
				step(t, r, s)
			}
			got := drain(t, r)
			if len(got) != len(x.want) || len(got) == 1 && got[0] != x.want[0] {
				t.Errorf("got  %+v\nwant %+v", got, x.want)
			}
			if l := lost(t, r); l != (Losses{}) {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestRequestsLost: what has no room is counted, whether in the ring or among those under way.
func TestRequestsLost(t *testing.T) {
	guests := volumes(1, 1<<30)
	const n = 500
	r := follow(t, guests, nil, RequestOptions{Every: 1, Ring: os.Getpagesize()})
	for id := range uint64(n) {
		for _, s := range way(id+1, guests[0].Device, 10, 20, 30) {
			step(t, r, s)
		}
	}
	got, l := len(drain(t, r)), lost(t, r)
	if got == 0 || l.Dropped == 0 || got+int(l.Dropped) != n || l.Unfollowed != 0 {
		t.Errorf("%d of %d arrived, %+v", got, n, l)
	}
	const room = 16384 // MAX_PENDING
	for id := range uint64(room + 100) {
		step(t, r, way(id+1, guests[0].Device, 10, 20, 30)[1])
	}
	if l = lost(t, r); l.Unfollowed == 0 || l.Unfollowed > 100 {
		t.Errorf("%d under way with room for %d: %+v", room+100, room, l)
	}
}

// TestRequestsSampled: about every fourth of 4000 is 1000, within 7 standard deviations.
func TestRequestsSampled(t *testing.T) {
	guests := volumes(1, 1<<30)
	r := follow(t, guests, nil, RequestOptions{Every: 4, Ring: 1 << 20})
	for id := range uint64(4000) {
		for _, s := range way(id+1, guests[0].Device, 10, 20, 30) {
			step(t, r, s)
		}
	}
	if got, l := len(drain(t, r)), lost(t, r); got < 800 || got > 1200 || l != (Losses{}) {
		t.Errorf("%d of 4000 are every fourth? %+v", got, l)
	}
}

// TestRequestsLive writes to and reads from a real block device: each request arrives, in order, with
// times that lie within those of the call.
func TestRequestsLive(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const block, blocks, n = 4096, 1024, 300
	f, dev := loopDevice(t, block*blocks)
	r := follow(t, []Guest{{Device: dev, Stream: FirstGuest}}, nil, RequestOptions{Every: 1, Ring: 1 << 20})
	if err := r.Attach(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	buf := aligned(block)
	var want []Outcome
	for range n {
		o := Outcome{
			Device: dev, Stream: FirstGuest, Op: Op(rng.Uint32N(2)), Offset: block * rng.Int64N(blocks),
			Bytes: block,
		}
		do := f.WriteAt
		if o.Op == OpRead {
			do = f.ReadAt
		}
		o.Queued = monotonic(t)
		if _, err := do(buf, o.Offset); err != nil {
			t.Fatal(err)
		}
		o.Done = monotonic(t)
		want = append(want, o)
	}
	if err := r.Detach(); err != nil {
		t.Fatal(err)
	}
	got := drain(t, r)
	if len(got) != n {
		t.Fatalf("%d of %d requests arrived", len(got), n)
	}
	for i, o := range got {
		w := want[i]
		if o.Queued < w.Queued || o.Issued < o.Queued || o.Done < o.Issued || o.Done > w.Done {
			t.Errorf("request %d: queued, issued, done at %d %d %d, within %d and %d", i, o.Queued, o.Issued,
				o.Done, w.Queued, w.Done)
		}
		w.Queued, w.Issued, w.Done = o.Queued, o.Issued, o.Done
		if o != w {
			t.Errorf("request %d:\n got %+v\nwant %+v", i, o, w)
		}
	}
	if l := lost(t, r); l != (Losses{}) {
		t.Errorf("%+v", l)
	}
}

// monotonic returns the time of the clock that the kernel's programs have.
func monotonic(t *testing.T) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
