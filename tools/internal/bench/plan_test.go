package bench

import (
	"slices"
	"strings"
	"testing"
)

func TestCellNames(t *testing.T) {
	for _, c := range Full() {
		if got, err := ParseCell(c.String()); err != nil || got != c {
			t.Errorf("%s: %+v, %v", c, got, err)
		}
	}
	for _, bad := range []string{"", "w4-qd1", "w4-qd1/raw/0", "w4-qd1/raw/51", "w4/raw/1", "w4-qd1/disk/1"} {
		if c, err := ParseCell(bad); err == nil {
			t.Errorf("%q became %+v", bad, c)
		}
	}
}

// TestCore: six targets with unblend, six workloads, and what is expected is measured.
func TestCore(t *testing.T) {
	core := Core()
	if len(core) != 30 {
		t.Errorf("%d cells, want 30", len(core))
	}
	for _, e := range expectations {
		if !slices.Contains(core, e.Cell) {
			t.Errorf("%s is expected and not measured", e.Cell)
		}
	}
}

func TestFull(t *testing.T) {
	full := Full()
	seen := map[Cell]bool{}
	for i, c := range full {
		if seen[c] {
			t.Errorf("%s is there twice", c)
		}
		seen[c] = true
		if i < 30 && c != Core()[i] {
			t.Errorf("cell %d is %s, want the core first", i, c)
		}
		w, _ := workload(c.Workload)
		with, _ := contender(c.Contender)
		if w.Clones && !with.Clones || with.Single && c.Volumes > 1 ||
			c.Volumes == maxVolumes && !with.Lasting {
			t.Errorf("%s makes no sense", c)
		}
	}
	for _, c := range []Cell{
		{"qcow2-chain", "logon", 8},
		{"thin-clone", "boot", 8},
		{"raw", "w4-qd32", 50},
		{"thin-snap", "w4-qd1", 4},
		{"null", "w4-qd1", 1},
		{"loop", "mix", 1},
	} {
		if !seen[c] {
			t.Errorf("%s is missing", c)
		}
	}
}

// TestStates: each contender is measured beside volumes in a state that there is.
func TestStates(t *testing.T) {
	states := []string{oursFull, oursFresh, oursSnap, oursClone, oursClones}
	for _, c := range contenders {
		if !slices.Contains(states, c.Beside) {
			t.Errorf("%+v", c)
		}
		_, files := newRival(&bed{}, Cell{c.ID, "w4-qd1", 1}).(*qcow)
		if files != strings.HasPrefix(c.ID, "qcow2") {
			t.Errorf("%s is no target of its own", c.ID)
		}
	}
}
