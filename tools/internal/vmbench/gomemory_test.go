package vmbench

import (
	"bytes"
	"runtime"
	"runtime/pprof"
	"testing"
)

// TestParseMemory: the runtime's own profile is understood, and says what it has done meanwhile.
func TestParseMemory(t *testing.T) {
	now := func() goMemory {
		var b bytes.Buffer
		if err := pprof.Lookup("heap").WriteTo(&b, 1); err != nil {
			t.Fatal(err)
		}
		m, err := parseMemory(b.String())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	before := now()
	runtime.GC()
	after := now()
	if after.collections <= before.collections || after.allocations <= before.allocations ||
		after.longestSince(before) <= 0 {
		t.Errorf("before a collection %d and %d, after it %d and %d, stopped for %d ns", before.collections,
			before.allocations, after.collections, after.allocations, after.longestSince(before))
	}
	if _, err := parseMemory("# Mallocs = 1\n"); err == nil {
		t.Error("a profile without the figures was taken")
	}
}

func TestLongestStop(t *testing.T) {
	m := goMemory{collections: 6, stops: []uint64{50, 60, 3, 4}} // numbers 5, 6, 3, 4
	for before, want := range map[uint64]int64{6: 0, 5: 60, 2: 60, 0: 60} {
		if got := m.longestSince(goMemory{collections: before}); got != want {
			t.Errorf("since %d: %d, want %d", before, got, want)
		}
	}
}
