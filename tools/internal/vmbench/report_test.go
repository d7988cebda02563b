package vmbench

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.v); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.v, got, c.want)
		}
	}
}

// TestCompare: a ratio is the median of the pairs' ratios, not the ratio of the medians.
func TestCompare(t *testing.T) {
	r := Report{Runs: []Run{
		{Pair: 1, Target: Loop, Depth: 32, IOPS: 100},
		{Pair: 1, Target: Pool, Depth: 32, IOPS: 50},
		{Pair: 2, Target: Loop, Depth: 32, IOPS: 10},
		{Pair: 2, Target: Pool, Depth: 32, IOPS: 8},
		{Pair: 3, Target: Loop, Depth: 32, IOPS: 60},
		{Pair: 3, Target: Pool, Depth: 32, IOPS: 54},
		{Pair: 4, Target: Pool, Depth: 32, IOPS: 54},
		{Pair: 1, Target: Null, Depth: 1, IOPS: 9},
	}}
	r.Compare()
	if len(r.Ratios) != 1 {
		t.Fatalf("%+v, want one ratio", r.Ratios)
	}
	if want := (Ratio{Pool, Loop, 32, 0.8, 0.5, 0.9}); r.Ratios[0] != want {
		t.Errorf("%+v, want %+v", r.Ratios[0], want)
	}
	text := r.String()
	for _, want := range []string{
		"pool volume / kernel loop         32    0.80   0.50  0.90\n",
		"kernel loop            -      -        -        -            60  10-100  0.00 ms  0.00 ms\n",
		"pool volume            -      -        -        -            52    8-54  0.00 ms  0.00 ms\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestParseFio(t *testing.T) {
	r, err := parseFio([]byte(`fio: note
{ "jobs": [
	{ "jobname": "a", "error": 0, "write": { "iops": 10.5, "total_ios": 21,
		"clat_ns": { "percentile": { "50.000000": 7, "99.000000": 9 } } } },
	{ "jobname": "b", "error": 0, "write": { "iops": 1.5, "total_ios": 3 } } ] }`))
	if err != nil || r.iops != 12 || r.writes != 24 || r.p50 != 7 || r.p99 != 9 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "{", `{"jobs":[]}`, `{"jobs":[{"error":5}]}`} {
		if _, err := parseFio([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
