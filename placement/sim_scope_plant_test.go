//go:build plant

package placement

import (
	"testing"

	"unblend/log"
)

// scopePlanted are planted bugs that sequences of two letters show, each with a configuration in which
// they do.
var scopePlanted = []struct {
	name   string
	config int
}{
	{"ack-before-durable", 0},
	{"nonce-not-checked", 2},
	{"reuse-before-checkpoint", 2},
}

// TestPlantedScope shows that small scope notices them, and at which state.
func TestPlantedScope(t *testing.T) {
	for _, bug := range scopePlanted {
		t.Run(bug.name, func(t *testing.T) {
			Plant, log.Plant = bug.name, bug.name
			defer func() { Plant, log.Plant = "", "" }()
			known, states := map[uint64]bool{}, 0
			first := bug.config * scopeSequences(scopeLength)
			for _, number := range scopeNumbers(first, scopeSequences(2)) {
				r := scopeTry(number, 1, known)
				states += r.states
				if r.err != nil {
					t.Logf("caught at state %v, the %d. one: %.160s", r.at, states, r.err)
					return
				}
			}
			t.Errorf("not caught by %d states", states)
		})
	}
}
