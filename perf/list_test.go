package perf

import (
	"slices"
	"testing"
	"time"

	"unblend/placement"
)

// TestListsInPieces lists 50,000 clones as the daemon does: no turn of the loop takes long. The figures
// are of this machine's time; whatever else it does makes the longest longer.
func TestListsInPieces(t *testing.T) {
	const clones = 50_000
	s := goldenPool(t, 1000)
	must(t, s.Control(&placement.Control{
		Op: placement.CloneVolume, Name: "v0@golden", To: "desk-", Width: 5, Count: clones,
	}))
	begin := time.Now()
	whole := len(s.Pool.Volumes(false))
	atOnce := time.Since(begin)
	var pages []time.Duration
	seen := 0
	page := make([]placement.VolumeInfo, 0, 256)
	for next := uint32(0); ; {
		begin = time.Now()
		page, next = s.Pool.VolumesAfter(next, false, page[:0])
		pages = append(pages, time.Since(begin))
		if seen += len(page); next == 0 {
			break
		}
	}
	slices.Sort(pages)
	t.Logf("%d volumes at once: %v; in %d pages: median %v, 99 %% below %v, longest %v", whole, atOnce,
		len(pages), pages[len(pages)/2], pages[len(pages)*99/100], pages[len(pages)-1])
	if seen != clones+2 || whole != seen || len(pages) != (clones+2+255)/256 {
		t.Errorf("%d volumes in %d pages, %d at once; there are %d", seen, len(pages), whole, clones+2)
	}
}
