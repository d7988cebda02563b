package vmbench

import (
	"fmt"
	"slices"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/units"
)

// Cost is what the writes of a run took of the processors, until all of them were in their place.
type Cost struct {
	Pair   int     `json:"pair"` // runs with the same number followed each other
	Target Target  `json:"target"`
	Depth  int     `json:"depth"` // on each volume
	IOPS   float64 `json:"iops"`
	All    float64 `json:"all_us"`    // for each write: kernel and server, all but fio's own time
	Server float64 `json:"server_us"` // of it: the processes that serve, kernel time included
}

// paidFor are the pairs of servers of which the ratio is wanted.
var paidFor = [][2]Target{{TwoShards, OneShard}, {OneShard, Loop}, {OneShard, Qcow}}

// costRatios compares the whole cost of a write, pair by pair.
func costRatios(costs []Cost) []Ratio {
	var list []Ratio
	for _, c := range paidFor {
		var quotients []float64
		for _, a := range costs {
			for _, b := range costs {
				if a.Pair == b.Pair && a.Target == c[0] && b.Target == c[1] && b.All > 0 {
					quotients = append(quotients, a.All/b.All)
				}
			}
		}
		if len(quotients) > 0 {
			list = append(list, Ratio{
				c[0], c[1], costs[0].Depth, bench.Median(quotients), slices.Min(quotients), slices.Max(quotients),
			})
		}
	}
	return list
}

// costTable returns the costs for people.
func costTable(costs []Cost) string {
	t := units.NewTable("", ">per second", ">in all", ">range", ">server")
	var seen []Target
	for _, c := range costs {
		if slices.Contains(seen, c.Target) {
			continue
		}
		seen = append(seen, c.Target)
		var iops, all, server []float64
		for _, x := range costs {
			if x.Target == c.Target {
				iops, all, server = append(iops, x.IOPS), append(all, x.All), append(server, x.Server)
			}
		}
		t.Row(string(c.Target), fmt.Sprintf("%.0f", bench.Median(iops)), fmt.Sprintf("%.1f", bench.Median(all)),
			fmt.Sprintf("%.1f-%.1f", slices.Min(all), slices.Max(all)), fmt.Sprintf("%.1f", bench.Median(server)))
	}
	r := units.NewTable("Ratio of the whole", ">median", ">least", ">most")
	for _, x := range costRatios(costs) {
		r.Row(fmt.Sprintf("%s / %s", x.Target, x.To), fmt.Sprintf("%.2f", x.Median),
			fmt.Sprintf("%.2f", x.Least), fmt.Sprintf("%.2f", x.Most))
	}
	return t.String() + "\n" + r.String()
}
