package daemon

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"unblend/placement"
	"unblend/tools/internal/control"
)

func TestLayout(t *testing.T) {
	d := &daemon{shards: emptyShard(t)}
	ctx := context.Background()
	err := d.shards.Control(ctx, &placement.Control{
		Op: placement.CreateVolume, Name: "v", Size: 1 << 30, QueueDepth: 1, Device: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := d.Layout(ctx, control.LayoutRequest{Name: "v", Picture: true})
	want := control.Layout{Name: "v", Size: 1 << 30, Lengths: []control.LayoutLength{}}
	if err != nil || !reflect.DeepEqual(doc, want) {
		t.Errorf("an empty volume: %+v, %v", doc, err)
	}
	if _, err := d.Layout(ctx, control.LayoutRequest{Name: "w"}); !errors.Is(err, placement.ErrNoVolume) {
		t.Errorf("no volume: %v", err)
	}
}

func TestDescribeLayout(t *testing.T) {
	l := placement.VolumeLayout{Blocks: 9, Home: 8, Shared: 2, Lost: 1, Runs: 2, First: 10, Last: 19}
	l.Lengths[0] = placement.RunClass{Runs: 1, Blocks: 1}
	l.Lengths[3] = placement.RunClass{Runs: 1, Blocks: 8}
	want := control.Layout{
		Mapped: 9 << 12, Home: 8 << 12, Shared: 2 << 12, Lost: 1 << 12, Runs: 2, MeanRun: 9 << 11,
		First: 10 << 12, Last: 20 << 12,
		Lengths: []control.LayoutLength{
			{Length: 1 << 12, Runs: 1, Bytes: 1 << 12}, {Length: 8 << 12, Runs: 1, Bytes: 8 << 12},
		},
	}
	if got := describeLayout(&l); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	pic := describePicture(&placement.Picture{Width: 3, Height: 2, Cells: []uint32{0, 1, 0, 0, 0, 2}})
	cells := []control.LayoutCell{{X: 1, Y: 0, Bytes: 1 << 12}, {X: 2, Y: 1, Bytes: 2 << 12}}
	if !reflect.DeepEqual(pic.Cells, cells) {
		t.Errorf("%+v, want %+v", pic.Cells, cells)
	}
}
