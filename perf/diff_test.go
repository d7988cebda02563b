package perf

import (
	"slices"
	"testing"
	"time"

	"unblend/placement"
)

// TestDiffInPieces compares two snapshots of a volume of 1 TiB with 40,000 random writes between them,
// in the log and after destage: no turn of the loop takes long. The figures are of this machine's time;
// whatever else it does makes the longest longer.
func TestDiffInPieces(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute on a busy machine")
	}
	const writes = 40_000
	s := flashPool(t, 1<<30, placement.Options{Low: 900, High: 950, Idle: 1 << 60})
	vols, err := s.Create(1, 1<<40)
	must(t, err)
	must(t, s.snapshot("a", "v0"))
	must(t, s.Load(vols, placement.Write, 32, writes))
	must(t, s.snapshot("b", "v0"))
	for _, where := range []string{"in the log", "in the maps"} {
		reads := s.Pool.Status().Stats.PageReads
		d := &placement.Diff{From: "v0@a", To: "v0@b", Extents: make([]placement.DiffExtent, 0, 4096)}
		var turns []time.Duration
		extents, pages, begin := 0, 0, time.Now()
		for ; pages == 0 || d.Next < d.Size; pages++ {
			d.Off = d.Next
			for s.Pool.Diff(d); s.Pool.NextDiff() == nil; {
				at := time.Now()
				s.Turn()
				turns = append(turns, time.Since(at))
			}
			must(t, d.Err)
			extents += len(d.Extents)
		}
		slices.Sort(turns)
		t.Logf("%s: %d extents in %d pages, %v, %d metadata pages read; %d turns: median %v, 99 %% below %v, "+
			"longest %v", where, extents, pages, time.Since(begin).Round(time.Millisecond),
			s.Pool.Status().Stats.PageReads-reads, len(turns), turns[len(turns)/2],
			turns[len(turns)*99/100], turns[len(turns)-1])
		if extents < writes*9/10 || extents > writes {
			t.Errorf("%s: %d extents", where, extents)
		}
		must(t, s.Control(&placement.Control{Op: placement.Drain}))
	}
}
