package bench

import (
	"fmt"
	"strings"
)

// Workload is what guests do.
type Workload struct {
	ID, Title string
	Args      []string // of fio
	Depth     int      // requests under way on each volume
	Reads     bool     // some requests read: the volumes have to hold something
	Full      bool     // the log is full when a run begins, and destage runs
	Clones    bool     // many clones of one image: only for targets that have clones
	Many      bool     // measured with several volumes, too
}

// workloads are all of them, in the order of the report.
var workloads = []Workload{
	{ID: "w4-qd1", Title: "4 KiB random write, QD 1", Args: random("randwrite", "4k"), Depth: 1, Many: true},
	{ID: "w4-qd32", Title: "4 KiB random write, QD 32", Args: random("randwrite", "4k"), Depth: 32, Many: true},
	{ID: "r4-qd1", Title: "4 KiB random read, QD 1", Args: random("randread", "4k"), Depth: 1, Reads: true},
	{ID: "r4-qd32", Title: "4 KiB random read, QD 32", Args: random("randread", "4k"), Depth: 32, Reads: true},
	{
		ID: "mix", Title: "4 KiB random, 70 % read, QD 32",
		Args: append(random("randrw", "4k"), "--rwmixread=70"), Depth: 32, Reads: true,
	},
	{ID: "w64k", Title: "64 KiB sequential write, QD 8", Args: []string{"--rw=write", "--bs=64k"}, Depth: 8},
	{ID: "w1m", Title: "1 MiB sequential write, QD 4", Args: []string{"--rw=write", "--bs=1m"}, Depth: 4},
	{
		ID: "r1m", Title: "1 MiB sequential read, QD 4", Args: []string{"--rw=read", "--bs=1m"},
		Depth: 4, Reads: true,
	},
	{
		ID: "sync", Title: "4 KiB random write, fsync after each",
		Args: append(random("randwrite", "4k"), "--fsync=1"), Depth: 1,
	},
	{
		ID: "full", Title: "4 KiB random write, QD 32, log full",
		Args: random("randwrite", "4k"), Depth: 32, Full: true,
	},
	{
		ID: "boot", Title: "boot storm: clones, 80 % write, 4 to 64 KiB, QD 4",
		Args:  storm(20, "4k/60:16k/25:64k/15"),
		Depth: 4, Reads: true, Clones: true,
	},
	{
		ID: "logon", Title: "logon storm: clones, 90 % write, 4 to 32 KiB, QD 8",
		Args:  storm(10, "4k/75:8k/15:32k/10"),
		Depth: 8, Reads: true, Clones: true,
	},
}

// onlyReads reports whether no request writes.
func (w Workload) onlyReads() bool { return w.Args[0] == "--rw=read" || w.Args[0] == "--rw=randread" }

// random reports whether requests go to random places.
func (w Workload) random() bool { return strings.HasPrefix(w.Args[0], "--rw=rand") }

// random returns fio's arguments for requests at random places.
func random(kind, size string) []string {
	return []string{"--rw=" + kind, "--bs=" + size, "--norandommap"}
}

// storm returns fio's arguments for guests that all do the same at once; so many of a hundred
// requests read, and sizes has fio's form SIZE/PER CENT:...
func storm(reads int, sizes string) []string {
	return []string{
		"--rw=randrw", fmt.Sprintf("--rwmixread=%d", reads), "--bssplit=" + sizes, "--norandommap",
	}
}

// workload returns the workload with an ID.
func workload(id string) (Workload, bool) {
	for _, w := range workloads {
		if w.ID == id {
			return w, true
		}
	}
	return Workload{}, false
}
