package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"unblend/tools/internal/control"
)

// drawn returns the names of a tree's lines, each behind a dot for each step of its depth.
func drawn(lines []treeLine) []string {
	var got []string
	for _, l := range lines {
		got = append(got, strings.Repeat(".", l.depth)+shownName(l.Volume))
	}
	return got
}

func TestWalkTree(t *testing.T) {
	list := []control.Volume{ // (removed #7) is below (removed #2) is below a@1
		{ID: 2, Parent: 1, Hidden: true, Snapshot: true},
		{ID: 7, Parent: 2, Hidden: true, Snapshot: true},
		{Name: "a", ID: 3, Parent: 1},
		{Name: "a@1", ID: 1, Snapshot: true},
		{Name: "b", ID: 4, Parent: 2},
		{Name: "c", ID: 5, Parent: 7},
		{Name: "orphan", ID: 6, Parent: 99},
		{Name: "0", ID: 8},
		{ID: 9, Hidden: true},
		{Name: "rest", ID: 10, Parent: 9},
	}
	for _, x := range []struct {
		names []string
		all   bool
		want  []string
	}{
		{nil, false, []string{"0", "a@1", ".a", ".b", ".c", "orphan", "rest"}},
		{nil, true, []string{
			"(removed #9)", ".rest", "0", "a@1", ".(removed #2)", "..(removed #7)", "...c", "..b", ".a",
			"orphan",
		}},
		{[]string{"c"}, false, []string{"a@1", ".a", ".b", ".c"}},
		{[]string{"orphan", "a"}, false, []string{"a@1", ".a", ".b", ".c", "orphan"}},
		{[]string{"rest"}, false, []string{"rest"}},
		{[]string{"rest"}, true, []string{"(removed #9)", ".rest"}},
	} {
		got := drawn(walkTree(slices.Clone(list), x.names, x.all))
		if !slices.Equal(got, x.want) {
			t.Errorf("%q, all %v:\n got %q\nwant %q", x.names, x.all, got, x.want)
		}
	}
	if got := walkTree(nil, nil, true); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// TestDeepTree holds that a long chain of snapshots gives lines that can be read, and all of them.
func TestDeepTree(t *testing.T) {
	const depth = 500
	var list []control.Volume
	for i := range uint32(depth) {
		list = append(list, control.Volume{
			Name: fmt.Sprintf("v@%03d", i), ID: i + 1, Parent: i, Snapshot: true, Children: 1,
		})
	}
	list = append(list, control.Volume{Name: "v", ID: depth + 1, Parent: depth})
	slices.Reverse(list)
	text := treeTable(walkTree(list, nil, false))
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != depth+2 || !strings.Contains(lines[depth+1], " [500] v ") ||
		!strings.HasPrefix(lines[3], "    v@002 ") {
		t.Errorf("%d lines:\n%s\n%s", len(lines), lines[3], lines[len(lines)-1])
	}
	for _, l := range lines {
		if len(l) > 120 {
			t.Fatalf("a line of %d characters: %s", len(l), l)
		}
	}
}

func TestTreeWords(t *testing.T) {
	for _, x := range []struct {
		v            control.Volume
		freed, state string
	}{
		{control.Volume{State: control.VolumeDetached, Freed: 4096}, "4 KiB", "detached"},
		{control.Volume{Snapshot: true, ReadOnly: true, Children: 1}, "0 B", "snapshot"},
		{control.Volume{Snapshot: true, Children: 1, Counting: true}, "counting", "snapshot"},
		{control.Volume{Snapshot: true, Children: 2, Freed: 0}, "0 B, 2 share", "snapshot"},
		{
			control.Volume{Snapshot: true, ReadOnly: true, Device: "/dev/ublkb1"},
			"0 B",
			"snapshot, /dev/ublkb1 (read-only)",
		},
		{control.Volume{Hidden: true, Snapshot: true, Children: 3}, "-", "needed by 3"},
		{control.Volume{Hidden: true, Children: 1}, "-", "being freed"},
		{control.Volume{Hidden: true}, "-", "being freed"},
	} {
		if freed, state := freedText(x.v), treeState(x.v); freed != x.freed || state != x.state {
			t.Errorf("%+v: %q, %q; want %q, %q", x.v, freed, state, x.freed, x.state)
		}
	}
}
