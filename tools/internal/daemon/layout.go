package daemon

import (
	"context"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
)

// The size of a picture, in cells.
const (
	pictureWidth  = 320
	pictureHeight = 200
)

// Layout says how a volume or snapshot lies on the capacity device. The map is walked in many small
// operations. A picture takes a second walk: only the first tells which part of the device it shows.
func (d *daemon) Layout(ctx context.Context, r control.LayoutRequest) (control.Layout, error) {
	v, err := d.shards.Info(r.Name)
	if err != nil {
		return control.Layout{}, err
	}
	l, err := d.walkLayout(ctx, r.Name, nil)
	if err != nil {
		return control.Layout{}, err
	}
	doc := describeLayout(l)
	doc.Name, doc.Size, doc.InLog = r.Name, v.Size, v.Dirty
	if r.Picture && l.Blocks > 0 {
		pic := &placement.Picture{
			Width: pictureWidth, Height: pictureHeight, From: l.First, To: l.Last,
			Cells: make([]uint32, pictureWidth*pictureHeight),
		}
		if _, err := d.walkLayout(ctx, r.Name, pic); err != nil {
			return control.Layout{}, err
		}
		doc.Picture = describePicture(pic)
	}
	return doc, nil
}

// walkLayout walks a map to its end.
func (d *daemon) walkLayout(ctx context.Context, name string, pic *placement.Picture) (
	*placement.VolumeLayout, error,
) {
	l := &placement.VolumeLayout{Picture: pic}
	for !l.Done {
		err := d.shards.Control(ctx, &placement.Control{
			Op: placement.LayoutVolume, Name: name, Layout: l,
		})
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

func describeLayout(l *placement.VolumeLayout) control.Layout {
	doc := control.Layout{
		Mapped: int64(l.Blocks) * log.BlockSize, Home: int64(l.Home) * log.BlockSize,
		Shared: int64(l.Shared) * log.BlockSize, Lost: int64(l.Lost) * log.BlockSize,
		Runs: l.Runs, MeanRun: l.MeanRun(), Lengths: []control.LayoutLength{},
	}
	if l.Blocks > 0 {
		doc.First, doc.Last = int64(l.First)*log.BlockSize, int64(l.Last+1)*log.BlockSize
	}
	for i, c := range l.Lengths {
		if c.Runs > 0 {
			doc.Lengths = append(doc.Lengths, control.LayoutLength{
				Length: log.BlockSize << i, Runs: c.Runs, Bytes: int64(c.Blocks) * log.BlockSize,
			})
		}
	}
	return doc
}

func describePicture(pic *placement.Picture) *control.LayoutPicture {
	p := &control.LayoutPicture{
		Width: pic.Width, Height: pic.Height, Cells: []control.LayoutCell{},
	}
	for i, n := range pic.Cells {
		if n > 0 {
			p.Cells = append(p.Cells, control.LayoutCell{
				X: i % pic.Width, Y: i / pic.Width, Bytes: int64(n) * log.BlockSize,
			})
		}
	}
	return p
}
