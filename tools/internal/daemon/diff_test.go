package daemon

import (
	"context"
	"strings"
	"testing"

	"unblend/placement"
	"unblend/tools/internal/control"
)

// TestDiff asks a daemon what differs between what it has, and what cannot be compared.
func TestDiff(t *testing.T) {
	d, ctx := &daemon{shards: emptyShard(t)}, context.Background()
	for _, c := range []placement.Control{
		{Op: placement.CreateVolume, Name: "a", Size: 64 << 20},
		{Op: placement.CreateVolume, Name: "b", Size: 64 << 20},
		{Op: placement.SnapshotVolume, Names: []string{"a"}, To: "s"},
		{Op: placement.ResizeVolume, Name: "a", Size: 128 << 20},
	} {
		if err := d.shards.Control(ctx, &c); err != nil {
			t.Fatal(err)
		}
	}
	page, err := d.Diff(ctx, control.DiffRequest{From: "a@s", To: "a"})
	if err != nil || page.FromSize != 64<<20 || page.Size != 128<<20 || page.Next != page.Size ||
		len(page.Extents) != 0 {
		t.Errorf("a snapshot and its volume: %+v, %v", page, err)
	}
	again := control.DiffRequest{From: "a@s", To: "a", FromID: page.FromID, ToID: page.ToID, Offset: 64 << 20}
	err = d.shards.Control(ctx, &placement.Control{Op: placement.RenameVolume, Name: "a", To: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if page, err = d.Diff(ctx, again); err != nil || page.Next != 128<<20 {
		t.Errorf("a later page after a renaming: %+v, %v", page, err)
	}
	_, err = d.Diff(ctx, control.DiffRequest{From: "c@s", To: "b"})
	if e := control.ErrorOf(err); e == nil || e.Code != control.CodeBadRequest ||
		!strings.Contains(e.Message, `snapshot "c@s" and volume "b"`) ||
		!strings.Contains(e.Next, "unblend diff b") {
		t.Errorf("what has nothing in common: %v", err)
	}
	_, err = d.Diff(ctx, control.DiffRequest{From: "a@s", To: "c"})
	if e := control.ErrorOf(err); e == nil || e.Code != control.CodeNotFound {
		t.Errorf("what is not there: %v", err)
	}
}
