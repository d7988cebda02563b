package bench

import "fmt"

// Some states end where a write has been: a chunk that dm-thin has copied after a snapshot is not copied
// again. On a disk as users have it, a write meets the state for minutes; on a small volume it would be
// gone in a blink. So such volumes are larger, and a run on them ends while most of it is left.

const (
	// fading is how many times as large as others such volumes are.
	fading = 4
	// fadeChunk is the granularity of dm-thin and qcow2 here, in bytes.
	fadeChunk = 64 << 10
)

// fades reports whether runs of the cell end its state, by and by.
func (c Cell) fades() bool {
	t, _ := contender(c.Contender)
	w, _ := workload(c.Workload)
	return t.Fades && !w.onlyReads() && !(t.Beside == oursFresh && w.Reads) // which is written first
}

// total returns how many bytes the volumes of the cell have together.
func (b *bed) total(c Cell) int64 {
	if c.fades() {
		return fading * b.set.Total
	}
	return b.set.Total
}

// volumeSize returns the bytes of each volume of a cell, whole MiB.
func (b *bed) volumeSize(c Cell) int64 { return b.total(c) / int64(c.Volumes) / MiB * MiB }

// length returns fio's arguments that end a run: after some time, and before there are three writes for
// eight chunks, or all was written in sequence, if the cell's state fades.
func (b *bed) length(c Cell) []string {
	args := For(b.set.Run)
	w, _ := workload(c.Workload)
	switch {
	case !c.fades():
		return args
	case w.random():
		size := b.volumeSize(c) / fadeChunk * 3 / 8 * 4096
		return append(args[1:], fmt.Sprintf("--io_size=%d", size))
	}
	return args[1:] // without time_based: one pass
}
