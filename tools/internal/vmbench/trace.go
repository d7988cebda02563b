package vmbench

import (
	"context"
	"errors"
	"os"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/control"
)

// A volume of the pool with and without somebody who watches it.
const (
	Unwatched Target = "pool volume, not traced"
	Watched   Target = "pool volume, trace blend"
)

// measureTrace compares writes while trace blend counts with writes while it does not.
func measureTrace(ctx context.Context, r *Report) error {
	n, err := pairsWanted()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/run", "bench-")
	if err != nil {
		return err
	}
	b, err := newBed(ctx, "/vm/unblend", dir)
	if err != nil {
		return err
	}
	for pair := 1; pair <= n; pair++ {
		for _, depth := range []int{fourDepth, 1} {
			order := []Target{Unwatched, Watched}
			if pair%2 == 0 { // neither always follows the other
				order = []Target{Watched, Unwatched}
			}
			for _, t := range order {
				x, err := b.watched(ctx, t == Watched, depth)
				if err != nil {
					return errors.Join(err, b.daemon.Stop())
				}
				r.Runs = append(r.Runs, Run{pair, t, depth, x.IOPS, x.P50, x.P99})
			}
		}
	}
	r.Compare()
	return b.daemon.Stop()
}

// watched runs fio once, traced or not.
func (b *bed) watched(ctx context.Context, traced bool, depth int) (bench.Figures, error) {
	if !traced {
		return fioWrite(ctx, []string{b.volume}, depth, runTime)
	}
	tr, err := b.prog.Trace(ctx, "blend")
	if err != nil {
		return bench.Figures{}, err
	}
	x, err := fioWrite(ctx, []string{b.volume}, depth, runTime)
	var doc control.TraceBlend
	err = errors.Join(err, tr.End(&doc))
	if err == nil && doc.Blend.SeeksAsIs == 0 {
		err = errors.New("the trace has seen nothing")
	}
	return x, err
}
