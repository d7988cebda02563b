package vmbench

import (
	"strings"
	"testing"
)

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
