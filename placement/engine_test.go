package placement

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// rig drives a pool on one simulated disk.
type rig struct {
	t    *testing.T
	w    *simdisk.World
	d    Disks
	disk *simdisk.Disk // the fast device
	p    *Pool

	capacity *simdisk.Disk
	drv      *simdisk.Driver
}

func testOptions(w *simdisk.World) Options {
	return Options{
		Frames: 256, IndexEntries: 8192, Extents: 256, BatchBlocks: 128, FreedRuns: 512, Ops: 1024,
		Rand: func(b []byte) {
			for i := range b {
				b[i] = byte(w.Rand().Uint32())
			}
		},
		Wall: func() int64 { return 1_700_000_000 },
	}
}

// newRig formats a pool of one device and opens it.
func newRig(t *testing.T, size int64) *rig {
	w := simdisk.NewWorld(1)
	disk := w.NewDisk(simdisk.Config{Name: "disk", Size: size, SectorSize: 4096, Timing: simdisk.P3700()})
	s := disk.Sync()
	r := &rig{t: t, w: w, d: Disks{s, s}, disk: disk, capacity: disk}
	err := Format(r.d, FormatConfig{
		LogSize: 64 * 64 << 12, SegmentBlocks: 64, MetaPages: 512, Rand: testOptions(w).Rand,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	p, err := Open(r.d, testOptions(r.w))
	if err != nil {
		r.t.Fatal(err)
	}
	r.p = p
	r.drv = r.w.Drive(p.NextOp, p.Complete, r.disk, r.capacity)
}

// turn runs one turn of the loop.
func (r *rig) turn() {
	r.p.Tick(r.w.Now() + 1)
	more := r.p.Run()
	r.drv.Pump()
	if more {
		return
	}
	if r.w.Step() {
		return
	}
	if at := r.p.Deadline(); at > 0 {
		r.w.Advance(at)
	}
}

func (r *rig) do(req *Request) {
	r.t.Helper()
	r.p.Tick(r.w.Now() + 1)
	r.p.Submit(req)
	for range 1_000_000 {
		if q := r.p.NextDone(); q != nil {
			if q != req {
				r.t.Fatal("another request ended")
			}
			return
		}
		r.turn()
	}
	r.t.Fatalf("%s at %d never ended", req.Kind, req.Off)
}

func (r *rig) control(c *Control) error {
	r.t.Helper()
	r.p.Control(c)
	for range 1_000_000 {
		if q := r.p.NextControl(); q != nil {
			return q.Err
		}
		r.turn()
	}
	r.t.Fatalf("control operation %d never ended", c.Op)
	return nil
}

func (r *rig) create(name string, size int64) *Volume {
	r.t.Helper()
	c := &Control{Op: CreateVolume, Name: name, Size: size, QueueDepth: 8}
	if err := r.control(c); err != nil {
		r.t.Fatal(err)
	}
	return c.Vol
}

func (r *rig) check() {
	r.t.Helper()
	rep, err := Check(r.d, CheckOptions{Data: true, entries: 1 << 16})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, pr := range rep.Problems {
		r.t.Error(pr)
	}
	for _, pr := range rep.Notes {
		if pr.Structure == "counts" {
			r.t.Error(pr)
		}
	}
}

func TestWriteReadDestageReopen(t *testing.T) {
	r := newRig(t, 64<<20)
	const size = 8 << 20
	v := r.create("a", size)
	model := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, 2))
	rw := func(n int) {
		for range n {
			off := rng.Int64N(size/512) * 512
			l := min(rng.Int64N(64)+1, (size-off)/512) * 512
			buf := alignedBytes(int(Span(off, l)))
			q := &Request{Kind: Kind(rng.IntN(5)), Vol: v, Off: off, Len: l, Buf: buf}
			at := off % log.BlockSize
			switch q.Kind {
			case Write:
				for i := range l {
					buf[at+i] = byte(rng.Uint32())
				}
				copy(model[off:], buf[at:at+l])
			case WriteZeroes:
				clear(model[off : off+l])
			case Discard:
				from, to := (off+4095)/4096*4096, (off+l)/4096*4096
				if from < to {
					clear(model[from:to])
				}
			}
			r.do(q)
			if q.Err != 0 {
				t.Fatalf("%s at %d, %d bytes: %v (%v)", q.Kind, off, l, q.Err, r.p.stats.LastError)
			}
			if q.Kind == Read && !bytes.Equal(buf[at:at+l], model[off:off+l]) {
				t.Fatalf("read at %d, %d bytes: wrong data", off, l)
			}
		}
	}
	for range 5 {
		rw(1000)
		if err := r.control(&Control{Op: Drain}); err != nil {
			t.Fatal(err)
		}
		r.check()
		rw(200)
		r.open()
		if v = r.p.Volume("a"); v == nil {
			t.Fatal("volume is gone")
		}
	}
	st := r.p.Status()
	if st.Stats.Mismatches != 0 {
		t.Errorf("%d mismatches", st.Stats.Mismatches)
	}
	if err := r.control(&Control{Op: RemoveVolume, Name: "a"}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.control(&Control{Op: Drain}); err != nil {
			t.Fatal(err)
		}
		r.w.Advance(r.w.Now() + 10_000_000_000)
		for range 100 {
			r.turn()
		}
	}
	r.check()
	if st := r.p.Status(); st.Nodes != 0 || st.BlocksFree != st.BlocksTotal {
		t.Errorf("%d nodes, %d of %d blocks free", st.Nodes, st.BlocksFree, st.BlocksTotal)
	}
}
