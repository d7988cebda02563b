package placement

import (
	"fmt"
	"math/bits"

	"unblend/log"
)

// VolumeLayout says in which runs the blocks of a volume or snapshot lie on the capacity device: as
// its map has them, without what is still in the log. A run is a range of blocks of the volume whose
// addresses follow each other.
//
// Big maps take many operations, so that others get their turn between them: LayoutVolume is given
// again, with the same VolumeLayout, until Done. What changes meanwhile is seen as it is then.
type VolumeLayout struct {
	Blocks  uint64 // with a place
	Home    uint64 // of these, at natural places: as far into a chunk as into the volume's MiB
	Shared  uint64 // of these, not the volume's own
	Lost    uint64 // blocks that could not be moved out of the log
	Runs    uint64
	Lengths [RunClasses]RunClass // what runs there are, by length
	First   uint64               // lowest and highest address
	Last    uint64
	Picture *Picture // filled in too, if there is one
	Done    bool

	at     uint64 // block from which the next operation goes on
	run    uint64 // length of the run at hand
	expect uint64 // address that would continue it
}

// RunClass counts the runs of 1<<i to 1<<(i+1)-1 blocks, in class i.
type RunClass struct{ Runs, Blocks uint64 }

// RunClasses is how many there are; longer runs are in the last.
const RunClasses = 20

// Picture is a volume's layout in few enough cells to look at: Cells[y*Width+x] blocks of the
// volume's part x lie in part y of the device's blocks From to To.
type Picture struct {
	Width, Height int
	From, To      uint64
	Cells         []uint32
}

// The bounds of a picture.
const (
	MaxPictureWidth  = 512
	MaxPictureHeight = 512
)

// How much of a map is walked in one turn, and with one operation: leaves, and pages that were not
// in memory.
const (
	layoutTurn   = 16
	layoutLeaves = 4096
	layoutLoads  = 64
)

// validate checks what the caller of a LayoutVolume gives.
func (l *VolumeLayout) validate() error {
	if l == nil {
		return fmt.Errorf("layout: nowhere to put it: %w", ErrConfig)
	}
	if i := l.Picture; i != nil && (i.Width < 1 || i.Width > MaxPictureWidth || i.Height < 1 ||
		i.Height > MaxPictureHeight || len(i.Cells) != i.Width*i.Height || i.To < i.From) {
		return fmt.Errorf("picture of %d x %d: 1 to %d x %d: %w", i.Width, i.Height,
			MaxPictureWidth, MaxPictureHeight, ErrConfig)
	}
	return nil
}

// beginLayout begins to walk the map of a volume or snapshot, or goes on.
func (p *Pool) beginLayout(c *Control) error {
	if err := c.Layout.validate(); err != nil {
		return err
	}
	if p.names[c.Name] == nil {
		return fmt.Errorf("%s: %w", Object(c.Name), ErrNoVolume)
	}
	c.leaves, c.loads, c.walk.task = 0, 0, c
	return nil
}

// resume is called when a page has come that c waited for; the next turn looks again.
func (c *Control) resume() {}

// layOut does a bounded piece of the operation, and reports whether it has ended.
func (p *Pool) layOut(c *Control) bool {
	for range layoutTurn {
		if c.walk.waiting {
			return false
		}
		n := p.names[c.Name]
		if n == nil {
			c.Err = fmt.Errorf("%s: %w", Object(c.Name), ErrNoVolume)
			return true
		}
		err := p.layOutLeaf(c, n)
		switch {
		case err == errWait:
			c.loads++
			return false
		case err != nil:
			c.Err = fmt.Errorf("%s: %w", Object(c.Name), err)
			return true
		case c.Layout.Done:
			return true
		}
		if c.leaves++; c.leaves == layoutLeaves || c.loads >= layoutLoads {
			return true
		}
	}
	c.more = true
	return false
}

// layOutLeaf counts the next leaf of n's map.
func (p *Pool) layOutLeaf(c *Control, n *node) error {
	l, m := c.Layout, p.mapOf(n)
	if m == nil {
		l.finish()
		return nil
	}
	at, err := p.nextLeaf(&m.tree, l.at, &c.walk)
	if err != nil {
		return err
	}
	if at >= n.blocks() {
		l.finish()
		return nil
	}
	f, err := p.descend(&m.tree, at, 1, &c.walk)
	if err != nil {
		return err
	}
	end := spanEnd(at, 1)
	if at != l.at {
		l.endRun()
	}
	for ; f != noFrame && at < end; at++ {
		e := entryAt(p.cache.page(f), slotAt(at, 1))
		l.count(at, e, n.blocks())
		if e.Flags&FlagMapped != 0 && (m != n || !n.owns(e, at+1)) {
			l.Shared++
		}
	}
	if f == noFrame {
		l.endRun()
	}
	l.at = end
	return nil
}

// count takes one entry.
func (l *VolumeLayout) count(block uint64, e Entry, blocks uint64) {
	if e.Flags&FlagLost != 0 {
		l.Lost++
	}
	if e.Flags&FlagMapped == 0 {
		l.endRun()
		return
	}
	if l.run == 0 || e.Addr != l.expect {
		l.endRun()
	}
	if l.Blocks == 0 {
		l.First = e.Addr
	}
	l.First, l.Last = min(l.First, e.Addr), max(l.Last, e.Addr)
	l.Blocks++
	if e.Addr%chunkUnits == block%chunkUnits {
		l.Home++
	}
	l.run++
	l.expect = e.Addr + 1
	if i := l.Picture; i != nil && e.Addr >= i.From && e.Addr <= i.To {
		x := part(block, blocks, i.Width)
		y := part(e.Addr-i.From, i.To-i.From+1, i.Height)
		i.Cells[y*i.Width+x]++
	}
}

// part returns in which of n equal parts of a range a position lies.
func part(at, size uint64, n int) int {
	hi, lo := bits.Mul64(at, uint64(n))
	q, _ := bits.Div64(hi, lo, max(size, at+1))
	return int(q)
}

// endRun counts the run at hand.
func (l *VolumeLayout) endRun() {
	if l.run == 0 {
		return
	}
	c := &l.Lengths[min(bits.Len64(l.run)-1, RunClasses-1)]
	c.Runs++
	c.Blocks += l.run
	l.Runs++
	l.run = 0
}

func (l *VolumeLayout) finish() {
	l.endRun()
	l.Done = true
}

// MeanRun returns the mean length of the runs in bytes.
func (l *VolumeLayout) MeanRun() int64 {
	if l.Runs == 0 {
		return 0
	}
	return int64(l.Blocks * log.BlockSize / l.Runs)
}
