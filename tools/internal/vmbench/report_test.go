package vmbench

import (
	"slices"
	"strings"
	"testing"
)

// TestCosts: the ratio is of whole writes, pair by pair; a server without processes has no time of its own.
func TestCosts(t *testing.T) {
	r := Report{Costs: []Cost{
		{Pair: 1, Target: OneShard, Depth: 32, IOPS: 10, All: 100, Server: 60},
		{Pair: 1, Target: TwoShards, Depth: 32, IOPS: 10, All: 110, Server: 70},
		{Pair: 1, Target: Loop, Depth: 32, IOPS: 30, All: 50},
		{Pair: 2, Target: OneShard, Depth: 32, IOPS: 20, All: 200, Server: 80},
		{Pair: 2, Target: TwoShards, Depth: 32, IOPS: 20, All: 250, Server: 90},
	}, Fifty: &Fifty{Volumes: 50, Writes: 7, Collections: 2, LongestStop: 31_400, Allocations: 0.5}}
	want := []Ratio{{TwoShards, OneShard, 32, 1.175, 1.1, 1.25}, {OneShard, Loop, 32, 2, 2, 2}}
	if got := costRatios(r.Costs); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	text := r.String()
	for _, want := range []string{
		"unblend, 1 shard           15   150.0  100.0-200.0    70.0\n",
		"unblend, 2 shards / unblend, 1 shard    1.18   1.10  1.25\n",
		"2 collections of garbage, the longest stop 31µs; 0.5000 allocations for each write.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

// TestCompare: a ratio is the median of the pairs' ratios, not the ratio of the medians.
func TestCompare(t *testing.T) {
	r := Report{Runs: []Run{
		{Pair: 1, Target: WriteThin, Depth: 32, IOPS: 100},
		{Pair: 1, Target: WritePlain, Depth: 32, IOPS: 50},
		{Pair: 2, Target: WriteThin, Depth: 32, IOPS: 10},
		{Pair: 2, Target: WritePlain, Depth: 32, IOPS: 8},
		{Pair: 3, Target: WriteThin, Depth: 32, IOPS: 60},
		{Pair: 3, Target: WritePlain, Depth: 32, IOPS: 54},
		{Pair: 4, Target: WritePlain, Depth: 32, IOPS: 54},
		{Pair: 1, Target: WriteOnce, Depth: 1, IOPS: 9},
	}}
	r.Compare()
	if len(r.Ratios) != 1 {
		t.Fatalf("%+v, want one ratio", r.Ratios)
	}
	if want := (Ratio{WritePlain, WriteThin, 32, 0.8, 0.5, 0.9}); r.Ratios[0] != want {
		t.Errorf("%+v, want %+v", r.Ratios[0], want)
	}
	text := r.String()
	for _, want := range []string{
		"write, no snapshot / write, dm-thin         32    0.80   0.50  0.90\n",
		"write, dm-thin                           -      -" +
			"        -        -            60  10-100  0.00 ms  0.00 ms\n",
		"write, no snapshot                       -      -" +
			"        -        -            52    8-54  0.00 ms  0.00 ms\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}
