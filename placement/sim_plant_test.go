//go:build plant

package placement

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"unblend/log"
)

// simPlanted are the bugs that can be planted in the engine, with the number of seeds within which
// the simulation has to notice each. A recovered segment that is continued takes shorter lives than
// these to show: the log's own test has them.
var simPlanted = []struct {
	name   string
	within int
}{
	{"ack-before-durable", 20},
	{"free-out-of-order", 100},
	{"nonce-not-checked", 100},
	{"summary-before-durable", 200},
	{"reuse-before-checkpoint", 20},
	{"one-root-copy", 20},
	{"merge-lets-write-pass", 20},
	{"epoch-of-the-destage", 20},
	{"shared-block-moved", 40},
	{"moved-before-written", 40},
}

// TestPlanted shows that each planted bug is caught, and within how many seeds.
func TestPlanted(t *testing.T) {
	for _, bug := range simPlanted {
		t.Run(bug.name, func(t *testing.T) {
			Plant, log.Plant = bug.name, bug.name
			defer func() { Plant, log.Plant = "", "" }()
			for seed := range bug.within {
				if r := runSeed(uint64(max(*simFrom, 0)+seed), nil); r.err != nil {
					t.Logf("caught by seed %d, the %d. one: %.160s", r.seed, seed+1, r.err)
					return
				}
			}
			t.Errorf("not caught by %d seeds", bug.within)
		})
	}
}

// treePlanted are bugs in what snapshots, clones and removals do.
var treePlanted = []string{
	"epoch-of-the-destage", "floor-moves-before-the-walk", "floor-moves-after-the-walk",
	"neighbours-walked-at-once", "removed-node-not-replayed",
	"mark-before-durable", "group-cut-at-two-times", "stale-shared-block",
}

// plantEnv names the bug that a test binary of its own is to have.
const plantEnv = "UNBLEND_PLANT"

func init() { Plant = os.Getenv(plantEnv) }

// TestPlantedTrees shows that TestFamily notices each of them.
func TestPlantedTrees(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range treePlanted {
		t.Run(bug, func(t *testing.T) {
			cmd := exec.Command(self, "-test.run=^TestFamily", "-test.short", "-test.failfast")
			cmd.Env = append(os.Environ(), plantEnv+"="+bug)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("not caught: %s", out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "--- FAIL: TestFamily/") || strings.Contains(line, "panic:") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}
