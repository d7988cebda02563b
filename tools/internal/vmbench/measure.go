package vmbench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/bpftrace"
)

// roleEnv makes the test binary what runs in the machine: a part of the measurements.
const roleEnv = "UNBLEND_VMBENCH"

// pairsEnv asks for fewer pairs, or more.
const pairsEnv = "UNBLEND_PAIRS"

const (
	pairs     = 5
	runTime   = 4 * time.Second
	fourTime  = 15 * time.Second
	fourDepth = 32
)

// pairsWanted returns how many pairs of runs there are to be.
func pairsWanted() (int, error) {
	s := os.Getenv(pairsEnv)
	if s == "" {
		return pairs, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", pairsEnv, err)
	}
	return n, nil
}

// measureMerge writes to several volumes at once.
func measureMerge(ctx context.Context, r *Report) error {
	dir, err := os.MkdirTemp("/run", "bench-")
	if err != nil {
		return err
	}
	b, err := newBed(ctx, "/vm/unblend", dir)
	if err != nil {
		return err
	}
	if r.Four, err = b.fourVolumes(ctx); err != nil {
		return err
	}
	if r.PeakRSS, err = b.daemon.PeakRSS(); err != nil {
		return err
	}
	return b.daemon.Stop()
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
	r, err := fioWrite(ctx, b.four, fourDepth, fourTime)
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
	f.IOPS, f.GuestWrites, f.LogWrites = r.IOPS, after-before, seen.Writes
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
	start, err := bench.Sh(ctx, "cat /sys/class/block/%s/start", strings.TrimPrefix(poolDevice, "/dev/"))
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
