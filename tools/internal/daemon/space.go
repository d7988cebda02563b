package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

const (
	codeSpace = "space" // of the warning

	spaceEvery = 10 * time.Second // how often the fullness is looked at for the log
	spaceBack  = 1                // percent that it may fall below a level and still counts as told
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

// growth knows what each volume took when the daemon started, so that the one that fills the pool
// can be named.
type growth struct {
	mu    sync.Mutex
	first footprints // guarded by mu
}

// start notes what the volumes take now. Volumes that are made later begin with nothing.
func (g *growth) start(now footprints) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.first = now
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

// largest returns the volume that has grown most since the start, and by how many bytes; "" if none
// has.
func (g *growth) largest(now footprints) (name string, by int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for volume, n := range now {
		n -= g.first[volume]
		if n > by || n == by && n > 0 && volume < name {
			name, by = volume, n
		}
	}
	return name, by
}

// warning tells that percent of the space are used, and by whom.
func (g *growth) warning(percent int, st placement.Status, now footprints) control.Warning {
	used, size := spaceUsed(st)
	w := control.Warning{
		Code: codeSpace,
		Message: fmt.Sprintf("%d %% of the space for data are used, %s of %s", percent,
			units.FormatSize(used), units.FormatSize(size)),
		Next: "remove what is not needed: unblend list --tree says what that frees; " +
			"or add space: unblend grow",
	}
	if name, by := g.largest(now); name != "" {
		w.Message += fmt.Sprintf("; volume %q grew most since the daemon started, by %s", name,
			units.FormatSize(by))
	}
	return w
}

// watchSpace logs each time that the fullness passes a level.
func (d *daemon) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for told := 0; ; {
		st, err := d.shard.Status()
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
		w := d.growth.warning(percent, st, now)
		d.log.Warn("the pool fills up", "warning", w.Message, "next", w.Next)
	}
	return level
}
