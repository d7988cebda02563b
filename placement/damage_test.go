package placement

import (
	"bytes"
	"errors"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// newPairRig formats a pool of two devices and opens it.
func newPairRig(t *testing.T) (*rig, *simdisk.Disk) {
	w := simdisk.NewWorld(1)
	fast := w.NewDisk(simdisk.Config{Name: "fast", Size: 48 << 20, Timing: simdisk.P3700()})
	capacity := w.NewDisk(simdisk.Config{Name: "capacity", Size: 64 << 20, Timing: simdisk.P3700()})
	r := &rig{t: t, w: w, d: Disks{fast.Sync(), capacity.Sync()}, disk: fast, capacity: capacity}
	cfg := FormatConfig{
		LogSize: 64 * 64 << 12, SegmentBlocks: 64, MetaPages: 512, Rand: testOptions(w).Rand,
	}
	if err := Format(r.d, cfg); err != nil {
		t.Fatal(err)
	}
	r.open()
	return r, capacity
}

// fill writes n blocks of v from block on, each full of value.
func (r *rig) fill(v *Volume, block, n int64, value byte) {
	r.t.Helper()
	for i := range n {
		buf := bytes.Repeat([]byte{value}, log.BlockSize)
		q := &Request{
			Kind: Write, Vol: v, Off: (block + i) * log.BlockSize, Len: log.BlockSize,
			Buf: aligned(buf),
		}
		if r.do(q); q.Err != 0 {
			r.t.Fatalf("write: %v", q.Err)
		}
	}
}

func aligned(b []byte) []byte {
	a := alignedBytes(len(b))
	copy(a, b)
	return a
}

// expect reads a block of v and compares it with value; want is the outcome.
func (r *rig) expect(v *Volume, block int64, value byte, want errno) {
	r.t.Helper()
	q := &Request{
		Kind: Read, Vol: v, Off: block * log.BlockSize, Len: log.BlockSize,
		Buf: alignedBytes(log.BlockSize),
	}
	if r.do(q); q.Err != want {
		r.t.Fatalf("read of block %d: %v, want %v", block, q.Err, want)
	}
	if want == 0 && !bytes.Equal(q.Buf, bytes.Repeat([]byte{value}, log.BlockSize)) {
		r.t.Fatalf("read of block %d: got %d, want %d", block, q.Buf[0], value)
	}
}

func (r *rig) must(c *Control) {
	r.t.Helper()
	if err := r.control(c); err != nil {
		r.t.Fatal(err)
	}
}

// TestFastDeviceLost opens a pool without its log: the last checkpoint is there, read-only; what
// was overwritten in place since is found by its checksum and is an error, never wrong data.
func TestFastDeviceLost(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 4<<20)
	r.fill(v, 0, 32, 1)
	r.must(&Control{Op: Drain})
	r.fill(v, 8, 4, 2) // only in the log
	r.fill(v, 40, 1, 3)
	d := r.d
	r.d[log.Fast] = nil
	r.open()
	v = r.p.Volume("a")
	r.expect(v, 0, 1, 0)
	r.expect(v, 9, 1, 0)
	r.expect(v, 40, 0, 0)
	q := &Request{Kind: Write, Vol: v, Len: log.BlockSize, Buf: alignedBytes(log.BlockSize)}
	if r.do(q); q.Err != erofs {
		t.Errorf("write: %v, want %v", q.Err, erofs)
	}
	if err := r.control(&Control{Op: RemoveVolume, Name: "a"}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("rm: %v, want ErrReadOnly", err)
	}
	if st := r.p.Status(); !st.NoLog || !errors.Is(st.ReadOnly, ErrWithoutLog) {
		t.Errorf("status: %+v", st)
	}
	r.d = d // the device comes back: nothing is lost
	r.open()
	v = r.p.Volume("a")
	r.expect(v, 9, 2, 0)
	r.expect(v, 40, 3, 0)
}

// TestMetadataCopies damages all metadata of one device, then of the other: each time the pool
// opens from the good copy, check names what was bad, and repairs it.
func TestMetadataCopies(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 300, 7)
	r.must(&Control{Op: Drain})
	r.must(&Control{Op: Shutdown})
	for _, dev := range []log.Dev{log.Capacity, log.Fast} {
		l := r.p.label
		zeros := alignedBytes(log.BlockSize)
		start := int64(l.HomeStart(dev)) * log.BlockSize
		for b := int64(1); b < int64(l.Home.Blocks); b++ { // all but the label
			if err := r.d[dev].WriteAt(zeros, start+b*log.BlockSize); err != nil {
				t.Fatal(err)
			}
		}
		rep, err := Check(r.d, CheckOptions{Data: true, Repair: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Problems)+len(rep.Notes) < 5 || rep.Damaged() || rep.Repaired == 0 {
			t.Fatalf("%s device: %d problems, %d repaired: %v", dev, len(rep.Problems), rep.Repaired,
				rep.Problems)
		}
		r.open()
		r.check()
		v = r.p.Volume("a")
		r.expect(v, 299, 7, 0)
		r.must(&Control{Op: Shutdown})
	}
}

// TestPagesMendedOnline damages one copy of every metadata page of the first home and reads through
// it: the engine takes the other copy and writes the bad one anew.
func TestPagesMendedOnline(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 16<<20)
	r.fill(v, 0, 600, 9)
	r.must(&Control{Op: Drain})
	r.must(&Control{Op: Shutdown})
	l := r.p.label
	base := int64(l.HomeStart(log.Fast)+l.Home.Pages) * log.BlockSize
	for i := range int64(l.Home.PageCount) {
		r.disk.Flip(base+i*log.BlockSize+100, 3)
	}
	r.open()
	v = r.p.Volume("a")
	for b := int64(0); b < 600; b += 50 {
		r.expect(v, b, 9, 0)
	}
	if st := r.p.Status().Stats; st.PageRepairs == 0 || st.ReadErrors != 0 {
		t.Errorf("%d repairs, %d read errors", st.PageRepairs, st.ReadErrors)
	}
}

// TestLogBlockLost makes an acknowledged block in the log unreadable before it is destaged: its
// volume gets an error for that block alone, also after a restart, and a write heals it.
func TestLogBlockLost(t *testing.T) {
	r, _ := newPairRig(t)
	v := r.create("a", 4<<20)
	r.fill(v, 0, 16, 5)
	d, ok := r.p.index.get(v.node.line.id, v.node.rec.ID, 3)
	if !ok {
		t.Fatal("block 3 is not in the index")
	}
	off := int64(r.p.label.LogOffset) + int64(d.loc)*log.BlockSize
	r.disk.SetBad(off, log.BlockSize, true)
	r.must(&Control{Op: Drain})
	r.expect(v, 2, 5, 0)
	r.expect(v, 3, 0, eio)
	if st := r.p.Status().Stats; st.LostBlocks != 1 || st.LastError == nil {
		t.Errorf("%d lost blocks, last error %v", st.LostBlocks, st.LastError)
	}
	r.open()
	v = r.p.Volume("a")
	r.expect(v, 3, 0, eio)
	r.disk.SetBad(off, log.BlockSize, false)
	r.fill(v, 3, 1, 6)
	r.expect(v, 3, 6, 0)
	r.must(&Control{Op: Drain})
	r.expect(v, 3, 6, 0)
	r.check()
}

// TestCapacityWriteFails has a block of the capacity device fail, in a run and then alone: it goes
// elsewhere, the bad place is remembered, and nothing is lost.
func TestCapacityWriteFails(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("a", 4<<20)
	r.fill(v, 0, 64, 8)
	capacity.Inject(simdisk.Fault{Do: simdisk.FailWrite})
	capacity.Inject(simdisk.Fault{Do: simdisk.FailWrite})
	r.must(&Control{Op: Drain})
	for b := range int64(64) {
		r.expect(v, b, 8, 0)
	}
	if st := r.p.Status().Stats; st.BadBlocks != 1 {
		t.Errorf("%d bad blocks", st.BadBlocks)
	}
	r.must(&Control{Op: Checkpoint})
	r.open()
	r.expect(r.p.Volume("a"), 63, 8, 0)
	r.check()
}

// TestFlushFails has a flush of the capacity device fail: it is not tried again, the pool becomes
// read-only and says why, and a restart loses nothing.
func TestFlushFails(t *testing.T) {
	r, capacity := newPairRig(t)
	v := r.create("a", 4<<20)
	r.fill(v, 0, 64, 4)
	capacity.Inject(simdisk.Fault{Do: simdisk.FailFlush})
	if err := r.control(&Control{Op: Drain}); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("drain: %v, want ErrReadOnly", err)
	}
	var why *DeviceError
	if st := r.p.Status(); !errors.As(st.ReadOnly, &why) || why.Dev != log.Capacity {
		t.Errorf("status says %v", st.ReadOnly)
	}
	r.expect(v, 5, 4, 0)
	q := &Request{Kind: Write, Vol: v, Len: log.BlockSize, Buf: alignedBytes(log.BlockSize)}
	if r.do(q); q.Err != erofs {
		t.Errorf("write: %v, want %v", q.Err, erofs)
	}
	r.open()
	r.expect(r.p.Volume("a"), 63, 4, 0)
	r.check()
}
