package daemon

import (
	"time"

	"unblend/placement"
)

// stopwatch measures steps that follow one another.
type stopwatch struct {
	begin, last time.Time
	laps        []any // name, duration, as the log takes them
}

func newStopwatch() *stopwatch {
	now := time.Now()
	return &stopwatch{begin: now, last: now}
}

// lap ends a step.
func (w *stopwatch) lap(step string) {
	now := time.Now()
	w.laps = append(w.laps, step, now.Sub(w.last).Round(time.Millisecond))
	w.last = now
}

// tellSlow logs the steps in which a volume's device was taken over, if they took long: which one did tells
// the kernel's part from ours.
func (d *daemon) tellSlow(v placement.VolumeInfo, w *stopwatch) {
	if took := time.Since(w.begin); took > slowTakeOver {
		what := []any{"volume", v.Name, "device", v.Device, "took", took.Round(time.Millisecond)}
		d.log.Warn("device was slow to take over", append(what, w.laps...)...)
	}
}
