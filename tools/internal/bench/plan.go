package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Cell is one contender under one workload.
type Cell struct {
	Contender string `json:"contender"`
	Workload  string `json:"workload"`
	Volumes   int    `json:"volumes"`
}

// String returns the cell's name: WORKLOAD/CONTENDER/VOLUMES.
func (c Cell) String() string { return fmt.Sprintf("%s/%s/%d", c.Workload, c.Contender, c.Volumes) }

// Title returns what the cell measures, for people.
func (c Cell) Title() string {
	t, _ := contender(c.Contender)
	return t.Title + ", " + c.WorkloadTitle()
}

// WorkloadTitle returns what the guests do, and how many they are if it is not one.
func (c Cell) WorkloadTitle() string {
	w, _ := workload(c.Workload)
	if c.Volumes == 1 {
		return w.Title
	}
	return fmt.Sprintf("%s, %d volumes", w.Title, c.Volumes)
}

// ParseCell reads what String returns. Errors name what is unknown.
func ParseCell(s string) (Cell, error) {
	part := strings.Split(s, "/")
	if len(part) != 3 {
		return Cell{}, fmt.Errorf("cell %q: want WORKLOAD/CONTENDER/VOLUMES", s)
	}
	c := Cell{Workload: part[0], Contender: part[1]}
	if _, ok := workload(c.Workload); !ok {
		return c, fmt.Errorf("cell %q: no workload %q", s, c.Workload)
	}
	if _, ok := contender(c.Contender); !ok {
		return c, fmt.Errorf("cell %q: no contender %q", s, c.Contender)
	}
	var err error
	if c.Volumes, err = strconv.Atoi(part[2]); err != nil || c.Volumes < 1 || c.Volumes > maxVolumes {
		return c, fmt.Errorf("cell %q: want 1 to %d volumes", s, maxVolumes)
	}
	return c, nil
}

// maxVolumes is how many volumes a cell has at most.
const maxVolumes = 50

// stormVolumes is how many clones a storm has.
const stormVolumes = 8

// The core set: what a user would choose from, and the work that tells them apart. With unblend, these
// are six targets.
var (
	coreContenders = []string{"raw", "loop", "thin", "thin-snap", "qcow2-fresh"}
	coreWorkloads  = []string{"w4-qd1", "w4-qd32", "r4-qd32", "w1m", "sync", "full"}
)

// Core returns the cells of `make bench`.
func Core() []Cell {
	var cells []Cell
	for _, w := range coreWorkloads {
		for _, t := range coreContenders {
			cells = append(cells, Cell{t, w, 1})
		}
	}
	return cells
}

// Full returns the cells of `make bench-full`, the core first.
func Full() []Cell {
	cells := Core()
	add := func(c Cell) {
		if !slices.Contains(cells, c) {
			cells = append(cells, c)
		}
	}
	for _, w := range workloads {
		for _, t := range contenders {
			switch {
			case w.Clones && t.Clones:
				add(Cell{t.ID, w.ID, stormVolumes})
			case !w.Clones && !(w.Reads && t.ID == "null"): // which has nothing to read
				add(Cell{t.ID, w.ID, 1})
			}
		}
	}
	for _, n := range []int{4, 16, maxVolumes} {
		for _, w := range workloads {
			for _, t := range contenders {
				if w.Many && !t.Single && (n < maxVolumes || t.Lasting) {
					add(Cell{t.ID, w.ID, n})
				}
			}
		}
	}
	return cells
}
