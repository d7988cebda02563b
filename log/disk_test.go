package log

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"syscall"
)

// testDisk is a device in memory under the test's control: operations end when and how the test
// says, and a crash keeps of what is not durable the sectors that the test picks.
type testDisk struct {
	now     []byte // what reads return
	stable  []byte // what survives for certain
	loose   []testWrite
	pending []*Op
	bad     map[int64]bool // unreadable blocks, by offset
	failing bool           // synchronous writes and flushes fail
	budget  int            // synchronous writes until the disk loses power; 0: no limit
	dead    bool
	log     []testWrite // every write submitted
	flushes int
}

// testWrite is a write that is not durable.
type testWrite struct {
	off  int64
	data []byte
	fua  bool
}

var errTest = errors.New("injected")

func newTestDisk(size int64) *testDisk {
	return &testDisk{now: make([]byte, size), stable: make([]byte, size), bad: map[int64]bool{}}
}

func (d *testDisk) Size() int64 { return int64(len(d.now)) }

func (d *testDisk) ReadAt(p []byte, off int64) error {
	for o := off; o < off+int64(len(p)); o += BlockSize {
		if d.bad[o] {
			return errTest
		}
	}
	copy(p, d.now[off:])
	return nil
}

func (d *testDisk) WriteAt(p []byte, off int64) error {
	if d.failing || d.dead {
		return errTest
	}
	w := testWrite{off: off, data: bytes.Clone(p)}
	d.loose = append(d.loose, w)
	copy(d.now[off:], p)
	if d.budget--; d.budget == 0 {
		d.dead = true
	}
	return nil
}

func (d *testDisk) Flush() error {
	if d.failing || d.dead {
		return errTest
	}
	d.flushes++
	d.settle()
	return nil
}

// settle makes everything that was completed durable.
func (d *testDisk) settle() {
	copy(d.stable, d.now)
	d.loose = d.loose[:0]
}

// take accepts all that the engine has submitted.
func (d *testDisk) take(ops *Ops) {
	for op := ops.Next(); op != nil; op = ops.Next() {
		d.pending = append(d.pending, op)
		if op.Kind == Write {
			d.log = append(d.log, copyOf(op))
		}
	}
}

func copyOf(op *Op) testWrite {
	return testWrite{off: op.Off, data: bytes.Join(op.Bufs, nil), fua: op.FUA}
}

// end completes the i-th operation under way.
func (d *testDisk) end(ops *Ops, i int, res int32) {
	op := d.pending[i]
	d.pending = append(d.pending[:i], d.pending[i+1:]...)
	if res == 0 {
		res = int32(op.Len())
		switch op.Kind {
		case Flush:
			d.flushes++
			d.settle()
		case Read:
			n := op.Off
			for _, b := range op.Bufs {
				n += int64(copy(b, d.now[n:]))
			}
		case Write:
			d.land(copyOf(op))
		}
	}
	ops.Complete(op.Token, res)
}

// fail ends the i-th operation under way with an error. Of a write, what keep says has landed.
func (d *testDisk) fail(ops *Ops, i int, keep func(write, sector, sectors int) bool) {
	op := d.pending[i]
	if op.Kind == Write {
		w := copyOf(op)
		n := len(w.data) / sector
		for s := range n {
			if keep(0, s, n) {
				at := s * sector
				d.harden(w.off+int64(at), w.data[at:at+sector])
			}
		}
	}
	d.end(ops, i, -int32(syscall.EIO))
}

// land completes a write.
func (d *testDisk) land(w testWrite) {
	if w.fua {
		d.harden(w.off, w.data)
		return
	}
	copy(d.now[w.off:], w.data)
	d.loose = append(d.loose, w)
}

// harden makes p durable at off, in place of whatever was written there before.
func (d *testDisk) harden(off int64, p []byte) {
	copy(d.now[off:], p)
	copy(d.stable[off:], p)
	for _, w := range d.loose {
		from := max(off, w.off)
		if end := min(off+int64(len(p)), w.off+int64(len(w.data))); from < end {
			copy(w.data[from-w.off:end-w.off], p[from-off:])
		}
	}
}

// sector is what a power cut cannot tear.
const sector = 512

// crash cuts the power. keep says of each sector of each write that is not durable, in flight or
// completed, whether it is on the media: write number, sector, sectors.
func (d *testDisk) crash(keep func(write, sector, sectors int) bool) {
	for _, op := range d.pending {
		if op.Kind == Write {
			d.loose = append(d.loose, copyOf(op))
		}
	}
	for i, w := range d.loose {
		n := len(w.data) / sector
		for s := range n {
			if keep(i, s, n) {
				at := s * sector
				copy(d.stable[w.off+int64(at):], w.data[at:at+sector])
			}
		}
	}
	copy(d.now, d.stable)
	d.loose, d.pending, d.log = nil, nil, nil
	d.budget, d.dead = 0, false
}

// fork returns a copy of the device, with the writes under way made volatile ones.
func (d *testDisk) fork() *testDisk {
	f := newTestDisk(0)
	f.now, f.stable = bytes.Clone(d.now), bytes.Clone(d.stable)
	f.loose = append(f.loose, d.loose...)
	for _, op := range d.pending {
		if op.Kind == Write {
			f.loose = append(f.loose, copyOf(op))
		}
	}
	return f
}

// unstable returns how many writes a crash would ask about.
func (d *testDisk) unstable() int {
	n := len(d.loose)
	for _, op := range d.pending {
		if op.Kind == Write {
			n++
		}
	}
	return n
}

// The ways in which a crash leaves one write.
var outcomes = []func(sector, sectors int) bool{
	func(int, int) bool { return false },
	func(int, int) bool { return true },
	func(s, n int) bool { return s < n/2 },
	func(s, n int) bool { return s >= n/2 },
	func(s, _ int) bool { return s > 0 },
	func(s, n int) bool { return s < n-1 },
}

// keepRandom draws an outcome for each write.
func keepRandom(rng *rand.Rand) func(write, sector, sectors int) bool {
	drawn := map[int]int{}
	return func(w, s, n int) bool {
		if _, ok := drawn[w]; !ok {
			drawn[w] = rng.IntN(len(outcomes) + 1)
		}
		if o := drawn[w]; o < len(outcomes) {
			return outcomes[o](s, n)
		}
		return rng.IntN(2) == 0
	}
}
