package shard

import (
	"context"
	"fmt"
	"testing"

	"unblend/placement"
)

// A volume of which a snapshot is taken while a list is under way, which gives it another node, is in
// the list, and the snapshot, which nobody asked for, is not.
func TestListDuringSnapshot(t *testing.T) {
	s, stop := start(t, newPool(t))
	defer stop()
	ctx := context.Background()
	for i := range 300 {
		c := placement.Control{
			Op: placement.CreateVolume, Name: fmt.Sprintf("v%03d", i), Size: 1 << 30, Device: -1,
		}
		if err := s.Control(ctx, &c); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	first := true
	want := func(v placement.VolumeInfo) bool { return !v.Snapshot }
	err := s.EachByName(false, want, func(v placement.VolumeInfo) error {
		if first {
			first = false
			c := placement.Control{
				Op: placement.SnapshotVolume, Names: []string{"v290"}, To: "monday",
			}
			if err := s.Control(ctx, &c); err != nil {
				t.Fatal(err)
			}
		}
		seen[v.Name] = true
		return nil
	})
	if err != nil || len(seen) != 300 || !seen["v290"] || seen["v290@monday"] {
		t.Errorf("%v: %d seen, v290 %v, v290@monday %v", err, len(seen), seen["v290"],
			seen["v290@monday"])
	}
}
