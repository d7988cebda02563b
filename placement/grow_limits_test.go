package placement

import (
	"errors"
	"testing"

	"unblend/log"
)

// A growth in which a whole page of references describes metadata alone, of which nothing is free
// and nothing was ever written.
func TestGrowHuge(t *testing.T) {
	c := growCase{fast: 3 << 30, capacity: 1 << 40, add: 11 << 40}
	g := newGrowRig(t, c, 1)
	g.some(4)
	if err := g.grow(c.add); err != nil {
		t.Fatal(err)
	}
	g.must(&Control{Op: Shutdown})
	p, err := Open(g.d, testOptions(g.w))
	if err != nil {
		t.Fatal(err)
	}
	if st := p.Status(); st.BlocksTotal<<12 < 11<<40 {
		t.Errorf("%d blocks", st.BlocksTotal)
	}
}

// The page bitmap may have less room than the block bitmap allows: a growth that needs more is
// refused before anything is written.
func TestGrowPageRoom(t *testing.T) {
	const capacity = 204803 // blocks: the room of both bitmaps is rounded in different ways
	cfg := FormatConfig{LogSize: 64 << 20, SegmentBlocks: 1024}
	l, err := plan([log.Devs]int64{capacity * log.BlockSize, capacity * log.BlockSize}, true, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Role = RoleBoth
	size := int64(l.Home.BlockMapRoom * pageBits * log.BlockSize)
	if g, err := l.grown([log.Devs]int64{size, size}); g != nil || !errors.Is(err, ErrTooMany) {
		t.Errorf("%+v, %v; want ErrTooMany", g, err)
	}
	g, err := l.grown([log.Devs]int64{size / 2, size / 2})
	if err != nil {
		t.Fatal(err)
	}
	g.encodeCopy(alignedBytes(log.BlockSize), log.Fast, 0)
}
