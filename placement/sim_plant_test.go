//go:build plant

package placement

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"unblend/log"
)

// simPlanted are the bugs that can be planted in the engine, with the seeds of which one at least has to
// notice each: those that take hundreds of seeds begin shortly before the first that does. A recovered
// segment that is continued takes shorter lives than these to show: the log's own test has them.
var simPlanted = []struct {
	name         string
	from, within int
}{
	{"ack-before-durable", 0, 20},
	{"free-out-of-order", 0, 100},
	{"nonce-not-checked", 0, 100},
	{"summary-before-durable", 0, 200},
	{"reuse-before-checkpoint", 0, 20},
	{"one-root-copy", 0, 20},
	{"merge-lets-write-pass", 0, 20},
	{"epoch-of-the-destage", 0, 20},
	{"shared-block-moved", 0, 40},
	{"moved-before-written", 0, 40},
	{"replay-starts-too-late", 0, 20},
	{"failed-flush-tried-again", 0, 100},
	{"capacity-not-flushed", 0, 40},
	{"checksum-not-verified", 0, 100},
	{"space-not-promised", 140, 40},
	{"unreadable-block-forgotten", 100, 40},
	{"discard-leaves-the-index", 0, 40},
	{"written-in-place-under-a-read", 610, 40},
}

// TestPlanted shows that each planted bug is caught, and within how many seeds.
func TestPlanted(t *testing.T) {
	for _, bug := range simPlanted {
		t.Run(bug.name, func(t *testing.T) {
			Plant, log.Plant = bug.name, bug.name
			defer func() { Plant, log.Plant = "", "" }()
			from := bug.from
			if *simFrom >= 0 {
				from = *simFrom
			}
			for seed := range bug.within {
				if r := runSeed(uint64(from+seed), nil); r.err != nil {
					t.Logf("caught by seed %d, the %d. one: %.160s", r.seed, seed+1, r.err)
					return
				}
			}
			t.Errorf("not caught by %d seeds", bug.within)
		})
	}
}

// testPlanted are bugs that tests of their own have to notice: those in what snapshots, clones and
// removals do, and one that takes a moment to which thousands of seeds do not come.
var testPlanted = []struct {
	tests string
	bugs  []string
}{
	{"^TestFamily", []string{
		"epoch-of-the-destage", "floor-moves-before-the-walk", "floor-moves-after-the-walk",
		"neighbours-walked-at-once", "removed-node-not-replayed", "walk-frees-what-is-shared",
		"mark-before-durable", "group-cut-at-two-times", "stale-shared-block",
		"scrub-passes-the-removed", "scrub-without-the-log",
	}},
	{"^TestReadAhead", []string{"stale-read-ahead"}},
}

// plantEnv names the bug that a test binary of its own is to have.
const plantEnv = "UNBLEND_PLANT"

func init() { Plant = os.Getenv(plantEnv) }

// TestPlantedTests shows that the tests notice each of them.
func TestPlantedTests(t *testing.T) {
	for _, c := range testPlanted {
		for _, bug := range c.bugs {
			t.Run(bug, func(t *testing.T) { noticed(t, c.tests, bug) })
		}
	}
}

// noticed holds that some tests fail with a bug.
func noticed(t *testing.T, tests, bug string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run="+tests, "-test.short", "-test.failfast")
	cmd.Env = append(os.Environ(), plantEnv+"="+bug)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("not caught: %s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "--- FAIL: Test") || strings.Contains(line, "panic:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
