package placement

import (
	"slices"
	"testing"
	"time"
)

// corruptKind tells the lines of corruption sweeps from those of others.
const corruptKind = "corruption"

// corruptTally is the line that a corruption sweep adds to docs/campaigns.jsonl. Every point is either
// detected or unused, and every one that is detected is repaired, refused, or has its content lost,
// which reads say. What is unused is counted by its reason.
type corruptTally struct {
	Kind     string         `json:"kind"`
	Time     time.Time      `json:"time"`
	Commit   string         `json:"commit"`
	Pool     string         `json:"pool"` // "one device", "two devices"
	Points   int            `json:"points"`
	Detected int            `json:"detected"`
	Repaired int            `json:"repaired"`
	Lost     int            `json:"lost"`
	Refused  int            `json:"refused"`
	Unused   int            `json:"unused"`
	Tail     int            `json:"tail"` // of the last record, which may never have been whole
	Reasons  map[string]int `json:"unused_because"`
	Failures int            `json:"failures"`
	Seconds  float64        `json:"seconds"`
	begin    time.Time
}

func newCorruptTally(one bool) *corruptTally {
	c := &corruptTally{Kind: corruptKind, Pool: "two devices", Reasons: map[string]int{}, begin: time.Now()}
	if one {
		c.Pool = "one device"
	}
	return c
}

// add counts one point.
func (c *corruptTally) add(kind string, want fate, err error) {
	c.Points++
	if err != nil {
		c.Failures++
		return
	}
	switch want {
	case unused:
		c.Unused++
		c.Reasons[kind]++
		return
	case tail:
		c.Tail++
		return
	case mended:
		c.Repaired++
	case lost:
		c.Lost++
	case refused:
		c.Refused++
	}
	c.Detected++
}

func (c *corruptTally) log(t *testing.T) {
	t.Logf("%d points: %d detected (%d repaired, %d blocks lost, %d refused), %d unused, %d of the tail; "+
		"%d failures, %.0f s", c.Points, c.Detected, c.Repaired, c.Lost, c.Refused, c.Unused, c.Tail,
		c.Failures, time.Since(c.begin).Seconds())
	var reasons []string
	for why := range c.Reasons {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		t.Logf("unused: %6d  %s", c.Reasons[why], why)
	}
}

// record appends the figures to the file.
func (c *corruptTally) record() error {
	c.Time, c.Commit = time.Now().UTC().Truncate(time.Second), commit()
	c.Seconds = time.Since(c.begin).Round(time.Second).Seconds()
	return record(c)
}
