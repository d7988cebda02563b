package perf

import (
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// TestDirectWrites measures, in virtual time, what long aligned writes would get that go straight to their
// place, with a record of where they are in the log, beside what they get of the raw device: an upper bound,
// because the pages of the map and the bitmaps are left out. What they get of a pool is in
// TestSustainedSequentialWrites.
func TestDirectWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement, ten seconds long")
	}
	for _, c := range longWriters {
		for _, w := range []struct{ size, depth int }{{64 << 10, 64}, {pieceSize, pieceDepth}, {pieceSize, 1}} {
			raw := rawRate(c.raw, 16<<30, w.depth, w.size, func(i int) int64 { return int64(i) * int64(w.size) })
			direct := newDirect(c.fast, c.cap, w.size).rate(w.depth)
			t.Logf("%s, %d KiB, %d at a time: raw %.0f MB/s, direct %.2f of it",
				c.name, w.size>>10, w.depth, raw*float64(w.size)/1e6, direct/raw)
			if direct > 1.01*raw {
				t.Errorf("%s: more than the raw device takes", c.name)
			}
		}
	}
}

// direct writes data to one device, and then one record of what has ended meanwhile to the log.
type direct struct {
	w         *simdisk.World
	fast, cap *simdisk.Disk
	mem       []byte
	begun     int64 // writes
	ended     int   // that are durable, with their record
	waiting   int   // of which the data is durable, without a record under way
	records   int64
	writing   bool // a record is under way
}

const directData = 1 << 30 // where the data begins; the log is before it

func newDirect(fast, capacity simdisk.Timing, size int) *direct {
	d := &direct{w: simdisk.NewWorld(1), mem: simdisk.Buffer(size)}
	d.fast = d.w.NewDisk(simdisk.Config{Name: "fast", Size: 32 << 30, Timing: fast})
	if d.cap = d.fast; capacity != nil {
		d.cap = d.w.NewDisk(simdisk.Config{Name: "capacity", Size: 32 << 30, Timing: capacity})
	}
	return d
}

// rate returns how many writes a second become durable.
func (d *direct) rate(depth int) float64 {
	const total = 4000
	for range depth {
		d.start()
	}
	for d.ended < total && d.w.Step() {
	}
	return float64(d.ended) / (float64(d.w.Now()) / 1e9)
}

func (d *direct) start() {
	op := &log.Op{
		Kind: log.Write, FUA: true, Bufs: [][]byte{d.mem},
		Off: directData + d.begun*int64(len(d.mem)),
	}
	d.begun++
	d.cap.Submit(op, func(log.Token, int32) {
		d.waiting++
		d.record()
	})
}

// record writes one block for all that waits, if none is under way.
func (d *direct) record() {
	if d.writing || d.waiting == 0 {
		return
	}
	n := d.waiting
	d.waiting, d.writing = 0, true
	op := &log.Op{
		Kind: log.Write, FUA: true, Bufs: [][]byte{d.mem[:log.BlockSize]}, Off: d.records * log.BlockSize,
	}
	d.records++
	d.fast.Submit(op, func(log.Token, int32) {
		d.writing = false
		d.ended += n
		for range n {
			d.start()
		}
		d.record()
	})
}
