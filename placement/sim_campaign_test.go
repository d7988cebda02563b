package placement

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

// A campaign runs many seeds, each twice:
//
//	go test ./placement -run '^TestSimCampaign$' -args -seeds=200 -from=0 -parallel=2
//
// and a failing one can be looked at again, with all that happens, or shortened:
//
//	go test ./placement -run '^TestSimCampaign$' -args -seed=17 -v
//	go test ./placement -run '^TestSimCampaign$' -args -seed=17 -shrink
var (
	simSeeds    = flag.Int("seeds", 20, "simulation: number of seeds")
	simFrom     = flag.Int("from", -1, "simulation: first seed; default 0, or with -record the next one")
	simSeed     = flag.Int("seed", -1, "simulation: run this seed alone")
	simParallel = flag.Int("parallel", 2, "simulation: seeds at a time")
	simVerbose  = flag.Bool("v", false, "simulation: print what happens")
	simShrink   = flag.Bool("shrink", false, "simulation: shorten the list of steps of a failing seed")
	simRecord   = flag.Bool("record", false, "simulation: append the figures to docs/campaigns.jsonl")
)

// simResult is what became of one seed.
type simResult struct {
	seed  uint64
	cover simCover
	err   error
}

// simTwice is how many seeds share one that runs twice: what makes runs differ (a map's order, a clock) makes
// many differ, while each second run takes the time of another seed.
const simTwice = 16

// runSeed runs a seed; one of simTwice again, and compares.
func runSeed(seed uint64, trace func(string, ...any)) simResult {
	a := newSim(newPlan(seed))
	if trace != nil {
		a.trace = trace
	}
	res := simResult{seed: seed, err: a.run(), cover: a.cover}
	if res.err != nil || seed%simTwice != 0 {
		return res
	}
	b := newSim(newPlan(seed))
	if err := b.run(); err != nil {
		res.err = fmt.Errorf("the second run failed, the first did not: %w", err)
	} else if a.hash != b.hash {
		res.err = fmt.Errorf("the second run went another way: hash %x, then %x", a.hash, b.hash)
	}
	return res
}

// runSeeds runs seeds from..from+n-1, some at a time, and returns the results in order. After the
// first limit failures it begins no more seeds.
func runSeeds(from, n, parallel, limit int) []simResult {
	results := make([]simResult, n)
	var mu sync.Mutex
	next, failed := 0, 0
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || failed >= limit
				mu.Unlock()
				if stop {
					return
				}
				results[i] = runSeed(uint64(from+i), nil)
				if results[i].err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	done := results[:0]
	for _, r := range results {
		if r.err != nil || r.cover.ops > 0 {
			done = append(done, r)
		}
	}
	return done
}

// simShares are the shares of seeds that a campaign prints.
var simShares = []struct {
	name string
	has  func(*simCover) bool
}{
	{"500 guest operations", func(c *simCover) bool { return c.ops >= 500 }},
	{"a log wrap", func(c *simCover) bool { return c.wraps > 0 }},
	{"a checkpoint", func(c *simCover) bool { return c.checkpoints > 0 }},
	{"two crashes", func(c *simCover) bool { return c.crashes+c.kills >= 2 }},
	{"all of these", (*simCover).full},
	{"a power cut in recovery", func(c *simCover) bool { return c.deep > 0 }},
	{"a change of lanes", func(c *simCover) bool { return c.lanes > 1 }},
	{"a full pool", func(c *simCover) bool { return c.stalls+c.enospc > 0 }},
	{"a volume replaced", func(c *simCover) bool { return c.replaced > 0 }},
	{"a snapshot", func(c *simCover) bool { return c.snapshots > 0 }},
	{"a comparison", func(c *simCover) bool { return c.diffs > 0 }},
	{"a snapshot of several volumes", func(c *simCover) bool { return c.groups > 0 }},
	{"a clone", func(c *simCover) bool { return c.clones > 0 }},
	{"a shared block from memory", func(c *simCover) bool { return c.shared > 0 }},
	{"a rollback", func(c *simCover) bool { return c.rollbacks > 0 }},
	{"a pool that grew", func(c *simCover) bool { return c.grown > 0 }},
	{"blocks moved while idle", func(c *simCover) bool { return c.moved > 0 }},
	{"an end in the middle of that", func(c *simCover) bool { return c.movesCut > 0 }},
	{"requests that two processes got", func(c *simCover) bool { return c.again > 0 }},
	{"a scrub to its end", func(c *simCover) bool { return c.scrubs > 0 }},
	{"a copy of a page mended by one", func(c *simCover) bool { return c.mended > 0 }},
	{"an injected fault", func(c *simCover) bool { return c.faults > 0 }},
}

func TestSimCampaign(t *testing.T) {
	if *simSeed >= 0 {
		runOneSeed(t, uint64(*simSeed))
		return
	}
	from, chunk := *simFrom, *simSeeds
	if *simRecord {
		chunk = recordEvery
		if from < 0 {
			from = nextOf(t, simKind)
		}
	}
	from = max(from, 0)
	var results []simResult
	for end := from + *simSeeds; from < end && !t.Failed(); from += chunk {
		results = append(results, runChunk(t, from, min(chunk, end-from))...)
	}
	for _, share := range simShares {
		n := 0
		for i := range results {
			if share.has(&results[i].cover) {
				n++
			}
		}
		t.Logf("%5.1f %% of the seeds had %s", 100*float64(n)/float64(max(len(results), 1)), share.name)
	}
}

// runChunk runs n seeds, says what became of them, and records it if that is wanted.
func runChunk(t *testing.T, from, n int) []simResult {
	start := time.Now()
	results := runSeeds(from, n, *simParallel, 10)
	c := campaign{Kind: simKind, Time: start.UTC().Truncate(time.Second), From: from, Commit: commit()}
	for i := range results {
		r := &results[i]
		c.add(r)
		if r.err != nil {
			t.Errorf("seed %d: %v\n%s", r.seed, r.err, reproduce(r.seed))
		}
	}
	c.Seconds = math.Round(time.Since(start).Seconds())
	t.Logf("seeds %d to %d: %d guest operations, %d power cuts, %d process deaths, %d cuts in recovery, "+
		"%d checkpoints, %d log wraps, %d faults, %.0f s; injected: %+v", from, from+c.Seeds-1, c.Ops,
		c.Crashes, c.Kills, c.Deep, c.Checkpoints, c.Wraps, c.Faults, c.Seconds, c.simInjected)
	if *simRecord {
		if err := record(&c); err != nil {
			t.Error(err)
		}
	}
	return results
}

func reproduce(seed uint64) string {
	return fmt.Sprintf("    go test ./placement -run '^TestSimCampaign$' -args -seed=%d -v", seed)
}

// runOneSeed runs one seed, in detail.
func runOneSeed(t *testing.T, seed uint64) {
	var trace func(string, ...any)
	if *simVerbose {
		trace = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	r := runSeed(seed, trace)
	t.Logf("%+v", r.cover)
	if r.err == nil {
		return
	}
	t.Errorf("seed %d: %v\n%s", seed, r.err, reproduce(seed))
	if *simShrink {
		plan := shrink(newPlan(seed), r.err, 30*time.Second)
		for _, st := range plan.steps {
			t.Log(st)
		}
		s := newSim(plan)
		if trace != nil {
			s.trace = trace
		}
		t.Logf("%d steps are left: %v", len(plan.steps), s.run())
	}
}

// shrink leaves out as many steps as it can within a time while the run still fails in the same
// way: halves, quarters, and so on down to single steps.
func shrink(plan *simPlan, failure error, limit time.Duration) *simPlan {
	end := time.Now().Add(limit)
	for size := len(plan.steps) / 2; size > 0; {
		shorter := false
		for at := 0; at < len(plan.steps) && time.Now().Before(end); {
			try := *plan
			try.rng = nil
			try.steps = append([]simStep(nil), plan.steps[:at]...)
			try.steps = append(try.steps, plan.steps[min(at+size, len(plan.steps)):]...)
			if sameFailure(newSim(&try).run(), failure) {
				plan, shorter = &try, true
			} else {
				at += size
			}
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	return plan
}

// sameFailure compares two failures without the numbers in them.
func sameFailure(a, b error) bool {
	return a != nil && b != nil && shape(a) == shape(b)
}

func shape(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	letters := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || r == ' ' {
			return r
		}
		return -1
	}, text)
	return letters[:min(len(letters), 60)]
}
