package placement

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// simKind tells the lines of simulation campaigns from those of others.
const simKind = "simulation"

// recordEvery is after how many seeds a campaign writes down what it has, so that one that is
// stopped loses little: the next one goes on behind the highest seed recorded.
const recordEvery = 50

// campaignFile returns the path of the file that campaigns of all kinds append their figures to.
func campaignFile() string { return filepath.Join("..", "docs", "campaigns.jsonl") }

// campaign is the line that some seeds add to docs/campaigns.jsonl.
type campaign struct {
	Kind        string    `json:"kind"`
	Time        time.Time `json:"time"`
	Commit      string    `json:"commit"`
	From        int       `json:"from"`
	Seeds       int       `json:"seeds"`
	Ops         int       `json:"guest_ops"`
	Crashes     int       `json:"power_cuts"`
	Kills       int       `json:"process_deaths"`
	Deep        int       `json:"power_cuts_in_recovery"`
	Checkpoints int       `json:"checkpoints"`
	Wraps       int       `json:"log_wraps"`
	Checks      int       `json:"checks"`
	Faults      int       `json:"faults"`
	simInjected           // of these and of the rates that a disk has
	Full        int       `json:"seeds_with_all"` // 500 operations, a wrap, a checkpoint, two crashes
	Failures    int       `json:"failures"`
	Seconds     float64   `json:"seconds"`
}

// add counts one seed.
func (c *campaign) add(r *simResult) {
	c.Seeds++
	c.Ops += r.cover.ops
	c.Crashes += r.cover.crashes
	c.Kills += r.cover.kills
	c.Deep += r.cover.deep
	c.Checkpoints += r.cover.checkpoints
	c.Wraps += r.cover.wraps
	c.Checks += r.cover.checks
	c.Faults += r.cover.faults
	c.simInjected.sum(&r.cover.injected)
	if r.cover.full() {
		c.Full++
	}
	if r.err != nil {
		c.Failures++
	}
}

// record appends the figures of a campaign, of whatever kind, to the file.
func record(figures any) error {
	f, err := os.OpenFile(campaignFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	line, err := json.Marshal(figures)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	return errors.Join(err, f.Close())
}

// nextOf returns what comes behind all that was recorded of a kind of campaign.
func nextOf(t *testing.T, kind string) int {
	t.Helper()
	f, err := os.Open(campaignFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c struct {
			Kind                   string
			From, Seeds, Sequences int
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%s: %v", campaignFile(), err)
		}
		if c.Kind == kind {
			next = max(next, c.From+c.Seeds+c.Sequences)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return next
}

// commit returns the commit of the working tree, with a "+" when it differs.
func commit() string {
	head, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	id := strings.TrimSpace(string(head))
	err = exec.Command("git", "diff", "--quiet", "HEAD", "--", ".", "../log").Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		id += "+"
	}
	return id
}
