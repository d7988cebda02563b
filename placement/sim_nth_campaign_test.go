package placement

import (
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"unblend/log"
)

// One point can be looked at again:
//
//	go test ./placement -run '^TestNth$' -args -point=fast/write/once/12 -v
var nthPoint = flag.String("point", "", "failing operations: this one alone, DEVICE/KIND/once or sticky/N")

// nthShort is of how many points one is tried in a short run.
const nthShort = 5

// nthCampaign is the line that a sweep adds to docs/campaigns.jsonl.
type nthCampaign struct {
	Kind     string         `json:"kind"`
	Time     time.Time      `json:"time"`
	Commit   string         `json:"commit"`
	Points   int            `json:"points"`
	Classes  map[string]int `json:"outcomes"`
	Failures int            `json:"failures"`
	Seconds  float64        `json:"seconds"`
}

// nthSeries is one device, kind of operation, and whether all later ones fail too.
type nthSeries struct {
	nthFault
	points   int
	outcomes [nthOutcomes]int
}

// TestNth has every operation of the workload fail, one in each run.
func TestNth(t *testing.T) {
	if *nthPoint != "" {
		nthOne(t, *nthPoint)
		return
	}
	step := 1
	if testing.Short() {
		step = nthShort
	}
	start := time.Now()
	var series []*nthSeries
	for dev := range log.Devs {
		for kind := log.Read; kind <= log.Flush; kind++ {
			for _, sticky := range [...]bool{false, true} {
				series = append(series, &nthSeries{nthFault: nthFault{dev: dev, kind: kind, sticky: sticky}})
			}
		}
	}
	c := nthCampaign{
		Kind: "failing operations", Time: start.UTC().Truncate(time.Second), Commit: commit(),
		Classes: map[string]int{},
	}
	t.Run("all", func(t *testing.T) {
		for _, s := range series {
			t.Run(s.name(), func(t *testing.T) {
				t.Parallel()
				s.sweep(t, step)
			})
		}
	})
	for _, s := range series {
		c.Points += s.points
		for o, n := range s.outcomes {
			if n > 0 {
				c.Classes[nthOutcome(o).String()] += n
			}
		}
	}
	c.Seconds = math.Round(time.Since(start).Seconds())
	t.Logf("%d points: %v, %.0f s", c.Points, c.Classes, c.Seconds)
	if *simRecord && step == 1 && !t.Failed() {
		if err := record(&c); err != nil {
			t.Error(err)
		}
	}
}

func (s *nthSeries) name() string {
	name, _, _ := strings.Cut(s.String(), "/"+strconv.Itoa(s.n))
	return name
}

// sweep tries every step-th operation until the workload has no more.
func (s *nthSeries) sweep(t *testing.T, step int) {
	for f := s.nthFault; ; f.n += step {
		r := &nthRun{nthFault: f}
		out, err := r.run()
		if err == nil && out == nthNotReached {
			break
		}
		s.points++
		s.outcomes[out]++
		if err == nil {
			err = f.judge(out)
		}
		if err != nil {
			t.Errorf("%v: %v: %v\n    go test ./placement -run '^TestNth$' -args -point=%v -v", f, out, err, f)
			return
		}
	}
	if s.points == 0 {
		t.Error("the workload has no such operation")
	}
	said := make([]string, 0, nthOutcomes)
	for o, n := range s.outcomes {
		if n > 0 {
			said = append(said, fmt.Sprintf("%d %v", n, nthOutcome(o)))
		}
	}
	t.Logf("%d points: %s", s.points, strings.Join(said, ", "))
}

// nthOne tries one point, in detail.
func nthOne(t *testing.T, text string) {
	f := nthFault{}
	part := strings.Split(text, "/")
	if len(part) != 4 {
		t.Fatalf("-point=%s: want DEVICE/KIND/once or sticky/N", text)
	}
	f.dev, f.sticky = log.Fast, part[2] == "sticky"
	if part[0] == log.Capacity.String() {
		f.dev = log.Capacity
	}
	for f.kind < log.Flush && f.kind.String() != part[1] {
		f.kind++
	}
	n, err := strconv.Atoi(part[3])
	if err != nil {
		t.Fatalf("-point=%s: %v", text, err)
	}
	f.n = n
	r := &nthRun{nthFault: f}
	if *simVerbose {
		r.told = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	out, err := r.run()
	if err == nil {
		err = f.judge(out)
	}
	if t.Logf("%v: %v", f, out); err != nil {
		t.Error(err)
	}
}
