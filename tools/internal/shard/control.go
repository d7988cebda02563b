package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"unblend/log"
	"unblend/placement"
)

// Control has the pool do c, and returns when that has ended, with its outcome. When ctx ends
// first, c goes on and must not be used again.
func (s *Shards) Control(ctx context.Context, c *placement.Control) error {
	ended := make(chan struct{})
	err := s.all[0].mail.send(letter{func() {
		s.controls[c] = func() { close(ended) }
		s.pool.Control(c)
	}, true})
	if err == nil {
		err = s.await(ctx, ended)
	}
	if err != nil {
		return err
	}
	return c.Err
}

// Diff has the pool fill one page of a comparison. When ctx ends first, d must not be used again.
func (s *Shards) Diff(ctx context.Context, d *placement.Diff) error {
	ended := make(chan struct{})
	err := s.all[0].mail.send(letter{func() {
		s.diffs[d] = func() { close(ended) }
		s.pool.Diff(d)
	}, true})
	if err == nil {
		err = s.await(ctx, ended)
	}
	if err != nil {
		return err
	}
	return d.Err
}

// await waits for the end of what was given to the pool.
func (s *Shards) await(ctx context.Context, ended chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return ErrStopped
	}
}

// CanGrow reports whether devices of the given sizes, in bytes, have something to add to the pool.
func (s *Shards) CanGrow(sizes [log.Devs]int64) (can bool, err error) {
	var why error
	err = s.Do(func() { can, why = s.pool.CanGrow(sizes) })
	return can, errors.Join(err, why)
}

// Volume returns the volume of that name, or nil.
func (s *Shards) Volume(name string) (*placement.Volume, error) {
	var v *placement.Volume
	err := s.Do(func() { v = s.pool.Volume(name) })
	return v, err
}

// pageVolumes is how many nodes are looked at in one turn of the loop.
const pageVolumes = 256

// Each calls f for all volumes and snapshots, by id; with all set also for what is hidden. It stops at
// f's error. The loop gathers them in pieces, so that guests are served in between; what is made or
// removed meanwhile may be among them or not, and a volume of which a snapshot is taken twice.
func (s *Shards) Each(all bool, f func(placement.VolumeInfo) error) error {
	page := make([]placement.VolumeInfo, 0, pageVolumes)
	for next := uint32(0); ; {
		err := s.Do(func() { page, next = s.pool.VolumesAfter(next, all, page[:0]) })
		if err != nil {
			return err
		}
		for _, v := range page {
			if err := f(v); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
	}
}

// EachFlow calls f for the flow of each volume that is, or was, in use, as Each does.
func (s *Shards) EachFlow(f func(*placement.VolumeFlow) error) error {
	page := make([]placement.VolumeFlow, 0, pageVolumes)
	for next := uint32(0); ; {
		err := s.Do(func() { page, next = s.pool.FlowsAfter(next, page[:0]) })
		if err != nil {
			return err
		}
		for i := range page {
			if err := f(&page[i]); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
	}
}

// EachByName is Each in the order of names, for what want wants. Only the names of all are in memory
// at once. What is renamed meanwhile stands where its former name would.
func (s *Shards) EachByName(all bool, want func(placement.VolumeInfo) bool,
	f func(placement.VolumeInfo) error,
) error {
	type ref struct {
		name string
		id   uint32
		live bool // it was no snapshot
	}
	var refs []ref
	err := s.Each(all, func(v placement.VolumeInfo) error {
		if want(v) {
			refs = append(refs, ref{v.Name, v.ID, !v.Snapshot && !v.Hidden})
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(refs, func(a, b ref) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.id, b.id))
	})
	refs = slices.CompactFunc(refs, func(a, b ref) bool { return a.name != "" && a.name == b.name })
	page := make([]placement.VolumeInfo, 0, pageVolumes)
	for part := range slices.Chunk(refs, pageVolumes) {
		page = page[:0]
		err := s.Do(func() {
			for _, r := range part {
				v, there := s.pool.InfoByID(r.id)
				if r.live && (!there || v.Snapshot || v.Hidden) {
					// A snapshot or a rollback has given the volume another node.
					v, there = s.pool.Info(r.name)
				}
				if there && (all || !v.Hidden) && want(v) {
					page = append(page, v)
				}
			}
		})
		if err != nil {
			return err
		}
		for _, v := range page {
			if err := f(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// Info returns what Each says of one volume or snapshot. The error is placement.ErrNoVolume if
// there is none.
func (s *Shards) Info(name string) (placement.VolumeInfo, error) {
	list, err := s.Infos([]string{name})
	if err != nil {
		return placement.VolumeInfo{}, err
	}
	return list[0], nil
}

// Infos returns what Each says of some volumes and snapshots, in the order of the names. The error
// is placement.ErrNoVolume if one is missing.
func (s *Shards) Infos(names []string) ([]placement.VolumeInfo, error) {
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
func (s *Shards) Status() (placement.Status, error) {
	var st placement.Status
	err := s.Do(func() { st = s.pool.Status() })
	return st, err
}
