package daemon

import (
	"context"
	"errors"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// scrubLook is how often the daemon looks for what a scrub has found, for its journal.
const scrubLook = time.Second

// StartScrub begins to verify all that the pool holds, in the background.
func (d *daemon) StartScrub(ctx context.Context, r control.ScrubRequest) (control.ScrubStatus, error) {
	err := d.shards.Control(ctx, &placement.Control{Op: placement.StartScrub, Rate: r.Rate})
	if errors.Is(err, placement.ErrBusy) {
		err = &control.Error{
			Code: control.CodeFailed, Message: "a scrub is under way already", Err: err,
			Next: "look: unblend scrub --status, or end it: unblend scrub --stop",
		}
	}
	if err != nil {
		return control.ScrubStatus{}, err
	}
	st, err := d.shards.Status()
	if err != nil {
		return control.ScrubStatus{}, err
	}
	go d.noteScrub(st.Scrub.Pass)
	return describeScrub(st), nil
}

// StopScrub ends the scrub under way.
func (d *daemon) StopScrub(ctx context.Context) (control.ScrubStatus, error) {
	err := d.shards.Control(ctx, &placement.Control{Op: placement.StopScrub})
	if errors.Is(err, placement.ErrNoScrub) {
		err = &control.Error{
			Code: control.CodeFailed, Message: err.Error(), Next: "begin one: unblend scrub", Err: err,
		}
	}
	if err != nil {
		return control.ScrubStatus{}, err
	}
	return d.Scrub(ctx)
}

// Scrub says how the scrub stands.
func (d *daemon) Scrub(context.Context) (control.ScrubStatus, error) {
	st, err := d.shards.Status()
	return describeScrub(st), err
}

// noteScrub logs what a scrub finds, and how it ends. It ends with the scrub, or the loop.
func (d *daemon) noteScrub(pass uint32) {
	d.log.Info("scrub began")
	tick := time.NewTicker(scrubLook)
	defer tick.Stop()
	for known := 0; ; {
		st, err := d.shards.Status()
		if err != nil || st.Scrub.Pass != pass {
			return
		}
		s := &st.Scrub
		for ; known < len(s.Found); known++ {
			d.log.Error("scrub found damage", "err", s.Found[known].Error())
		}
		if !s.Running {
			d.log.Info("scrub ended", "err", s.Err, "read", units.FormatSize(int64(s.Done)),
				"bad blocks", s.BadBlocks, "bad copies", s.BadCopies, "repaired", s.Repaired)
			return
		}
		select {
		case <-tick.C:
		case <-d.shards.Done():
			return
		}
	}
}

// describeScrub turns what the pool says of its scrub into what the socket does.
func describeScrub(st placement.Status) control.ScrubStatus {
	s := &st.Scrub
	c := control.ScrubStatus{
		State: control.ScrubDone, Rate: s.Rate, Done: int64(s.Done), Total: int64(s.Total),
		Blocks: s.Blocks, Pages: s.Pages, BadBlocks: s.BadBlocks, BadPages: s.BadPages,
		BadCopies: s.BadCopies, Repaired: s.Repaired, Found: []control.ScrubFound{},
	}
	switch {
	case s.Pass == 0:
		c.State = control.ScrubNone
		return c
	case s.Running:
		c.State = control.ScrubRunning
	case s.Err != nil:
		c.State, c.Reason = control.ScrubStopped, units.Printable(s.Err.Error())
	}
	if c.Began = control.UTC(s.Began); !s.Running {
		c.Ended = control.UTC(s.Ended)
	}
	for _, f := range s.Found {
		dev := log.Capacity
		if f.Device == log.Fast.String() {
			dev = log.Fast
		}
		c.Found = append(c.Found, control.ScrubFound{
			Volume: f.Volume, Offset: int64(f.Block) * log.BlockSize, Role: role(dev, st.OneDevice),
			At: int64(f.Address) * log.BlockSize, Message: units.Printable(f.Err.Error()),
		})
	}
	return c
}
