package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/tools/internal/units"
)

// Grow lets the pool use what its devices have more than before. What began is finished whether the
// client still waits or not: the file would be larger, and the pool not.
func (d *daemon) Grow(ctx context.Context, r control.GrowRequest) (control.GrowResult, error) {
	if !d.growing.TryLock() {
		return control.GrowResult{}, fmt.Errorf("the pool is growing already: %w", placement.ErrBusy)
	}
	defer d.growing.Unlock()
	before, err := d.shards.Status()
	if err != nil {
		return control.GrowResult{}, err
	}
	sizes, grown, err := d.mayGrow(r)
	if err != nil || !grown {
		return d.growResult(before, before), err
	}
	if r.Size > 0 {
		if err := d.extend(r); err != nil {
			return control.GrowResult{}, err
		}
	}
	err = d.shards.Control(context.WithoutCancel(ctx), &placement.Control{
		Op: placement.GrowPool, Sizes: sizes,
	})
	if err != nil {
		return control.GrowResult{}, err
	}
	d.mu.Lock()
	for i, dev := range d.backing.Devices {
		dev.Resized(sizes[i])
	}
	d.mu.Unlock()
	after, err := d.shards.Status()
	if err != nil {
		return control.GrowResult{}, err
	}
	result := d.growResult(before, after)
	d.log.Info("the pool has grown", "data", units.FormatSize(result.DataSize),
		"before", units.FormatSize(result.DataBefore))
	return result, nil
}

// extend makes the file with the data as large as was asked for, unless it is already.
func (d *daemon) extend(r control.GrowRequest) error {
	dev := d.backing.Devices[log.Capacity]
	size, err := dev.PresentSize()
	if err != nil || size >= r.Size {
		return err
	}
	return dev.Extend(r.Size, r.Sparse)
}

// mayGrow returns the sizes that the devices have, or will have, and whether the pool can use something
// of it. Nothing has been changed when it refuses.
func (d *daemon) mayGrow(r control.GrowRequest) (sizes [log.Devs]int64, can bool, err error) {
	if err := d.servesPool(r.Pool); err != nil {
		return sizes, false, err
	}
	for i, dev := range d.backing.Devices {
		if dev == nil {
			return sizes, false, fmt.Errorf("%w: %w", placement.ErrReadOnly, placement.ErrWithoutLog)
		}
		if sizes[i], err = dev.PresentSize(); err != nil {
			return sizes, false, err
		}
	}
	data, had := d.backing.Devices[log.Capacity], sizes[log.Capacity]
	if r.Size > 0 {
		switch {
		case data.Info().Kind != device.RegularFile:
			return sizes, false, &control.Error{
				Code:    control.CodeBadRequest,
				Message: fmt.Sprintf("%s is a block device and has its own size", data.Path()),
				Next:    "enlarge it where it comes from, then: unblend grow",
			}
		case r.Size < had:
			return sizes, false, &control.Error{
				Code: control.CodeBadRequest,
				Message: fmt.Sprintf("%s has %s, and %s is less: a pool can only grow", data.Path(),
					units.FormatSize(had), units.FormatSize(r.Size)),
			}
		}
		sizes[log.Capacity] = r.Size
		if d.backing.One() {
			sizes[log.Fast] = r.Size
		}
	}
	can, err = d.shards.CanGrow(sizes)
	if err == nil && !can && r.Size > had {
		err = &control.Error{
			Code: control.CodeBadRequest,
			Message: fmt.Sprintf("%s has %s, and %s is too little more", data.Path(),
				units.FormatSize(had), units.FormatSize(r.Size)),
			Next: "add at least 1 MiB",
		}
	}
	return sizes, can, d.growRefusal(err)
}

// growRefusal adds to an error what to do about it.
func (d *daemon) growRefusal(err error) error {
	e := &control.Error{Err: err}
	switch {
	case errors.Is(err, placement.ErrTruncated):
		e.Code = control.CodeDamaged
		e.Next = "give the device back what it had before the daemon is restarted"
	case errors.Is(err, placement.ErrTooMany):
		e.Code = control.CodeNoSpace
		e.Next = "make a new pool, and copy the volumes"
	default:
		return err
	}
	e.Message = "the pool on " + paths(d.backing) + " cannot grow: " + err.Error()
	return e
}

// servesPool refuses a path that is none of the pool's devices.
func (d *daemon) servesPool(path string) error {
	if path == "" {
		return nil
	}
	info, err := device.Stat(path)
	if err != nil {
		return err
	}
	ours := slices.ContainsFunc(d.backing.Devices[:], func(dev *device.Device) bool {
		return dev != nil && dev.Info().Number == info.Number
	})
	if !ours {
		return &control.Error{
			Code: control.CodeBadRequest,
			Message: fmt.Sprintf("%s does not belong to the pool that the daemon serves, on %s",
				filepath.Clean(path), paths(d.backing)),
		}
	}
	return nil
}

// growResult says what the pool had and has.
func (d *daemon) growResult(before, after placement.Status) control.GrowResult {
	r := control.GrowResult{
		Grown:      after.Sizes != before.Sizes,
		DataBefore: int64(before.BlocksTotal) * log.BlockSize, DataSize: int64(after.BlocksTotal) * log.BlockSize,
		MetadataBefore: int64(before.PagesTotal) * log.BlockSize,
		MetadataSize:   int64(after.PagesTotal) * log.BlockSize,
	}
	one := d.backing.One()
	for i, dev := range d.backing.Devices {
		if dev == nil || one && i > 0 {
			continue
		}
		r.Devices = append(r.Devices, control.DeviceGrowth{
			Role: role(log.Dev(i), one), Path: dev.Path(), Before: int64(before.Sizes[i]),
			Size: int64(after.Sizes[i]),
		})
	}
	return r
}
