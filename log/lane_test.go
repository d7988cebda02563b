package log

import (
	"errors"
	"syscall"
	"testing"
)

func TestItemsComeBack(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	r.push(r.newItem(0, ItemWrite, 2))
	r.push(r.newItem(0, ItemZero, 900))
	r.push(r.newItem(0, ItemMark, 0))
	r.push(r.newItem(0, ItemWrite, 5, 0, 2, 4))
	r.push(r.newItem(0, ItemWrite, 1, 0))
	r.settle()
	r.wantOrder(ids(0, 5)...)
	if c := r.ring.Counters(); c.Records != 1 || c.PayloadBlocks != 4 || c.Items != 5 {
		t.Fatalf("counters %+v", c)
	}
	r.restart(keepNone)
	r.wantOrder(ids(0, 5)...)
	r.restart(keepNone)
	r.wantOrder(ids(0, 5)...)
}

func TestWhatArrivesMeanwhileSharesARecord(t *testing.T) {
	geo := smallGeometry
	geo.SegmentBlocks = 16
	r := newRig(t, geo, Settings{InFlight: 1})
	r.write(1)
	for range 4 {
		r.write(1)
	}
	if n := len(r.d.pending); n != 1 {
		t.Fatalf("%d writes under way, want 1", n)
	}
	r.settle()
	if c := r.ring.Counters(); c.Records != 2 || c.Writes != 2 {
		t.Fatalf("counters %+v", c)
	}
}

// With Split a lane keeps as many writes under way as it may, of like size, so that a hard disk always
// has the next one.
func TestSplitKeepsWritesUnderWay(t *testing.T) {
	geo := smallGeometry
	geo.SegmentBlocks = 32
	r := newRig(t, geo, Settings{InFlight: 2, Split: true})
	for range 6 {
		r.push(r.newItem(0, ItemWrite, 1))
	}
	r.pump()
	if n := len(r.d.pending); n != 2 {
		t.Fatalf("%d writes under way, want 2", n)
	}
	for range 2 {
		r.push(r.newItem(0, ItemWrite, 1))
	}
	r.d.end(r.ops, 0, 0)
	if len(r.order) != 3 {
		t.Errorf("the first write had %d of 6 items, want 3", len(r.order))
	}
	r.settle()
	if c := r.ring.Counters(); c.Records != 3 || c.Items != 8 {
		t.Errorf("counters %+v", c)
	}
}

func TestPublishedInOrder(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	first, second := r.write(1), r.write(1)
	if len(r.d.pending) != 2 {
		t.Fatal("two writes should be under way")
	}
	r.d.end(r.ops, 1, 0)
	if len(r.order) != 0 || r.ring.MinUndurable() != 1 {
		t.Fatalf("published %v behind a write under way", r.order)
	}
	r.d.end(r.ops, 0, 0)
	r.wantOrder(first.id, second.id)
	if r.ring.MinUndurable() != 3 || r.ring.LastPublished() != 2 {
		t.Fatalf("min undurable %d", r.ring.MinUndurable())
	}
}

func TestWritesAreSequentialAndDurable(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	for range 12 {
		r.write(3)
		r.settle()
	}
	breaks, end := 0, r.geo.AreaOff
	for _, w := range r.d.log {
		if !w.fua && !isSummary(w.data) {
			t.Fatalf("a write of %d bytes without FUA", len(w.data))
		}
		if w.off != end {
			breaks++
		}
		end = w.off + int64(len(w.data))
	}
	// A full segment leaves a gap, and its summary is written before the next segment begins.
	if segments := int(r.ring.Counters().Segments); breaks > 2*segments {
		t.Fatalf("%d breaks in %d segments", breaks, segments)
	}
}

func TestStallsUntilFreed(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	for !r.ring.Lane(0).Stalled() {
		r.write(3)
		r.settle()
	}
	if r.ring.FreeSegments() != 0 {
		t.Fatalf("stalled with %d free segments", r.ring.FreeSegments())
	}
	n := len(r.order)
	oldest := r.ring.Oldest()
	s := r.ring.Segment(oldest)
	if !s.Closed() || s.FirstSeq != 1 {
		t.Fatalf("oldest segment %+v", s)
	}
	r.ring.FreeBelow(s.LastSeq)
	if r.settle(); len(r.order) != n {
		t.Fatal("freed a segment whose last record is needed")
	}
	if !r.ring.Reclaimable(s.LastSeq + 1) {
		t.Fatal("the oldest segment should be reclaimable")
	}
	r.par.ReplayStart = s.LastSeq + 1
	r.ring.FreeBelow(s.LastSeq + 1)
	r.settle()
	if len(r.order) != n+1 || r.ring.Lane(0).Stalled() {
		t.Fatal("the waiting write should go on")
	}
	r.restart(keepNone)
}

func TestFullLogSurvivesRestarts(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	for round := range 4 {
		for !r.ring.Lane(0).Stalled() {
			r.write(3)
			r.settle()
		}
		r.restart(keepNone)
		r.restart(keepNone)
		r.write(1)
		r.settle()
		if !r.ring.Lane(0).Stalled() && round == 0 {
			t.Fatal("a full log accepted a record without a segment in reserve")
		}
		s := r.ring.Segment(r.ring.Oldest())
		r.par.ReplayStart = s.LastSeq + 1
		r.ring.FreeBelow(r.par.ReplayStart)
	}
}

func TestSealWritesASummaryAndFrees(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	r.ring.Lane(0).Seal()
	r.settle()
	r.write(1)
	r.ring.Lane(0).Seal()
	r.settle()
	i := r.ring.Oldest()
	if s := r.ring.Segment(i); !s.Closed() || s.LastSeq != 1 || r.ring.Counters().Summaries != 1 {
		t.Fatalf("sealed segment %+v, %+v", s, r.ring.Counters())
	}
	r.par.ReplayStart = 2
	r.ring.FreeBelow(2)
	if r.ring.Oldest() != -1 || r.ring.Segment(i).State != SegmentFree {
		t.Fatal("the sealed segment should be free")
	}
	r.write(1)
	r.settle()
	r.restart(keepNone)
	r.wantOrder(1)
}

func TestSegmentIsNotFreeWhileItsSummaryIsWritten(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	r.write(1)
	r.settle()
	r.ring.Lane(0).Seal()
	r.pump()
	i := r.ring.Oldest()
	r.ring.FreeBelow(2)
	if r.ring.Segment(i).State != SegmentSealed {
		t.Fatal("freed while its summary is under way")
	}
	r.d.end(r.ops, 0, 0)
	if r.ring.Segment(i).State != SegmentFree {
		t.Fatal("should be free once the summary is written")
	}
}

func TestFailedWriteIsAppendedAgain(t *testing.T) {
	for _, fail := range []int{0, 1} {
		r := newRig(t, smallGeometry, Settings{})
		r.write(1)
		r.settle()
		r.write(1)
		r.write(1)
		r.d.end(r.ops, fail, -int32(syscall.EIO))
		r.settle()
		r.wantOrder(0, 1, 2)
		if c := r.ring.Counters(); c.FailedWrites != 1 || c.Segments != 2 {
			t.Fatalf("counters %+v", c)
		}
		if r.ring.Failed() != nil {
			t.Fatal(r.ring.Failed())
		}
		r.restart(keepNone)
		r.wantOrder(0, 1, 2)
	}
}

func TestFailedOpeningIsRepeatedElsewhere(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	for range 3 {
		r.write(1)
		r.d.end(r.ops, 0, -int32(syscall.EIO))
		r.pump()
	}
	r.settle()
	r.wantOrder(0, 1, 2)
	r.restart(keepNone)
	r.wantOrder(0, 1, 2)
}

func TestLaneDiesOfFailures(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{Retries: 2})
	r.write(1)
	r.write(1)
	for range 3 {
		for len(r.d.pending) > 0 {
			r.d.end(r.ops, 0, -int32(syscall.EIO))
		}
		r.pump()
	}
	if !errors.Is(r.ring.Failed(), ErrLaneDead) || !errors.Is(r.ring.Failed(), syscall.EIO) {
		t.Fatalf("failed: %v", r.ring.Failed())
	}
	if r.failed != 2 || !r.ring.Lane(0).Idle() {
		t.Fatalf("%d items failed, want 2", r.failed)
	}
	r.write(1)
	if r.failed != 3 {
		t.Fatal("a dead lane must fail what is pushed")
	}
}

func TestFlushMode(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{Durability: DurableFlush})
	r.write(1)
	r.d.end(r.ops, 0, 0)
	r.wantOrder(0)
	if r.d.log[0].fua || r.ring.MinUndurable() != 1 || r.ring.DurableTo(1) {
		t.Fatal("published, and not durable")
	}
	r.pump()
	r.write(1)
	r.d.end(r.ops, 1, 0)
	r.d.end(r.ops, 0, 0)
	if r.ring.MinUndurable() != 2 || !r.ring.DurableTo(1) || r.ring.DurableTo(2) {
		t.Fatalf("min undurable %d", r.ring.MinUndurable())
	}
	r.settle()
	if r.ring.MinUndurable() != 3 || !r.ring.DurableTo(2) {
		t.Fatalf("min undurable %d", r.ring.MinUndurable())
	}
	r.write(1)
	r.settle()
	r.pushFlush(0)
	r.settle()
	if r.items[2].state != certain {
		t.Fatal("a flush item ends when what was published is durable")
	}
	r.restart(keepNone)
	r.wantOrder(0, 1, 2)
}

func TestFailedFlushKillsTheLane(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{Durability: DurableFlush})
	r.write(1)
	r.settle()
	r.pushFlush(0)
	r.pump()
	r.d.end(r.ops, 0, -int32(syscall.EREMOTEIO))
	r.write(1)
	if r.failed != 2 || !errors.Is(r.ring.Lane(0).Err(), ErrLaneDead) {
		t.Fatalf("%d failed, %v", r.failed, r.ring.Lane(0).Err())
	}
	if r.ring.DurableTo(1) {
		t.Fatal("nothing is durable after a failed flush")
	}
}

func TestFlushModeFlushesBeforeTheNextSegment(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{Durability: DurableFlush})
	for range 10 {
		r.write(3)
		r.settle()
	}
	if c := r.ring.Counters(); c.Flushes != c.Segments-1 {
		t.Fatalf("counters %+v", c)
	}
	r.restart(keepNone)
	if n := len(r.order); n < 8 {
		t.Fatalf("%d items of closed segments found", n)
	}
}
