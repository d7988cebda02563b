package vmbench

import (
	"context"
	"fmt"
	"time"

	"unblend/tools/internal/bench"
)

// fioWrite writes 4 KiB blocks at random places of all paths at once, depth at a time on each.
func fioWrite(ctx context.Context, paths []string, depth int, length time.Duration) (bench.Figures, error) {
	return fioRandom(ctx, paths, depth, append(bench.For(length), "--rw=randwrite")...)
}

// fioRandom does what more arguments say with 4 KiB blocks at random places of all paths at once,
// depth at a time on each.
func fioRandom(ctx context.Context, paths []string, depth int, more ...string) (bench.Figures, error) {
	args := append([]string{"--bs=4k", "--norandommap", fmt.Sprintf("--iodepth=%d", depth)}, more...)
	return bench.Fio(ctx, bench.Paths(paths...), args...)
}
