package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// SchemaSuite names the document that holds a Suite.
const SchemaSuite = "unblend/bench/v1"

// Suite is what a suite came to.
type Suite struct {
	Schema       string        `json:"schema"`
	Time         time.Time     `json:"time"`
	Settings     Settings      `json:"settings"`
	Ratios       []Ratio       `json:"ratios"`
	Expectations []Expectation `json:"expectations"`
	Missing      []Miss        `json:"missing,omitempty"`
	Outcomes     []Outcome     `json:"outcomes"`
}

// Ratio is how many times as fast as a contender unblend was: over the pairs of a cell.
type Ratio struct {
	Cell   Cell    `json:"cell"`
	Beside string  `json:"beside"` // state of unblend's volumes
	Pairs  int     `json:"pairs"`
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Theirs Typical `json:"contender"`
	Ours   Typical `json:"unblend"`
}

// Typical are the medians of one side's figures.
type Typical struct {
	IOPS  float64 `json:"iops"`
	Bytes float64 `json:"bytes_per_second"`
	P99   float64 `json:"p99_ns"`
}

// Miss is a cell without figures.
type Miss struct {
	Cell Cell   `json:"cell"`
	Why  string `json:"why"`
}

// Expectation is a ratio that unblend is meant to reach.
type Expectation struct {
	Cell   Cell    `json:"cell"`
	Least  float64 `json:"least"`
	Why    string  `json:"why"`
	Median float64 `json:"median"` // 0: not measured
	Holds  bool    `json:"holds"`
}

// expectations are all of them.
var expectations = []Expectation{
	{
		Cell: Cell{"loop", "w4-qd32", 1}, Least: 0.33,
		Why: "what the kernel's own ublk server in C reaches with its loop target",
	},
	{
		Cell: Cell{"thin-snap", "w4-qd32", 1}, Least: 5,
		Why: "dm-thin copies 64 KiB for the first write of a chunk, unblend nothing",
	},
	{
		Cell: Cell{"qcow2-fresh", "w4-qd32", 1}, Least: 1.5,
		Why: "qemu-nbd pays a socket for each request and a table for each new cluster",
	},
}

// newSuite adds up outcomes.
func newSuite(set Settings, cells []Cell, outcomes []Outcome) *Suite {
	s := &Suite{Schema: SchemaSuite, Time: time.Now().UTC(), Settings: set, Outcomes: outcomes}
	for _, c := range cells {
		i := slices.IndexFunc(outcomes, func(o Outcome) bool { return o.Cell == c })
		switch {
		case i < 0:
			s.Missing = append(s.Missing, Miss{c, "not measured yet"})
		case outcomes[i].Error != "":
			s.Missing = append(s.Missing, Miss{c, outcomes[i].Error})
		default:
			s.Ratios = append(s.Ratios, ratioOf(outcomes[i]))
		}
	}
	for _, e := range expectations {
		if !slices.Contains(cells, e.Cell) {
			continue
		}
		if r, ok := s.ratio(e.Cell); ok {
			e.Median, e.Holds = r.Median, r.Median >= e.Least
		}
		s.Expectations = append(s.Expectations, e)
	}
	return s
}

// ratio returns the ratio of a cell.
func (s *Suite) ratio(c Cell) (Ratio, bool) {
	for _, r := range s.Ratios {
		if r.Cell == c {
			return r, true
		}
	}
	return Ratio{}, false
}

// ratioOf compares the sides of a cell pair by pair: the median of the ratios, not the ratio of the
// medians.
func ratioOf(o Outcome) Ratio {
	t, _ := contender(o.Cell.Contender)
	r := Ratio{
		Cell: o.Cell, Beside: t.Beside,
		Theirs: typical(o.Runs, false), Ours: typical(o.Runs, true),
	}
	var quotients []float64
	for _, a := range o.Runs {
		for _, b := range o.Runs {
			if a.Pair == b.Pair && a.Ours && !b.Ours && b.IOPS > 0 {
				quotients = append(quotients, a.IOPS/b.IOPS)
			}
		}
	}
	r.Pairs, r.Median = len(quotients), Median(quotients)
	if r.Pairs > 0 {
		r.Least, r.Most = slices.Min(quotients), slices.Max(quotients)
	}
	return r
}

// String returns the median and the range.
func (r Ratio) String() string {
	return fmt.Sprintf("%s (%s-%s)", short(r.Median), short(r.Least), short(r.Most))
}

// short returns a ratio with as many digits as mean something.
func short(v float64) string {
	switch {
	case v < 0.1:
		return fmt.Sprintf("%.3f", v)
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func typical(runs []Run, ours bool) Typical {
	var iops, bytes, p99 []float64
	for _, r := range runs {
		if r.Ours == ours {
			iops, bytes, p99 = append(iops, r.IOPS), append(bytes, r.Bytes), append(p99, float64(r.P99))
		}
	}
	return Typical{Median(iops), Median(bytes), Median(p99)}
}

// Median returns the middle of the values, NaN of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
