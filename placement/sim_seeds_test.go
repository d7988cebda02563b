package placement

import "testing"

// TestSeeds runs seeds of the simulation that have failed, for what no other test shows.
func TestSeeds(t *testing.T) {
	for _, c := range []struct {
		seed uint64
		was  string
	}{
		{21575, "blocks that a checkpoint had thrown out of the batch read ahead counted as lost"},
		{22939, "what a removed volume had freed counted as its removed snapshot's"},
		{23446, "a damaged copy of a map that was taken apart meanwhile was expected of a scrub"},
		{21900, "records of freed segments made a torn record of the same lane a durable one"},
	} {
		if r := runSeed(c.seed, nil); r.err != nil {
			t.Errorf("seed %d, when %s: %v", c.seed, c.was, r.err)
		}
	}
}
