package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// treeIndent is how deep lines are indented at most. A volume with five hundred snapshots has a tree
// that is five hundred deep.
const treeIndent = 20

// listTree lists volumes and snapshots by what they continue. What was removed has to be known, for
// what hangs below it, and is shown if all is set.
func listTree(ctx context.Context, in *invocation, all bool) error {
	doc, err := in.client().List(ctx, control.ListRequest{All: true})
	if err == nil {
		err = known(doc.Volumes, in.args)
	}
	if err != nil {
		return err
	}
	lines := walkTree(doc.Volumes, in.args, all)
	doc.Volumes = make([]control.Volume, len(lines))
	for i, l := range lines {
		doc.Volumes[i] = l.Volume
	}
	control.SortVolumes(doc.Volumes)
	return in.answer(doc, func() string { return treeTable(lines) })
}

// treeLine is one line of a tree.
type treeLine struct {
	control.Volume
	depth int
}

// walkTree orders what there is as a tree: children below what they continue, siblings by name. With
// names it is the trees that have these. What was removed has a line only if all is set; else its
// children have theirs as if they continued its parent.
func walkTree(list []control.Volume, names []string, all bool) []treeLine {
	byID := map[uint32]control.Volume{}
	for _, v := range list {
		byID[v.ID] = v
	}
	shownParent := func(v control.Volume) uint32 {
		for {
			parent, there := byID[v.Parent]
			if !there {
				return 0
			}
			if all || !parent.Hidden {
				return parent.ID
			}
			v = parent
		}
	}
	var roots map[uint32]bool
	if len(names) > 0 {
		roots = rootsOf(byID, list, names)
	}
	children := map[uint32][]control.Volume{}
	for _, v := range list {
		switch parent := shownParent(v); {
		case v.Hidden && !all:
		case parent == 0 && roots != nil && !roots[oldest(byID, v)]:
		default:
			children[parent] = append(children[parent], v)
		}
	}
	return inOrder(children)
}

// inOrder returns the lines of the trees below 0.
func inOrder(children map[uint32][]control.Volume) []treeLine {
	order := func(a, b control.Volume) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	}
	var lines, stack []treeLine
	push := func(vs []control.Volume, depth int) {
		slices.SortFunc(vs, order)
		for _, v := range slices.Backward(vs) {
			stack = append(stack, treeLine{v, depth})
		}
	}
	push(children[0], 0)
	for len(stack) > 0 {
		l := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		lines = append(lines, l)
		push(children[l.ID], l.depth+1)
	}
	return lines
}

// rootsOf returns the ids of the oldest ancestors of what is named.
func rootsOf(byID map[uint32]control.Volume, list []control.Volume, names []string) map[uint32]bool {
	roots := map[uint32]bool{}
	for _, v := range list {
		if slices.Contains(names, v.Name) {
			roots[oldest(byID, v)] = true
		}
	}
	return roots
}

// oldest returns the id of the oldest ancestor of v, which may be itself.
func oldest(byID map[uint32]control.Volume, v control.Volume) uint32 {
	for parent, there := byID[v.Parent]; there; parent, there = byID[v.Parent] {
		v = parent
	}
	return v.ID
}

// treeTable is what list --tree prints.
func treeTable(lines []treeLine) string {
	t := units.NewTable("NAME", ">SIZE", ">MAPPED", ">UNIQUE", ">FREES", "STATE")
	for _, l := range lines {
		t.Row(indented(shownName(l.Volume), l.depth), units.FormatSize(l.Size),
			units.FormatSize(l.Mapped), units.FormatSize(l.Unique), freedText(l.Volume), treeState(l.Volume))
	}
	return t.String()
}

// indented shifts a name to the right by its depth, or says how deep it is.
func indented(name string, depth int) string {
	if depth > treeIndent {
		return fmt.Sprintf("%s[%d] %s", strings.Repeat("  ", treeIndent), depth, name)
	}
	return strings.Repeat("  ", depth) + name
}

// freedText says what removing it would free, or why nothing.
func freedText(v control.Volume) string {
	switch {
	case v.Hidden:
		return "-"
	case v.Children > 1:
		return fmt.Sprintf("0 B, %d share", v.Children)
	case v.Counting:
		return "counting"
	}
	return units.FormatSize(v.Freed)
}

func treeState(v control.Volume) string {
	switch {
	case !v.Hidden:
		if v.Snapshot && v.Device != "" {
			return "snapshot, " + shownState(v)
		}
		return shownState(v)
	case v.Children > 1:
		return fmt.Sprintf("needed by %d", v.Children)
	}
	return "being freed"
}
