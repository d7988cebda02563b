package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"unblend/placement"
)

// filled returns the status of a pool of 1000 blocks.
func filled(taken, promised uint64) placement.Status {
	return placement.Status{BlocksTotal: 1000, BlocksFree: 1000 - taken, Promised: promised}
}

func TestSpaceLevel(t *testing.T) {
	for _, x := range []struct {
		taken, promised uint64
		level, percent  int
	}{
		{0, 0, 0, 0},
		{799, 0, 0, 79},
		{800, 0, 80, 80},
		{700, 100, 80, 80}, // what is promised can be given to nobody else
		{899, 0, 80, 89},
		{900, 0, 90, 90},
		{949, 0, 90, 94},
		{900, 50, 95, 95},
		{1000, 0, 95, 100},
	} {
		if level, percent := spaceLevel(filled(x.taken, x.promised)); level != x.level ||
			percent != x.percent {
			t.Errorf("%+v: level %d, %d %%", x, level, percent)
		}
	}
	if level, _ := spaceLevel(placement.Status{}); level != 0 {
		t.Error("a pool without space counts as full")
	}
}

// TestGrowth holds that volumes are named by how much they grew, through snapshots and other names.
func TestGrowth(t *testing.T) {
	var g growth
	g.start(footprintsOf([]placement.VolumeInfo{
		{Name: "big", Unique: 900 << 20}, {Name: "web", Unique: 5 << 20, Dirty: 5 << 20}, {Name: "idle"},
	}))
	at := g.since.Add(30 * time.Minute)
	if list := g.grown(nil, at); list == nil || len(list) != 0 {
		t.Errorf("of nothing: %+v", list)
	}
	largest := func(now []placement.VolumeInfo) (name string, by int64) {
		list := g.grown(footprintsOf(now), at)
		if list[0].PerHour != 2*list[0].Bytes {
			t.Errorf("in half an hour: %+v", list[0])
		}
		return list[0].Name, list[0].Bytes
	}
	now := []placement.VolumeInfo{
		{Name: "big", Unique: 901 << 20},
		{Name: "clone", Mapped: 800 << 20, Unique: 1 << 20, Parent: 3},
		{Name: "web", Mapped: 80 << 20, Unique: 10 << 20, Dirty: 10 << 20, Parent: 3},
		{Name: "web@s", Snapshot: true, Unique: 40 << 20},
		{Hidden: true, Unique: 700 << 20},
	}
	if name, by := largest(now); name != "web" || by != 50<<20 {
		t.Errorf("%q, %d MiB", name, by>>20)
	}
	list := g.grown(footprintsOf(now), at)
	if len(list) != 3 || list[1].Name != "big" || list[2].Name != "clone" {
		t.Errorf("not by what they grew, then by name: %+v", list)
	}
	g.renamed("big", "large")
	now = append(now, placement.VolumeInfo{Name: "large", Unique: 960 << 20})
	if name, by := largest(now); name != "big" || by != 901<<20 {
		t.Errorf("a new volume with the old name: %q, %d MiB", name, by>>20)
	}
	if name, by := largest(now[1:]); name != "large" || by != 60<<20 {
		t.Errorf("%q, %d MiB", name, by>>20)
	}
	w := warnOfSpace(91, filled(910, 0), g.grown(footprintsOf(now[1:]), at))
	for _, says := range []string{
		"91 %", "3.55 MiB of 3.91 MiB", `"large" grew most`, "60 MiB", "120 MiB an hour",
	} {
		if w.Code != codeSpace || !strings.Contains(w.Message, says) || w.Next == "" {
			t.Errorf("%+v does not say %q", w, says)
		}
	}
	if w := warnOfSpace(91, filled(910, 0), nil); strings.Contains(w.Message, "grew") {
		t.Errorf("nobody grew: %+v", w)
	}
	many := footprints{}
	for i := range int64(20) {
		many[fmt.Sprint("v", i)] = i
	}
	if list := g.grown(many, at); len(list) != growthShown || list[0].Name != "v19" {
		t.Errorf("of twenty: %+v", list)
	}
}

// TestTellSpace holds that the log hears of each level once, and again only after the pool was
// clearly emptier.
func TestTellSpace(t *testing.T) {
	var said bytes.Buffer
	d := &daemon{log: slog.New(slog.NewTextHandler(&said, nil)), shards: emptyShard(t)}
	told, lines := 0, 0
	for _, x := range []struct {
		taken uint64
		lines int
	}{
		{500, 0},
		{800, 1},
		{810, 1},
		{899, 1},
		{960, 2},
		{945, 2},
		{955, 2},
		{930, 2},
		{955, 3},
		{100, 3},
		{801, 4},
		{795, 4},
		{805, 4},
		{780, 4},
		{800, 5},
	} {
		told = d.tellSpace(filled(x.taken, 0), told)
		if lines = strings.Count(said.String(), "the pool fills up"); lines != x.lines {
			t.Errorf("at %d: %d lines, want %d\n%s", x.taken, lines, x.lines, &said)
		}
	}
}
