package units

import (
	"slices"
	"testing"
)

func TestCPUs(t *testing.T) {
	for list, want := range map[string][]int{
		"": nil, "0": {0}, "2,4-6": {2, 4, 5, 6}, "1-2,9,1023": {1, 2, 9, 1023},
	} {
		got, err := ParseCPUs(list)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
		if back := FormatCPUs(got); back != list {
			t.Errorf("%v: %q, want %q", got, back, list)
		}
	}
	if got, err := ParseCPUs("6,4-5,5"); err != nil || FormatCPUs(got) != "4-6" {
		t.Errorf("out of order: %v, %v", got, err)
	}
	for _, bad := range []string{
		",", "1,", "1-", "-1", "3-1", "x", "1-x", "1024", "1 2", "0x1", "1-2-3", "0-99999999999",
	} {
		if got, err := ParseCPUs(bad); err == nil {
			t.Errorf("%q was taken for %v", bad, got)
		}
	}
}
