package shard

import (
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/placement"
	"unblend/ublk"
)

// newShares returns the classes of a shard with memory bytes, and devices of a depth on them.
func newShares(t *testing.T, memory, depth, devices int) (*Shard, []*device) {
	t.Helper()
	s := &Shard{cfg: Config{Memory: memory}}
	if err := s.newClasses(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.closeClasses(); err != nil {
			t.Error(err)
		}
	})
	list := make([]*device, devices)
	for i := range list {
		list[i] = &device{slot: i, ios: make([]ublk.IO, depth)}
		s.setShares(list[i], depth)
	}
	return s, list
}

// held is a request that a share was given.
type held struct {
	share *share
	buf   []byte
	index uint32
}

// takeAll takes requests of n bytes for a share until it is refused.
func takeAll(h *share, n int) (all []held, v verdict) {
	for {
		buf, index, v := h.take(n)
		if v != begun {
			return all, v
		}
		all = append(all, held{h, buf, index})
	}
}

func giveAll(all []held) {
	for _, x := range all {
		x.share.give(x.buf, x.index)
	}
}

// TestOneDeviceLeavesHalf: a device that wants everything gets half, the next a third of what it
// would have had, and every further one still finds memory.
func TestOneDeviceLeavesHalf(t *testing.T) {
	const size, n = 16 << 20, 64 << 10
	s, devices := newShares(t, size, 128, 4)
	total := s.classes[writing].mem.Size()
	left := total
	for i, d := range devices {
		all, v := takeAll(&d.shares[writing], n)
		if v != tooMuch {
			t.Errorf("device %d ends with verdict %d, want %d", i, v, tooMuch)
		}
		got := len(all) * n
		if want := left / 2; got < want-n || got > want+n {
			t.Errorf("device %d holds %d bytes, want about %d of %d", i, got, want, left)
		}
		left -= got
		defer giveAll(all)
	}
}

// TestReadsHaveMemoryOfTheirOwn: writes that stay for ever take nothing from reads.
func TestReadsHaveMemoryOfTheirOwn(t *testing.T) {
	s, devices := newShares(t, 16<<20, 128, 64)
	var stuck []held
	for range 8 {
		for _, d := range devices {
			buf, index, v := d.shares[writing].take(placement.MaxIO)
			if v == begun {
				stuck = append(stuck, held{&d.shares[writing], buf, index})
			}
		}
	}
	if _, _, v := devices[0].shares[writing].take(placement.MaxIO); v == begun {
		t.Error("64 devices did not use up the memory of writes")
	}
	largest := int(placement.Span(log.BlockSize-placement.SectorSize, placement.MaxIO))
	buf, index, v := devices[0].shares[reading].take(largest)
	if v != begun || len(buf) != largest {
		t.Errorf("a read of %d bytes: verdict %d", largest, v)
	}
	devices[0].shares[reading].give(buf, index)
	giveAll(stuck)
	for i := range s.classes {
		c := &s.classes[i]
		if c.mem.Available() != c.mem.Size() || len(c.free) != c.total {
			t.Errorf("class %d: %d of %d bytes and %d of %d requests free after all was given",
				i, c.mem.Available(), c.mem.Size(), len(c.free), c.total)
		}
	}
}

// TestOneRequestIsAlwaysPossible: whatever the others hold, a device with nothing under way is
// refused only when there is nothing.
func TestOneRequestIsAlwaysPossible(t *testing.T) {
	_, devices := newShares(t, 4<<20, 16, 2)
	a, b := &devices[0].shares[writing], &devices[1].shares[writing]
	all, _ := takeAll(a, 4096)
	rest := b.class.mem.Available()
	n := rest * 2 / 5
	buf, index, v := b.take(n)
	if v != begun {
		t.Fatalf("verdict %d for the first request of a device with %d bytes free", v, rest)
	}
	if _, _, v := b.take(n); v != tooMuch {
		t.Errorf("verdict %d for more than its share, want %d", v, tooMuch)
	}
	b.give(buf, index)
	giveAll(all)
}

// TestTurns: the devices in line get one request each in turn, in the order in which each asked.
func TestTurns(t *testing.T) {
	s, devices := newShares(t, 16<<20, 16, 3)
	c := &s.classes[writing]
	for _, d := range devices {
		h := &d.shares[writing]
		for tag := range uint16(3) {
			h.tags.add(tag)
		}
		c.enqueue(h)
	}
	var got []int
	for c.first != nil {
		h := c.dequeue()
		got = append(got, h.dev.slot*10+int(h.tags.first()))
		h.tags.drop()
		if h.tags.n > 0 {
			c.enqueue(h)
		}
	}
	want := []int{0, 10, 20, 1, 11, 21, 2, 12, 22}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("order %v, want %v", got, want)
		}
	}
	if c.length != 0 || c.last != nil {
		t.Errorf("the empty line has length %d, last %v", c.length, c.last)
	}
}

func TestFifo(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	q := fifo{tags: make([]uint16, 8)}
	var model []uint16
	for i := range uint16(1000) {
		if len(model) < len(q.tags) && (len(model) == 0 || rnd.IntN(2) == 0) {
			q.add(i)
			model = append(model, i)
			continue
		}
		if got := q.first(); got != model[0] {
			t.Fatalf("step %d: first is %d, want %d", i, got, model[0])
		}
		q.drop()
		model = model[1:]
		if q.n != len(model) {
			t.Fatalf("step %d: %d tags, want %d", i, q.n, len(model))
		}
	}
}

func TestBufferSize(t *testing.T) {
	const b = log.BlockSize
	for _, c := range []struct {
		op       ublk.Op
		off, len int64
		want     int
	}{
		{ublk.Read, 0, b, b},
		{ublk.Read, 512, b, 2 * b},
		{ublk.Write, 3584, 1024, 2 * b},
		{ublk.Write, 512, 512, b},
		{ublk.Write, b - 512, placement.MaxIO, placement.MaxIO + b},
		{ublk.Flush, 0, 0, 0},
		{ublk.Discard, 512, 100 * b, 0},
		{ublk.WriteZeroes, 0, 100 * b, 0},
		{ublk.WriteZeroes, 512, 100 * b, 2 * b},
		{ublk.WriteZeroes, 512, 100*b - 512, b},
		{ublk.WriteZeroes, 0, 100*b - 512, b},
		{ublk.WriteZeroes, 512, 512, b},
	} {
		if got := bufferSize(ublk.IO{Op: c.op, Off: c.off, Len: c.len}); got != c.want {
			t.Errorf("%v of %d bytes at %d: %d bytes of memory, want %d",
				c.op, c.len, c.off, got, c.want)
		}
	}
}

func TestKnown(t *testing.T) {
	for op := range ublk.Op(20) {
		want := op == ublk.Read || op == ublk.Write || op == ublk.Flush || op == ublk.Discard ||
			op == ublk.WriteZeroes
		if known(op) != want {
			t.Errorf("%v: known is %v", op, known(op))
		}
	}
}

func TestSharingAllocatesNothing(t *testing.T) {
	_, devices := newShares(t, 16<<20, 128, 1)
	h := &devices[0].shares[writing]
	n := testing.AllocsPerRun(1000, func() {
		buf, index, v := h.take(8192)
		if v != begun {
			t.Fatal("refused")
		}
		h.give(buf, index)
	})
	if n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
}
