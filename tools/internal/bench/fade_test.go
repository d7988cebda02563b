package bench

import (
	"slices"
	"testing"
	"time"
)

// TestFades: a run on a volume in a passing state ends before the state does.
func TestFades(t *testing.T) {
	b := &bed{set: Settings{Total: 128 * MiB, Run: 2 * time.Second}}
	for _, c := range []struct {
		cell Cell
		size int64
		want []string
	}{
		{Cell{"thin-snap", "w4-qd32", 1}, 512 * MiB, []string{"--runtime=2000ms", "--io_size=12582912"}},
		{Cell{"thin-snap", "w4-qd32", 4}, 128 * MiB, []string{"--runtime=2000ms", "--io_size=3145728"}},
		{Cell{"thin-snap", "w1m", 1}, 512 * MiB, []string{"--runtime=2000ms"}},
		{Cell{"thin-snap", "r4-qd32", 1}, 128 * MiB, []string{"--time_based", "--runtime=2000ms"}},
		{Cell{"qcow2-fresh", "mix", 1}, 128 * MiB, []string{"--time_based", "--runtime=2000ms"}},
		{Cell{"raw", "w4-qd32", 50}, 2 * MiB, []string{"--time_based", "--runtime=2000ms"}},
	} {
		if got := b.volumeSize(c.cell); got != c.size {
			t.Errorf("%s: %d bytes, want %d", c.cell, got, c.size)
		}
		if got := b.length(c.cell); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.cell, got, c.want)
		}
	}
}
