package harddisk

import (
	"math"
	"testing"
)

// TestSimulatedIsWhatIsPublished: the model on virtual time, through what the device is made of.
func TestSimulatedIsWhatIsPublished(t *testing.T) {
	cfg, list := Full()
	for _, p := range list {
		got, err := cfg.Simulated(p.Load, 2000)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-42s %6.1f/s, published %6.1f (%+.1f %%)", p.Name, got, p.Rate, (got/p.Rate-1)*100)
		if math.Abs(got/p.Rate-1) > 0.10 {
			t.Errorf("%s: %.1f/s is not within 10 %% of %.1f", p.Name, got, p.Rate)
		}
	}
	if _, err := (Config{}).Simulated(list[0].Load, 1); err == nil {
		t.Error("a disk of no size was simulated")
	}
}
