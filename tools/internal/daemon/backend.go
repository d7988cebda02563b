package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/ublk"
)

var _ control.Backend = (*daemon)(nil)

// Create makes a volume and, unless it is told not to, attaches it.
func (d *daemon) Create(ctx context.Context, r control.CreateRequest) (control.Volume, error) {
	if !r.NoAttach {
		if err := d.needDriver(r.Name, "unblend create --no-attach "+r.Name); err != nil {
			return control.Volume{}, err
		}
	}
	unlock, err := d.lock(ctx, r.Name)
	if err != nil {
		return control.Volume{}, err
	}
	defer unlock()
	depth := r.QueueDepth
	if depth == 0 {
		depth = defaultDepth
	}
	err = d.shards.Control(ctx, &placement.Control{
		Op: placement.CreateVolume, Name: r.Name, Size: r.Size, QueueDepth: depth, Device: -1,
		Time: time.Now().Unix(),
	})
	if err != nil {
		return control.Volume{}, err
	}
	if !r.NoAttach {
		if err := d.attachNamed(ctx, r.Name, 0, false); err != nil {
			return control.Volume{}, errors.Join(err, d.undo(placement.RemoveVolume, r.Name))
		}
	}
	return d.volume(r.Name)
}

// needDriver refuses to begin what would end without a device. or is the call that needs none.
func (d *daemon) needDriver(name, or string) error {
	_, err := d.driver()
	if err == nil {
		return nil
	}
	return &control.Error{
		Code:    control.ErrorOf(err).Code,
		Message: fmt.Sprintf("%s: no device: %v", control.Object(name), err), Err: err,
		Next: "unblend doctor, or: " + or,
	}
}

// attachNamed attaches a volume or snapshot that has no device. The caller holds its name.
func (d *daemon) attachNamed(ctx context.Context, name string, depth int, readOnly bool) error {
	v, err := d.shards.Info(name)
	if err != nil {
		return err
	}
	former := v
	if depth != 0 {
		v.QueueDepth = depth
	}
	v.ReadOnly = readOnly || v.Snapshot || d.cfg.WithoutLog
	if v.QueueDepth != former.QueueDepth || v.ReadOnly != former.ReadOnly {
		v.Attached = false // so that it is marked anew
	}
	_, err = d.attach(ctx, v, int(v.Device))
	if err != nil && !former.Attached && !d.cfg.WithoutLog {
		err = errors.Join(err, d.undo(placement.DetachVolume, name))
	}
	return err
}

// undo takes back a mark whose device could not be made. That the mark was not made either is fine.
func (d *daemon) undo(op placement.ControlOp, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	err := d.shards.Control(ctx, &placement.Control{Op: op, Name: name})
	if errors.Is(err, placement.ErrNotAttached) {
		return nil
	}
	return err
}

// Attach makes the device of a volume or snapshot.
func (d *daemon) Attach(ctx context.Context, r control.AttachRequest) (control.Volume, error) {
	unlock, err := d.lock(ctx, r.Name)
	if err != nil {
		return control.Volume{}, err
	}
	defer unlock()
	if d.servedVolume(r.Name) == nil {
		if err := d.attachNamed(ctx, r.Name, r.QueueDepth, r.ReadOnly); err != nil {
			return control.Volume{}, err
		}
	}
	return d.volume(r.Name)
}

// Detach takes the device away.
func (d *daemon) Detach(ctx context.Context, r control.DetachRequest) (control.Volume, error) {
	unlock, err := d.lock(ctx, r.Name)
	if err != nil {
		return control.Volume{}, err
	}
	defer unlock()
	if err := d.detach(ctx, r.Name, r.Force, "detach"); err != nil {
		return control.Volume{}, err
	}
	return d.volume(r.Name)
}

// detach takes away a volume's device, if it has one, and notes that it is to have none. The caller
// holds its name.
func (d *daemon) detach(ctx context.Context, name string, force bool, verb string) error {
	v, err := d.shards.Info(name)
	if err != nil {
		return err
	}
	if err := d.takeAway(v, force, verb); err != nil || !v.Attached || d.cfg.WithoutLog {
		return err
	}
	return d.shards.Control(ctx, &placement.Control{Op: placement.DetachVolume, Name: name})
}

// takeAway takes away a volume's device, if it has one. In the catalogue it stays attached.
func (d *daemon) takeAway(v placement.VolumeInfo, force bool, verb string) error {
	if s := d.servedVolume(v.Name); s != nil {
		return d.takeDown(s, force, verb)
	}
	if v.Attached {
		return d.discard(v, force, verb)
	}
	return nil
}

// discard removes what is left of the device of a volume that could not be attached again.
func (d *daemon) discard(v placement.VolumeInfo, force bool, verb string) error {
	ctl, err := d.driver()
	if err != nil {
		return nil // without a driver there are no devices
	}
	defer d.giveNumber(int(v.Device))
	info, err := ctl.Info(uint32(v.Device), commandTime)
	if err != nil || !ours(ctl, v, info) {
		return nil
	}
	users, err := device.Users(ublk.BlockPath(info.ID))
	if err == nil && len(users) > 0 && !force {
		return refuseUse(v.Name, users, verb)
	}
	if err := ctl.Stop(info.ID, stopTime); err != nil {
		return fmt.Errorf("%s: %w", control.Object(v.Name), err)
	}
	if err := ctl.Delete(info.ID, deleteTime); err != nil && !errors.Is(err, ublk.ErrTimeout) {
		return fmt.Errorf("%s: %w", control.Object(v.Name), err)
	}
	return nil
}

// List calls yield for each volume and what else is asked for, by name.
func (d *daemon) List(ctx context.Context, r control.ListRequest,
	yield func(control.Volume) error,
) error {
	want := func(v placement.VolumeInfo) bool { return !v.Snapshot || r.Snapshots || r.All }
	return d.shards.EachByName(r.All, want, func(v placement.VolumeInfo) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return yield(d.describe(v))
	})
}

// Checkpoint makes what is known durable in the maps.
func (d *daemon) Checkpoint(ctx context.Context, r control.CheckpointRequest) error {
	c := &placement.Control{Op: placement.Checkpoint}
	if r.Drain {
		c.Op = placement.Drain
	}
	return d.shards.Control(ctx, c)
}

// Shutdown begins the daemon's end.
func (d *daemon) Shutdown(_ context.Context, r control.ShutdownRequest) error {
	if !r.Force {
		for _, s := range d.servedVolumes() {
			if err := d.inUse(s, "shutdown"); err != nil {
				return err
			}
		}
	}
	d.endOnce.Do(func() { close(d.end) })
	return nil
}
