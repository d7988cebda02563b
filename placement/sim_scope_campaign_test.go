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

// All sequences, or some of them from a number on; sequences are numbered throughout:
//
//	go test ./placement -run '^TestScope$' -timeout 24h -args -sequences=29520 -from=0 -parallel=2
//
// Without -sequences it is those of one and two letters. A state that fails can be looked at again:
//
//	go test ./placement -run '^TestScope$' -args -state=93/4/17 -v
var (
	scopeSequencesFlag = flag.Int("sequences", 0, "small scope: number of sequences")
	scopeStateFlag     = flag.String("state", "", "small scope: try this state alone, SEQUENCE/MOMENT/CUT")
)

const (
	scopeKind = "small scope"

	// scopeChunk is how many sequences share what they know, one after the other: what is equal to a
	// state of the same chunk is not tried again. So the figures of a chunk are a function of its
	// number, whoever runs it.
	scopeChunk = 45

	// scopeRecord is after how many sequences a campaign writes down what it has.
	scopeRecord = 10 * scopeChunk

	// scopeShort is of how many states one is tried in a short run.
	scopeShort = 4
)

// scopeCampaign is the line that some sequences add to docs/campaigns.jsonl.
type scopeCampaign struct {
	Kind      string    `json:"kind"`
	Time      time.Time `json:"time"`
	Commit    string    `json:"commit"`
	From      int       `json:"from"`
	Sequences int       `json:"sequences"`
	Tried     int       `json:"tried"` // the others hold a letter without effect
	Moments   int       `json:"moments"`
	Cuts      int       `json:"cuts"`
	States    int       `json:"states"` // different ones, each opened and checked
	Failures  int       `json:"failures"`
	Seconds   float64   `json:"seconds"`
}

func (c *scopeCampaign) add(r *scopeResult) {
	c.Sequences++
	if r.tried {
		c.Tried++
	}
	c.Moments += r.moments
	c.Cuts += r.cuts
	c.States += r.states
	if r.err != nil {
		c.Failures++
	}
}

func TestScope(t *testing.T) {
	switch all := len(scopeConfigs) * scopeSequences(scopeLength); {
	case *scopeStateFlag != "":
		scopeOne(t, *scopeStateFlag)
	case *scopeSequencesFlag > 0:
		from := max(*simFrom, 0)
		if *simRecord && *simFrom < 0 {
			from = nextOf(t, scopeKind)
		}
		for end := min(from+*scopeSequencesFlag, all); from < end && !t.Failed(); from += scopeRecord {
			c := scopeRange(t, 1, scopeNumbers(from, min(scopeRecord, end-from)))
			if *simRecord {
				if err := record(c); err != nil {
					t.Error(err)
				}
			}
		}
	default:
		share := 1
		if testing.Short() {
			share = scopeShort
		}
		var numbers []int
		for c := range scopeConfigs {
			numbers = append(numbers, scopeNumbers(c*scopeSequences(scopeLength), scopeSequences(2))...)
		}
		if c := scopeRange(t, share, numbers); c.States < 30_000/share {
			t.Errorf("only %d states were tried", c.States)
		}
	}
}

func scopeNumbers(from, n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = from + i
	}
	return list
}

// scopeRange tries every share-th state of some sequences and says what became of them.
func scopeRange(t *testing.T, share int, numbers []int) *scopeCampaign {
	start := time.Now()
	c := &scopeCampaign{
		Kind: scopeKind, Time: start.UTC().Truncate(time.Second), From: numbers[0], Commit: commit(),
	}
	var chunks [][]int
	for rest := numbers; len(rest) > 0; {
		n := min(scopeChunk-rest[0]%scopeChunk, len(rest))
		chunks, rest = append(chunks, rest[:n]), rest[n:]
	}
	for _, r := range scopeChunks(chunks, share) {
		c.add(&r)
		if r.err != nil {
			config, letters := scopeCase(r.number)
			t.Errorf("%s: %q, state %v: %v\n    go test ./placement -run '^TestScope$' -args -state=%v -v",
				config.name, letters, r.at, r.err, r.at)
		}
	}
	c.Seconds = math.Round(time.Since(start).Seconds())
	t.Logf("%d sequences from %d on, of which %d do something at each letter: %d moments, %d cuts, "+
		"%d different states, %.0f s", c.Sequences, c.From, c.Tried, c.Moments, c.Cuts, c.States, c.Seconds)
	return c
}

// scopeChunks tries chunks, some at a time, and returns the results in order. After ten failures it
// begins no more.
func scopeChunks(chunks [][]int, share int) (results []scopeResult) {
	parts := make([][]scopeResult, len(chunks))
	var mu sync.Mutex
	next, failed := 0, 0
	var wg sync.WaitGroup
	for range *simParallel {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= len(chunks) || failed >= 10
				mu.Unlock()
				if stop {
					return
				}
				known := map[uint64]bool{}
				for _, number := range chunks[i] {
					r := scopeTry(number, share, known)
					parts[i] = append(parts[i], r)
					if r.err != nil {
						mu.Lock()
						failed++
						mu.Unlock()
					}
				}
			}
		})
	}
	wg.Wait()
	for _, p := range parts {
		results = append(results, p...)
	}
	return results
}

// scopeOne tries one state, in detail.
func scopeOne(t *testing.T, text string) {
	var at scopeState
	if n, err := fmt.Sscanf(text, "%d/%d/%d", &at.number, &at.moment, &at.cut); n != 3 || err != nil {
		t.Fatalf("-state=%s: want SEQUENCE/MOMENT/CUT: %v", text, err)
	}
	c, letters := scopeCase(at.number)
	t.Logf("%s: %q", c.name, letters)
	trace := func(string, ...any) {}
	if *simVerbose {
		trace = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	res := scopeResult{}
	list, err := res.find(c, letters, map[uint64]bool{})
	for i := range list {
		if k := &list[i]; k.moment == at.moment && k.cut.number == at.cut {
			trace("moment %d of %d: %s", k.moment, res.moments, k.cut.String())
			if err := scopeReplay(c, letters, k, trace); err != nil {
				t.Errorf("state %v: %v", at, err)
			}
			return
		}
	}
	t.Errorf("no such state, or one like it comes before: %d moments: %v", res.moments, err)
}

// String names the blocks that a cut keeps and loses.
func (c *scopeCut) String() string {
	var b strings.Builder
	for i := range c.blocks {
		k := &c.blocks[i]
		fmt.Fprintf(&b, "%s block %d: version %d of %d", k.disk.Name(), k.held.Block, c.pick[i], k.held.N)
		if i == c.torn {
			fmt.Fprintf(&b, ", sectors %08b as before", c.old)
		}
		b.WriteString("; ")
	}
	return b.String()
}
