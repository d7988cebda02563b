package vmbench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/bpftrace"
)

// roleEnv makes the test binary what runs in the machine: a part of the measurements, or the null
// server.
const roleEnv = "UNBLEND_VMBENCH"

// pairsEnv asks for fewer pairs, or more.
const pairsEnv = "UNBLEND_PAIRS"

const (
	pairs     = 5
	runTime   = 4 * time.Second
	fourTime  = 15 * time.Second
	fourDepth = 32
)

// alternate runs fio on all targets in turn, at both depths, pairs times. Every other round runs
// backwards, so that no target always follows the same one.
func (b *bed) alternate() ([]Run, error) {
	var runs []Run
	for pair := 1; pair <= pairs; pair++ {
		for _, depth := range []int{32, 1} {
			for i := range targets {
				t := targets[i]
				if pair%2 == 0 {
					t = targets[len(targets)-1-i]
				}
				r, err := fioWrite([]string{b.paths[t]}, depth, runTime)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", t, err)
				}
				runs = append(runs, Run{pair, t, depth, r.iops, r.p50, r.p99})
			}
		}
	}
	return runs, nil
}

// fourVolumes writes to four volumes at once while bpftrace looks at the log device.
func (b *bed) fourVolumes(ctx context.Context) (*Four, error) {
	f := &Four{Depth: fourDepth}
	w, err := b.witness(ctx)
	if err != nil {
		return f, err
	}
	seen, err := w.Counts()
	if err != nil {
		return f, err
	}
	before, err := guestWrites(b.four)
	if err != nil {
		return f, err
	}
	r, err := fioWrite(b.four, fourDepth, fourTime)
	if err != nil {
		return f, err
	}
	after, err := guestWrites(b.four)
	if err != nil {
		return f, err
	}
	now, err := w.Counts()
	if err != nil {
		return f, err
	}
	seen = now.Sub(seen)
	f.IOPS, f.GuestWrites, f.LogWrites = r.iops, after-before, seen.Writes
	f.PerLogWrite = float64(f.GuestWrites) / float64(max(f.LogWrites, 1))
	f.Sequential = seen.Share()
	return f, w.Close()
}

// guestWrites returns how many writes the kernel counted on devices.
func guestWrites(paths []string) (uint64, error) {
	total := uint64(0)
	for _, p := range paths {
		d, err := blocktrace.DeviceOf(p)
		if err != nil {
			return 0, err
		}
		c, err := d.Counts()
		if err != nil {
			return 0, err
		}
		total += c.Writes
	}
	return total, nil
}

// witness counts the writes to the log.
func (b *bed) witness(ctx context.Context) (*bpftrace.Witness, error) {
	st, err := b.prog.Status(ctx)
	if err != nil {
		return nil, err
	}
	start, err := sh("cat /sys/class/block/%s/start", strings.TrimPrefix(poolDevice, "/dev/"))
	if err != nil {
		return nil, err
	}
	var at int64
	if _, err := fmt.Sscan(start, &at); err != nil {
		return nil, fmt.Errorf("start of the partition: %w", err)
	}
	at *= blocktrace.SectorSize
	disk, err := blocktrace.DeviceOf(nullDevice)
	if err != nil {
		return nil, err
	}
	for _, r := range st.Regions {
		if r.Class == "log" {
			return bpftrace.Start(disk, at+r.Start, at+r.End)
		}
	}
	return nil, errors.New("status names no log")
}
