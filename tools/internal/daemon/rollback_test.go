package daemon

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/ublk"
)

// TestRollbackStaysAttached rolls a volume back that cannot have its device again at once: in the
// catalogue it is attached all the time, so that the next daemon attaches it.
func TestRollbackStaysAttached(t *testing.T) {
	if c, err := ublk.OpenControl(); err == nil {
		t.Skip("here it would get its device", c.Close())
	}
	d := &daemon{
		shards: emptyShard(t), log: slog.Default(), cfg: control.ServeConfig{LinkDir: t.TempDir()},
		served: map[string]*served{}, numbers: map[int]string{4: "a"},
	}
	ctx := context.Background()
	for _, c := range []placement.Control{
		{Op: placement.CreateVolume, Name: "a", Size: 64 << 20, QueueDepth: 8},
		{Op: placement.SnapshotVolume, Names: []string{"a"}, To: "s"},
		{Op: placement.AttachVolume, Name: "a", Device: 4},
	} {
		if err := d.shards.Control(ctx, &c); err != nil {
			t.Fatal(err)
		}
	}
	before, err := d.shards.Info("a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Rollback(ctx, control.RollbackRequest{Name: "a@s"})
	if err == nil || !strings.Contains(err.Error(), "is rolled back, but has no device any more") {
		t.Errorf("without a driver: %v", err)
	}
	v, err := d.shards.Info("a")
	if err != nil || v.ID == before.ID || !v.Attached || v.Device != 4 {
		t.Errorf("before %+v, now %+v, %v", before, v, err)
	}
}
