package daemon

import (
	"context"
	"errors"

	"unblend/placement"
	"unblend/tools/internal/control"
)

// diffExtents is how many extents a page has at most.
const diffExtents = 4096

// Diff returns one page of what differs between two volumes or snapshots. Nothing is kept between
// pages: a client that goes leaves nothing behind.
func (d *daemon) Diff(ctx context.Context, r control.DiffRequest) (control.DiffPage, error) {
	p := &placement.Diff{
		From: r.From, To: r.To, FromID: r.FromID, ToID: r.ToID, Off: r.Offset,
		Extents: make([]placement.DiffExtent, 0, diffExtents),
	}
	if err := d.shards.Diff(ctx, p); err != nil {
		if e := control.ErrorOf(err); errors.Is(err, placement.ErrUnrelated) {
			e.Next = "for all that the second has: unblend diff " + r.To
			err = e
		}
		return control.DiffPage{}, err
	}
	page := control.DiffPage{
		FromID: p.FromID, ToID: p.ToID, FromSize: p.FromSize, Size: p.Size, Next: p.Next,
	}
	for _, e := range p.Extents {
		kind := control.DiffData
		if e.Zero {
			kind = control.DiffZero
		}
		page.Extents = append(page.Extents, control.DiffExtent{Offset: e.Off, Length: e.Len, Type: kind})
	}
	return page, nil
}
