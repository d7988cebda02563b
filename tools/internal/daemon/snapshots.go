package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"unblend/placement"
	"unblend/tools/internal/control"
)

// verbRollback is the verb that does without --force.
const verbRollback = "rollback"

// writable refuses what changes the pool when that accepts no writes, before devices are touched.
func (d *daemon) writable() error {
	st, err := d.shards.Status()
	if err == nil && st.ReadOnly != nil {
		err = fmt.Errorf("%w: %w", placement.ErrReadOnly, st.ReadOnly)
	}
	return err
}

// Snapshot freezes volumes as they are at one moment. Their devices go on working.
func (d *daemon) Snapshot(ctx context.Context, r control.SnapshotRequest) ([]control.Volume, error) {
	unlock, err := d.lock(ctx, r.Volumes...)
	if err != nil {
		return nil, err
	}
	defer unlock()
	err = d.shards.Control(ctx, &placement.Control{
		Op: placement.SnapshotVolume, Names: r.Volumes, To: r.Name, Time: time.Now().Unix(),
	})
	if err != nil {
		return nil, err
	}
	made := make([]control.Volume, len(r.Volumes))
	for i, v := range r.Volumes {
		if made[i], err = d.volume(v + "@" + r.Name); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// Clone makes volumes that begin as a snapshot is, without devices unless one is asked for.
func (d *daemon) Clone(ctx context.Context, r control.CloneRequest) (control.Volume, error) {
	if r.Attach {
		or := fmt.Sprintf("unblend clone %s %s, without --attach", r.Source, r.Name)
		if err := d.needDriver(r.Name, or); err != nil {
			return control.Volume{}, err
		}
	}
	unlock, err := d.lock(ctx, r.Source, r.CloneName(0))
	if err != nil {
		return control.Volume{}, err
	}
	defer unlock()
	err = d.shards.Control(ctx, &placement.Control{
		Op: placement.CloneVolume, Name: r.Source, To: r.Name, Count: uint32(r.Count),
		First: uint32(r.First), Width: uint8(r.Width), QueueDepth: r.QueueDepth, Device: -1,
		Time: time.Now().Unix(),
	})
	if err != nil {
		return control.Volume{}, err
	}
	if r.Attach {
		if err := d.attachNamed(ctx, r.Name, 0, false); err != nil {
			return control.Volume{}, errors.Join(err, d.undo(placement.RemoveVolume, r.Name))
		}
	}
	return d.volume(r.CloneName(0))
}

// Rollback makes a volume what a snapshot of it is. What has begun is ended even if the client goes:
// nobody else would attach the volume again. Should the daemon end in between, the next one does: in the
// catalogue the volume stays attached.
func (d *daemon) Rollback(ctx context.Context, r control.RollbackRequest) (control.Volume, error) {
	if err := d.writable(); err != nil {
		return control.Volume{}, err
	}
	unlock, err := d.lock(ctx, r.Name)
	if err != nil {
		return control.Volume{}, err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	if _, err := d.shards.Info(r.Name); err != nil {
		return control.Volume{}, err
	}
	name := control.VolumeOf(r.Name)
	before, err := d.shards.Info(name)
	if err == nil {
		err = d.takeAway(before, false, verbRollback)
	}
	if err != nil {
		return control.Volume{}, err
	}
	err = d.shards.Control(ctx, &placement.Control{
		Op: placement.RollbackVolume, Name: r.Name, Attach: before.Attached, Time: time.Now().Unix(),
	})
	if before.Attached {
		err = d.attachAgain(ctx, before, err)
	}
	if err != nil {
		return control.Volume{}, err
	}
	return d.volume(name)
}

// attachAgain gives a volume a device as it had before, with the same number if that is still free,
// after a rollback that ended with outcome.
func (d *daemon) attachAgain(ctx context.Context, before placement.VolumeInfo, outcome error) error {
	v, err := d.shards.Info(before.Name)
	if err == nil {
		v.ReadOnly, v.QueueDepth = before.ReadOnly, before.QueueDepth
		_, err = d.attach(ctx, v, int(before.Device))
	}
	if err == nil {
		return outcome
	}
	e := &control.Error{
		Code:    control.ErrorOf(err).Code,
		Message: fmt.Sprintf("volume %q is rolled back, but has no device any more: %v", before.Name, err),
		Next:    "unblend attach " + before.Name, Err: errors.Join(outcome, err),
	}
	if outcome != nil {
		e.Message = fmt.Sprintf("%v; and it has no device any more: %v", outcome, err)
	}
	return e
}
