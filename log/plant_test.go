//go:build plant

package log

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// within is how many random lives it may take to notice a bug.
const within = 300

// Every planted bug must be noticed by the random lives, and none without one.
func TestPlantedBugsAreCaught(t *testing.T) {
	for _, bug := range []string{
		"ack-before-durable", "free-out-of-order", "continue-recovered-segment",
		"nonce-not-checked", "summary-before-durable",
	} {
		t.Run(bug, func(t *testing.T) {
			Plant = bug
			defer func() { Plant = "" }()
			for seed := range uint64(within) {
				if err := oneLife(t, seed); err != nil {
					t.Logf("caught by seed %d: %v", seed, err)
					return
				}
			}
			t.Fatalf("not caught by %d lives", within)
		})
	}
	if err := oneLife(t, 0); err != nil {
		t.Fatalf("caught without a bug: %v", err)
	}
}

// catcher turns the failures of a test into errors.
type catcher struct{ testing.TB }

type caught struct{ msg string }

func (catcher) Fatal(args ...any) { panic(caught{fmt.Sprint(args...)}) }

func (catcher) Fatalf(format string, args ...any) { panic(caught{fmt.Sprintf(format, args...)}) }

func oneLife(t *testing.T, seed uint64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c, ok := p.(caught)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("%s", c.msg)
		}
	}()
	randomLife(catcher{t}, seed, rand.New(rand.NewPCG(seed, 4)))
	return nil
}
