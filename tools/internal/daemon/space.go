package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

const (
	codeSpace = "space" // of the warning

	spaceEvery  = 10 * time.Second // how often the fullness is looked at for the log
	growthShown = 10               // volumes that status names
	spaceBack   = 1                // percent that it may fall below a level and still counts as told
)

// spaceLevels are the shares of the data space, in percent, at which an operator is warned.
var spaceLevels = [...]int{95, 90, 80}

// spaceUsed returns how many bytes of the data space are taken or promised to what is in the log,
// and how many there are.
func spaceUsed(st placement.Status) (used, size int64) {
	return int64(st.BlocksTotal-st.BlocksFree+st.Promised) * log.BlockSize,
		int64(st.BlocksTotal) * log.BlockSize
}

// spaceLevel returns the highest of spaceLevels that is reached, or 0, and the share in percent.
func spaceLevel(st placement.Status) (level, percent int) {
	used, size := spaceUsed(st)
	if size == 0 {
		return 0, 0
	}
	percent = int(used * 100 / size)
	for _, l := range spaceLevels {
		if percent >= l {
			return l, percent
		}
	}
	return 0, percent
}

// growth knows what each volume took when the daemon started, so that those that fill the pool can be
// named.
type growth struct {
	mu    sync.Mutex
	since time.Time  // guarded by mu
	first footprints // guarded by mu
}

// start notes what the volumes take now. Volumes that are made later begin with nothing.
func (g *growth) start(now footprints) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.first, g.since = now, time.Now()
}

// renamed lets a volume keep its history.
func (g *growth) renamed(from, to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n, there := g.first[from]; there {
		delete(g.first, from)
		g.first[to] = n
	}
}

// footprints is what each volume takes in bytes, its snapshots included: what of it nothing older
// shares, and what is in the log. A snapshot only moves bytes from one to the other. Volumes that take
// nothing are not in it.
type footprints map[string]int64

func (f footprints) add(v placement.VolumeInfo) {
	if n := v.Unique + v.Dirty; n > 0 && !v.Hidden {
		f[control.VolumeOf(v.Name)] += n
	}
}

func footprintsOf(list []placement.VolumeInfo) footprints {
	f := footprints{}
	for _, v := range list {
		f.add(v)
	}
	return f
}

// grown returns the volumes that have grown since the start, those that grew most first, at most
// growthShown of them.
func (g *growth) grown(now footprints, at time.Time) []control.VolumeGrowth {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []control.VolumeGrowth{}
	hours := max(at.Sub(g.since), time.Second).Hours()
	for volume, n := range now {
		if n -= g.first[volume]; n > 0 {
			list = append(list, control.VolumeGrowth{
				Name: volume, Bytes: n, PerHour: int64(float64(n) / hours),
			})
		}
	}
	slices.SortFunc(list, func(a, b control.VolumeGrowth) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), growthShown)]
}

// warnOfSpace tells that percent of the space are used, and by whom.
func warnOfSpace(percent int, st placement.Status, grown []control.VolumeGrowth) control.Warning {
	used, size := spaceUsed(st)
	w := control.Warning{
		Code: codeSpace,
		Message: fmt.Sprintf("%d %% of the space for data are used, %s of %s", percent,
			units.FormatSize(used), units.FormatSize(size)),
		Next: "remove what is not needed: unblend list --tree says what that frees; " +
			"or add space: unblend grow",
	}
	if len(grown) > 0 {
		w.Message += fmt.Sprintf("; volume %q grew most since the daemon started, by %s, %s an hour",
			grown[0].Name, units.FormatSize(grown[0].Bytes), units.FormatSize(grown[0].PerHour))
	}
	return w
}

// watchSpace logs each time that the fullness passes a level.
func (d *daemon) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for told := 0; ; {
		st, err := d.shards.Status()
		if err != nil {
			return // the loop has ended
		}
		told = d.tellSpace(st, told)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tellSpace logs the fullness if it has passed a level above told, and returns the level to compare
// with the next time.
func (d *daemon) tellSpace(st placement.Status, told int) int {
	level, percent := spaceLevel(st)
	if level < told && percent >= told-spaceBack {
		return told
	}
	if level > told {
		_, now, err := d.survey()
		if err != nil {
			return told
		}
		w := warnOfSpace(percent, st, d.growth.grown(now, time.Now()))
		d.log.Warn("the pool fills up", "warning", w.Message, "next", w.Next)
	}
	return level
}
