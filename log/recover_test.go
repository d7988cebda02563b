package log

import (
	"slices"
	"testing"
)

func TestEmptyLog(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	if r.rep.Lanes != 0 || r.ring.NextSeq() != 1 || r.ring.Oldest() != -1 {
		t.Fatalf("%+v", r.rep)
	}
	r.par.ReplayStart = 500
	r.restart(keepAll)
	if r.ring.NextSeq() != 500 {
		t.Fatalf("next sequence number %d", r.ring.NextSeq())
	}
}

func TestLanesAreMergedBySequence(t *testing.T) {
	geo := smallGeometry
	geo.Lanes = 4
	r := newRig(t, geo, Settings{})
	for i := range 12 {
		r.push(r.newItem((i*i+i/3)%4, ItemWrite, 2))
		r.settle()
	}
	r.restart(keepNone)
	r.wantOrder(ids(0, 12)...)
	if r.rep.Lanes != 4 || r.rep.Records != 12 {
		t.Fatalf("%+v", r.rep)
	}
}

func TestReplayStartsInTheMiddle(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	for range 9 {
		r.write(1)
		r.settle()
	}
	r.par.ReplayStart = 6
	r.restart(keepNone)
	r.wantOrder(ids(5, 9)...)
	if s := r.ring.Segment(r.ring.Oldest()); s.FirstSeq > 6 || s.LastSeq < 6 {
		t.Fatalf("oldest segment %+v", s)
	}
}

func TestSummariesAreUsed(t *testing.T) {
	r := threeSegments(t, false)
	r.restart(keepNone)
	if r.rep.Summaries != 2 || r.rep.Segments != 3 || r.rep.Records != 6 {
		t.Fatalf("%+v", r.rep)
	}
	var last []uint64
	for i := r.ring.Oldest(); i >= 0; i = r.ring.Newer(i) {
		last = append(last, r.ring.Segment(i).LastSeq)
	}
	if !slices.Equal(last, []uint64{2, 4, 6}) {
		t.Fatalf("segments end at %v", last)
	}
}

// A lane that is no longer configured is replayed, cut off, and gone once its records are.
func TestFewerLanes(t *testing.T) {
	geo := smallGeometry
	geo.Lanes = 3
	r := newRig(t, geo, Settings{})
	for i := range 6 {
		r.push(r.newItem(i%3, ItemWrite, 1))
		r.settle()
	}
	r.geo.Lanes = 1
	for range 2 {
		r.restart(keepNone)
		r.wantOrder(ids(0, 6)...)
	}
	r.write(1)
	r.settle()
	r.par.ReplayStart = 7
	r.ring.FreeBelow(7)
	if free := r.ring.FreeSegments(); free != int(geo.Segments)-2 {
		t.Fatalf("%d free segments", free)
	}
	r.restart(keepNone)
	r.wantOrder(6)
	r.geo.Lanes = 3
	r.restart(keepNone)
	for i := range 3 {
		r.push(r.newItem(i, ItemWrite, 1))
		r.settle()
	}
	r.restart(keepNone)
	r.wantOrder(6, 7, 8, 9)
}

// An idle restart leaves nothing behind, however often it is repeated.
func TestIdleRestarts(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	r.write(1)
	r.settle()
	r.restart(keepNone)
	free := r.ring.FreeSegments()
	for range 20 {
		r.restart(keepNone)
		if r.ring.FreeSegments() != free {
			t.Fatalf("%d free segments, first %d", r.ring.FreeSegments(), free)
		}
	}
	r.wantOrder(0)
}

func TestCutThatFailsIsAnError(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	r.write(1)
	r.settle()
	r.d.crash(keepNone)
	if err := r.recover(); err != nil {
		t.Fatal(err)
	}
	r.d.failing = true
	if r.ring.Cut(r.d, r.set.Random) == nil {
		t.Fatal("cut on a device that fails")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("started without a cut")
		}
	}()
	r.ring.Start(NewOps(1), r.set, r)
}

func TestPrefill(t *testing.T) {
	r := threeSegments(t, false)
	var calls []int64
	err := Prefill(r.d, r.geo, func(done, total int64) {
		if total != r.geo.Bytes() {
			t.Fatalf("total %d", total)
		}
		calls = append(calls, done)
	})
	if err != nil || calls[len(calls)-1] != r.geo.Bytes() || !slices.IsSorted(calls) {
		t.Fatalf("%v, %v", err, calls)
	}
	for i, b := range r.d.stable {
		off := int64(i)
		inside := off >= r.geo.AreaOff && off < r.geo.AreaOff+r.geo.Bytes()
		if inside && b != 0 || !inside && b != byte(i*7) {
			t.Fatalf("byte %d is %#x", i, b)
		}
	}
}
