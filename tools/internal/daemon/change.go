package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
	"unblend/ublk"
)

// Remove deletes volumes and snapshots.
func (d *daemon) Remove(ctx context.Context, r control.RemoveRequest) error {
	if err := d.writable(); err != nil {
		return err
	}
	names := slices.Clone(r.All())
	slices.SortStableFunc(names, snapshotsFirst)
	unlock, err := d.lock(ctx, names...)
	if err != nil {
		return err
	}
	defer unlock()
	attached, err := d.removable(names, r.Force)
	if err != nil {
		return err
	}
	if err := d.detachAll(ctx, attached, r.Force); err != nil {
		return err
	}
	c := &placement.Control{Op: placement.RemoveVolume, Names: names}
	if len(names) == 1 {
		c.Name, c.Names = names[0], nil
	}
	err = d.shards.Control(ctx, c)
	if errors.Is(err, placement.ErrSnapshots) {
		err = errors.Join(d.withoutSnapshots(names), err)
	}
	return err
}

// detachAll takes away the devices of what is to be removed. What has lost its device when another one
// fails stays without.
func (d *daemon) detachAll(ctx context.Context, names []string, force bool) error {
	var mu sync.Mutex
	var failed []error
	atOnce(names, func(name string) {
		if err := d.detach(ctx, name, force, "rm"); err != nil {
			mu.Lock()
			failed = append(failed, err)
			mu.Unlock()
		}
	})
	if len(failed) == 0 {
		return nil
	}
	return failed[0] // the others say the same of others
}

// snapshotsFirst orders names for removal: a volume goes after its snapshots.
func snapshotsFirst(a, b string) int {
	switch as, bs := control.IsSnapshot(a), control.IsSnapshot(b); {
	case as && !bs:
		return -1
	case bs && !as:
		return 1
	}
	return 0
}

// removable refuses what would fail after some devices have been taken away. It returns the names of
// what is attached.
func (d *daemon) removable(names []string, force bool) (attached []string, err error) {
	list, err := d.shards.Infos(names)
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		if !v.Attached {
			continue
		}
		attached = append(attached, v.Name)
		if s := d.servedVolume(v.Name); s != nil && !force {
			if err := d.inUse(s, "rm"); err != nil {
				return nil, err
			}
		}
	}
	if len(attached) == 0 {
		return nil, nil // then the pool itself refuses in time
	}
	return attached, d.withoutSnapshots(names)
}

// withoutSnapshots refuses a volume that has snapshots which are not named too.
func (d *daemon) withoutSnapshots(names []string) error {
	going := map[string]bool{}
	for _, name := range names {
		going[name] = true
	}
	left := map[string]int{} // snapshots that stay, by volume
	err := d.shards.Each(false, func(v placement.VolumeInfo) error {
		if v.Snapshot && !going[v.Name] {
			left[control.VolumeOf(v.Name)]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if n := left[name]; n > 0 {
			return &control.Error{
				Code:    control.CodeInUse,
				Message: fmt.Sprintf("volume %q has snapshots: %d", name, n),
				Next:    fmt.Sprintf("to remove them as well: unblend rm '%[1]s@*' %[1]s --yes", name),
				Err:     placement.ErrSnapshots,
			}
		}
	}
	return nil
}

// Rename gives a volume, its snapshots included, or one snapshot another name. Once the pool knows it
// by that the daemon has to as well, whether the client still waits or not.
func (d *daemon) Rename(ctx context.Context, r control.RenameRequest) (control.Volume, error) {
	unlock, err := d.lock(ctx, r.Name, r.To)
	if err != nil {
		return control.Volume{}, err
	}
	defer unlock()
	err = d.shards.Control(context.WithoutCancel(ctx), &placement.Control{
		Op: placement.RenameVolume, Name: r.Name, To: r.To,
	})
	if err == nil {
		err = d.moveLinks(d.rename(r.Name, r.To))
	}
	if err != nil {
		return control.Volume{}, err
	}
	return d.volume(r.To)
}

// rename changes the daemon's own tables. It returns the new attachments by the names that they had.
func (d *daemon) rename(from, to string) map[string]*served {
	d.growth.renamed(from, to)
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, name := range d.numbers {
		if now, changes := renamed(name, from, to); changes {
			d.numbers[n] = now
		}
	}
	moved := map[string]*served{}
	for name, s := range d.served {
		if now, changes := renamed(name, from, to); changes {
			again := *s
			again.name = now
			moved[name] = &again
		}
	}
	for name, s := range moved {
		delete(d.served, name)
		d.served[s.name] = s
	}
	return moved
}

// renamed returns what becomes of a name, and whether it changes: those of a volume's snapshots do
// with the volume's.
func renamed(name, from, to string) (string, bool) {
	if name == from {
		return to, true
	}
	snapshot, is := strings.CutPrefix(name, from+"@")
	return to + "@" + snapshot, is
}

// moveLinks makes the links of attachments anew, by the names that they had.
func (d *daemon) moveLinks(moved map[string]*served) error {
	var errs []error
	for name, s := range moved {
		if err := d.link(s.name, s.id()); err != nil {
			errs = append(errs, err)
			continue
		}
		d.unlink(name)
	}
	return errors.Join(errs...)
}

// Resize makes a volume larger, and its device if it has one and the kernel can.
func (d *daemon) Resize(ctx context.Context, r control.ResizeRequest) (control.Volume, error) {
	unlock, err := d.lock(ctx, r.Name)
	if err != nil {
		return control.Volume{}, err
	}
	defer unlock()
	v, err := d.shards.Info(r.Name)
	if err != nil {
		return control.Volume{}, err
	}
	if r.Size < v.Size {
		return control.Volume{}, &control.Error{
			Code: control.CodeBadRequest,
			Message: fmt.Sprintf("volume %q has %s, and %s is less: a volume can only grow", r.Name,
				units.FormatSize(v.Size), units.FormatSize(r.Size)),
			Next: "make a smaller one and copy what is needed",
		}
	}
	if r.Size > v.Size {
		err := d.shards.Control(ctx, &placement.Control{
			Op: placement.ResizeVolume, Name: r.Name, Size: r.Size,
		})
		if err != nil {
			return control.Volume{}, err
		}
	}
	if s := d.servedVolume(r.Name); s != nil {
		if err := d.growServed(s, r.Size); err != nil {
			return control.Volume{}, err
		}
	}
	return d.volume(r.Name)
}

// growServed makes the device of a resized volume larger.
func (d *daemon) growServed(s *served, size int64) error {
	ctl, err := d.driver()
	if err == nil {
		err = d.grow(ctl, s, size)
	}
	if err != nil {
		return &control.Error{
			Code:    control.ErrorOf(err).Code,
			Message: fmt.Sprintf("volume %q has the new size, its device has not: %v", s.name, err),
			Next:    fmt.Sprintf("unblend detach %[1]s, then: unblend attach %[1]s", s.name), Err: err,
		}
	}
	return nil
}

// grow makes a device show a size that its volume has. Before Linux 6.16 a live device cannot, and
// keeps what it has until the next attach.
func (d *daemon) grow(ctl *ublk.Control, s *served, size int64) error {
	d.mu.Lock()
	now, can := s.size, d.features.Has(ublk.UpdateSize)
	d.mu.Unlock()
	if size <= now || !can {
		return nil
	}
	if err := ctl.UpdateSize(s.id(), size, commandTime); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.size = size
	return nil
}
