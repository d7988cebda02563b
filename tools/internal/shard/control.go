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
	if err != nil {
		return err
	}
	select {
	case <-ended:
		return c.Err
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

// Volumes returns all volumes, by name.
func (s *Shard) Volumes() ([]placement.VolumeInfo, error) {
	var list []placement.VolumeInfo
	err := s.Do(func() { list = s.pool.Volumes() })
	return list, err
}

// Info returns what Volumes says of one volume. The error is placement.ErrNoVolume if there is none.
func (s *Shard) Info(name string) (placement.VolumeInfo, error) {
	var v placement.VolumeInfo
	var ok bool
	err := s.Do(func() { v, ok = s.pool.Info(name) })
	if err == nil && !ok {
		err = fmt.Errorf("volume %q: %w", name, placement.ErrNoVolume)
	}
	return v, err
}

// Status returns the pool's state.
func (s *Shard) Status() (placement.Status, error) {
	var st placement.Status
	err := s.Do(func() { st = s.pool.Status() })
	return st, err
}
