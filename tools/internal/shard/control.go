package shard

import (
	"context"
	"fmt"

	"unblend/placement"
)

// Control has the pool do c, and returns when that has ended, with its outcome. When ctx ends
// first, c goes on and must not be used again.
func (s *Shard) Control(ctx context.Context, c *placement.Control) error {
	ended := make(chan struct{})
	err := s.mail.send(func() {
		s.controls[c] = func() { close(ended) }
		s.pool.Control(c)
	})
	if err == nil {
		err = s.await(ctx, ended)
	}
	if err != nil {
		return err
	}
	return c.Err
}

// Diff has the pool fill one page of a comparison. When ctx ends first, d must not be used again.
func (s *Shard) Diff(ctx context.Context, d *placement.Diff) error {
	ended := make(chan struct{})
	err := s.mail.send(func() {
		s.diffs[d] = func() { close(ended) }
		s.pool.Diff(d)
	})
	if err == nil {
		err = s.await(ctx, ended)
	}
	if err != nil {
		return err
	}
	return d.Err
}

// await waits for the end of what was given to the pool.
func (s *Shard) await(ctx context.Context, ended chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return ErrStopped
	}
}

// Volume returns the volume of that name, or nil.
func (s *Shard) Volume(name string) (*placement.Volume, error) {
	var v *placement.Volume
	err := s.Do(func() { v = s.pool.Volume(name) })
	return v, err
}

// Volumes returns all volumes and snapshots, by name; with all set also what is hidden.
func (s *Shard) Volumes(all bool) ([]placement.VolumeInfo, error) {
	var list []placement.VolumeInfo
	err := s.Do(func() { list = s.pool.Volumes(all) })
	return list, err
}

// Info returns what Volumes says of one volume or snapshot. The error is placement.ErrNoVolume if
// there is none.
func (s *Shard) Info(name string) (placement.VolumeInfo, error) {
	list, err := s.Infos([]string{name})
	if err != nil {
		return placement.VolumeInfo{}, err
	}
	return list[0], nil
}

// Infos returns what Volumes says of some volumes and snapshots, in the order of the names. The error
// is placement.ErrNoVolume if one is missing.
func (s *Shard) Infos(names []string) ([]placement.VolumeInfo, error) {
	list := make([]placement.VolumeInfo, len(names))
	missing := -1
	err := s.Do(func() {
		for i, name := range names {
			var ok bool
			if list[i], ok = s.pool.Info(name); !ok {
				missing = i
				return
			}
		}
	})
	if err == nil && missing >= 0 {
		err = fmt.Errorf("%s: %w", placement.Object(names[missing]), placement.ErrNoVolume)
	}
	return list, err
}

// Status returns the pool's state.
func (s *Shard) Status() (placement.Status, error) {
	var st placement.Status
	err := s.Do(func() { st = s.pool.Status() })
	return st, err
}
