package placement

import (
	"fmt"
	"syscall"
	"testing"

	"unblend/log"
)

// promises checks that the pool's promise is the sum of all nodes' promises, and that nothing is
// promised to a node of which the log has nothing.
func (p *Pool) promises() error {
	sum := uint64(0)
	for _, n := range p.order {
		sum += n.promised
		if n.dirty == 0 && n.extents == 0 && n.entering == (needs{}) && n.promised != 0 {
			return fmt.Errorf("node %d: %d pages are promised for nothing", n.rec.ID, n.promised)
		}
	}
	if sum != p.pageNeed {
		return fmt.Errorf("%d pages are promised, %d to the nodes", p.pageNeed, sum)
	}
	return nil
}

// settled wants the log destaged and nothing promised any more.
func (r *rig) settled() {
	r.t.Helper()
	r.must(&Control{Op: Drain})
	if err := r.p.promises(); err != nil {
		r.t.Error(err)
	}
	if r.p.pageNeed != 0 {
		r.t.Errorf("%d pages are still promised", r.p.pageNeed)
	}
}

func discard(v *Volume, block, n int64) *Request {
	return &Request{Kind: Discard, Vol: v, Off: block * log.BlockSize, Len: n * log.BlockSize}
}

// image makes an image with one block in the middle of each of some leaves, and clones of it.
func (r *rig) image(leaves int64, clones int) (list []*Volume) {
	r.t.Helper()
	v := r.create("a", leaves*leafBlocks*log.BlockSize)
	for leaf := range leaves {
		r.fill(v, leaf*leafBlocks+100, 3, 1)
	}
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	for i := range clones {
		c := &Control{Op: CloneVolume, Name: "a@s", To: fmt.Sprintf("c%d", i)}
		r.must(c)
		list = append(list, c.Vol)
	}
	r.must(&Control{Op: Drain})
	return list
}

// Scattered discards on clones copy pages that these share with their image. When there are no more
// pages they are refused, like writes; what was accepted is done, and the pool lives on.
func TestPromiseScatteredDiscardsOnClones(t *testing.T) {
	for _, blocks := range []int64{1, extentMin} {
		r := newRig(t, 64<<20)
		r.reopen(func(o *Options) { o.OnFull, o.Low, o.High = FullFails, 900, 950 })
		const leaves = 60
		clones := r.image(leaves, 12)
		r.reopen(func(o *Options) { o.OnFull, o.Low, o.High = FullFails, 900, 950 })
		done, refused := map[[2]int64]bool{}, 0
		for i := range clones {
			clones[i] = r.p.Volume(fmt.Sprintf("c%d", i))
			for leaf := range int64(leaves) {
				q := discard(clones[i], leaf*leafBlocks+101, blocks)
				switch r.strictly(q); q.Err {
				case 0:
					done[[2]int64{int64(i), leaf}] = true
				case syscall.ENOSPC:
					refused++
				default:
					t.Fatal(q.Err)
				}
				if err := r.p.promises(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if refused == 0 || len(done) < 2*leaves {
			t.Fatalf("%d discards refused, %d done", refused, len(done))
		}
		r.settled()
		if got := r.p.pages.available(); got < r.p.opt.reservePages/2 {
			t.Errorf("%d pages left, the reserve is %d", got, r.p.opt.reservePages)
		}
		for i, v := range clones {
			for leaf := range int64(leaves) {
				want := byte(1)
				if done[[2]int64{int64(i), leaf}] {
					want = 0
				}
				r.expect(v, leaf*leafBlocks+100, 1, 0)
				r.expect(v, leaf*leafBlocks+101, want, 0)
			}
		}
		r.check()
		// Discards that copy nothing are accepted, and make room.
		for i, v := range clones[:4] {
			if q := discard(v, 0, leaves*leafBlocks); i < 2 {
				if r.strictly(q); q.Err != 0 {
					t.Errorf("discard of a whole clone: %v", q.Err)
				}
			} else {
				r.must(&Control{Op: RemoveVolume, Name: v.Name()})
			}
		}
		r.settled()
		r.next(func() bool { return !r.p.back.walking() })
		r.settled()
		q := discard(clones[11], 101, 1)
		if r.strictly(q); q.Err != 0 {
			t.Errorf("discard after room was made: %v", q.Err)
		}
		r.settled()
		r.check()
	}
}

// A volume that shares nothing is discarded in a full metadata area too, in part or as a whole.
func TestPromiseDiscardOfOwnPagesWhenFull(t *testing.T) {
	r := newRig(t, 64<<20)
	r.reopen(func(o *Options) { o.OnFull = FullFails })
	v := r.create("a", 4<<30)
	n := r.fillLeaves(v)
	for i := range n / 2 {
		if q := discard(v, 2*i*leafBlocks, 1); 2*i < n/2 {
			if r.strictly(q); q.Err != 0 {
				t.Fatalf("discard %d: %v", i, q.Err)
			}
		}
	}
	q := discard(v, 7, n/2*leafBlocks)
	if r.strictly(q); q.Err != 0 {
		t.Fatal(q.Err)
	}
	r.settled()
	r.check()
	if n2 := r.fillLeaves(v); n2 < n/2 {
		t.Errorf("room for %d leaves, there had been for %d", n2, n)
	}
}

// On a clone whose pages have become its own, discards that fit into those go on in a full metadata
// area, and writes of zeros with partial blocks too.
func TestPromiseDiscardOfAClonesOwnPagesWhenFull(t *testing.T) {
	r := newRig(t, 64<<20)
	full := func(o *Options) { o.OnFull = FullFails }
	r.reopen(full)
	v := r.image(20, 1)[0]
	for leaf := range int64(10) {
		r.fill(v, leaf*leafBlocks+100, 3, 2)
	}
	r.must(&Control{Op: Drain})
	b, small := r.create("b", 4<<30), [...]*Volume{r.create("d", 1<<20), r.create("e", 1<<20)}
	for last := int64(-1); ; r.must(&Control{Op: Drain}) { // what was promised becomes exact
		n := r.fillLeaves(b)
		if n == last {
			break
		}
		last = n
	}
	for _, v := range small { // the last two pages
		r.strictly(blockWrite(v, 0, 1, 1))
	}
	r.must(&Control{Op: Drain})
	for _, x := range []struct {
		q    *Request
		want errno
	}{
		{discard(v, 101, 1), 0},
		{discard(v, 12*leafBlocks+101, 1), syscall.ENOSPC},
		{discard(v, 8*leafBlocks+101, 5*leafBlocks), syscall.ENOSPC},
		{discard(v, 2*leafBlocks+101, 4*leafBlocks), 0},
		{
			&Request{
				Kind: WriteZeroes, Vol: v, Off: (9*leafBlocks+100)*log.BlockSize + SectorSize,
				Len: 2*log.BlockSize - SectorSize, Buf: alignedBytes(2 * log.BlockSize),
			}, 0,
		},
	} {
		if r.strictly(x.q); x.q.Err != x.want {
			t.Errorf("%s at %d, %d bytes: %v, want %v", x.q.Kind, x.q.Off, x.q.Len, x.q.Err, x.want)
		}
	}
	r.settled()
	r.check()
	r.expect(v, 2*leafBlocks+100, 2, 0)
	r.expect(v, 101, 0, 0)
	r.expect(v, 9*leafBlocks+101, 0, 0)
}

// A volume that has become larger needs a page at each new level for what it had.
func TestPromiseOfAVolumeThatGrew(t *testing.T) {
	r := newRig(t, 64<<20)
	v := r.create("a", 1<<20)
	r.fill(v, 3, 1, 1)
	r.must(&Control{Op: Drain})
	had := r.p.pages.available()
	const size = 1 << 34 // three levels instead of one
	r.must(&Control{Op: ResizeVolume, Name: "a", Size: size})
	r.strictly(blockWrite(v, size/log.BlockSize-1, 1, 2))
	promised := r.p.pageNeed
	r.settled()
	if took := had - r.p.pages.available(); took != 4 || promised < took {
		t.Errorf("%d pages taken, want 4; %d were promised", took, promised)
	}
	r.expect(v, 3, 1, 0)
	r.expect(v, size/log.BlockSize-1, 2, 0)
	r.check()
}
