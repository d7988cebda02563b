package placement

import (
	"cmp"
	"fmt"
	"slices"

	"unblend/log"
)

// Diff is one page of the comparison of two nodes: in which ranges To does not have what From has.
// No data is read. A block counts as changed when it does not lie where the other one's lies: one
// that was written again with the same content does too, a block that was moved does not.
//
// Both maps are walked side by side in the order of blocks. Where both have the same page nothing
// below it differs, and where the log has something that only one of them sees, block by block is
// looked up as a read would.
//
// The caller lends it to the pool between Pool.Diff and the NextDiff that returns it. What frozen
// nodes hold does not change, only where it lies, so the pages of a comparison of two of them fit
// together whatever happens in between. Of a node that is written meanwhile, a page may or may not
// have what was written since the page was asked for.
type Diff struct {
	From, To     string // volumes or snapshots; no From: all that To has
	FromID, ToID uint32 // the same by number, which does not change with the name; 0: by name
	Off          int64  // bytes; where to begin

	Extents  []DiffExtent // filled up to its capacity, which is at least 1
	FromSize int64        // bytes
	Size     int64        // of To; what From has beyond it is not looked at
	Next     int64        // bytes; where the next page begins; Size: there is none
	Err      error        // the outcome

	diffState
}

// DiffExtent is a range of bytes that differs.
type DiffExtent struct {
	Off, Len int64
	Zero     bool // it reads as zeros; else it has data
}

const (
	diffSteps = 1024 // of the walk in one page: each may have to wait for metadata pages
	diffScan  = 8192 // entries of the index looked at in one turn
	diffKept  = 4096 // leaves that the log has something of, in one page

	// The work of one turn, in units of about half a microsecond.
	diffWork  = 256
	workScan  = 128
	workSkip  = 4
	workLeaf  = 8
	workProbe = 128
)

// diffState is the pool's part of a Diff.
type diffState struct {
	waiter
	p       *Pool
	a, b    *node // a is nil without From
	paths   []diffPath
	at, end uint64 // blocks that are still to be compared in this page
	entry   uint32 // of the index, that is to be looked at next; noEntry: all have been
	leaves  []uint64
	steps   int
	work    int
	full    bool // there is no room for one more extent
}

// diffPath is a part of the past of one node that the other does not share: the nodes of a line with
// ids above one and up to another.
type diffPath struct {
	line        *line
	above, upto uint32
}

// Diff hands d to the pool, which works on it in bounded pieces, one in each turn.
func (p *Pool) Diff(d *Diff) {
	d.diffState = diffState{p: p, paths: d.paths[:0], leaves: d.leaves[:0]}
	d.task = d
	d.Extents, d.Err = d.Extents[:0], p.beginDiff(d)
	if d.Err != nil {
		p.diffsDone.add(&d.waiter)
		return
	}
	p.diffs.add(&d.waiter)
}

// NextDiff returns a finished page, or nil.
func (p *Pool) NextDiff() *Diff {
	if w := p.diffsDone.take(); w != nil {
		return w.task.(*Diff)
	}
	return nil
}

// stepDiffs goes on with one of the pages that are under way, and reports whether one is left that
// waits for nothing.
func (p *Pool) stepDiffs() bool {
	if w := p.diffs.take(); w != nil {
		w.task.resume()
	}
	return !p.diffs.empty()
}

// beginDiff finds the nodes, and what either has alone.
func (p *Pool) beginDiff(d *Diff) error {
	var err error
	if d.From != "" {
		if d.a, err = p.compared(d.From, d.FromID); err != nil {
			return err
		}
		d.FromID, d.FromSize = d.a.rec.ID, int64(d.a.rec.Size)
	}
	if d.b, err = p.compared(d.To, d.ToID); err != nil {
		return err
	}
	d.ToID, d.Size, d.end = d.b.rec.ID, int64(d.b.rec.Size), d.b.blocks()
	if d.Off < 0 || d.Off > d.Size || d.Off%log.BlockSize != 0 || cap(d.Extents) == 0 {
		return fmt.Errorf("%s: offset %d of %d, room for %d extents: %w", Object(d.To), d.Off, d.Size,
			cap(d.Extents), ErrConfig)
	}
	d.at = uint64(d.Off / log.BlockSize)
	if !d.findPaths() {
		return fmt.Errorf("%s and %s: %w", Object(d.From), Object(d.To), ErrUnrelated)
	}
	for _, path := range d.paths {
		if path.line.dirty > 0 {
			d.entry = noEntry + 1
		}
	}
	for l := d.b.line; l != nil; l = l.base {
		if l.dirty > 0 && d.zeroed(d.at, d.end) {
			d.entry = noEntry + 1
		}
	}
	return nil
}

// compared returns the node that a name stands for, or on later pages the one with the number.
func (p *Pool) compared(name string, id uint32) (*node, error) {
	n := p.names[name]
	if id != 0 {
		if n = p.nodes[id]; n != nil && n.hidden() {
			n = nil
		}
	}
	if n == nil {
		return nil, fmt.Errorf("%s: %w", Object(name), ErrNoVolume)
	}
	return n, nil
}

// findPaths fills paths with what of its past each node has alone, and reports whether the rest is
// common. A line that began later than another cannot be in the past of that: so the younger of the
// two goes back to where its line branched off, until both are on the same.
func (d *Diff) findPaths() bool {
	x, upX := d.b.line, d.b.rec.ID
	var y *line
	var upY uint32
	if d.a != nil {
		y, upY = d.a.line, d.a.rec.ID
	}
	for x != y {
		if x == nil || y != nil && y.id > x.id {
			x, upX, y, upY = y, upY, x, upX
		}
		d.paths = append(d.paths, diffPath{x, 0, upX})
		x, upX = x.base, x.upto
	}
	if x != nil && upX != upY {
		d.paths = append(d.paths, diffPath{x, min(upX, upY), max(upX, upY)})
	}
	slices.SortFunc(d.paths, func(a, b diffPath) int { return cmp.Compare(a.line.id, b.line.id) })
	return x != nil || d.a == nil
}

// resume does a piece of the page.
func (d *Diff) resume() {
	err := d.present()
	for d.work = 0; err == nil && !d.over(); {
		if d.work >= diffWork {
			d.p.diffs.add(&d.waiter)
			return
		}
		if d.entry != noEntry {
			d.scan()
		} else {
			err = d.step()
		}
	}
	if err == errWait {
		return
	}
	d.Err, d.Next = err, int64(d.at)*log.BlockSize
	d.p.diffsDone.add(&d.waiter)
}

// over reports whether the page has ended.
func (d *Diff) over() bool { return d.at >= d.end || d.full || d.steps >= diffSteps }

// present checks that the nodes are still there.
func (d *Diff) present() error {
	if d.a != nil {
		if _, err := d.p.compared(d.From, d.FromID); err != nil {
			return err
		}
	}
	_, err := d.p.compared(d.To, d.ToID)
	return err
}

// scan looks through a piece of the dirty index for leaves of which it has something that the nodes
// do not share. An entry that it misses, because it has been moved to its place meanwhile, is in the
// map when that is walked: the scan comes first.
func (d *Diff) scan() {
	x := d.p.index
	d.work += workScan
	stop := min(d.entry+diffScan, x.unused)
	for ; d.entry < stop; d.entry++ {
		en := &x.entries[d.entry]
		k := en.key()
		block := k & (1<<blockBits - 1)
		line := uint32(k >> blockBits)
		if block < d.at || block >= d.end || !d.alone(line, en.node) && !d.covered(line, block) {
			continue
		}
		leaf := block / leafBlocks
		if n := len(d.leaves); n > 0 && d.leaves[n-1] == leaf {
			continue
		}
		if d.leaves = append(d.leaves, leaf); len(d.leaves) == 2*diffKept {
			d.keepLowest()
		}
	}
	if d.entry >= x.unused {
		d.entry = noEntry
		d.keepLowest()
	}
}

// alone reports whether a node of a line is in the past of only one of the two.
func (d *Diff) alone(line, node uint32) bool {
	i, found := slices.BinarySearchFunc(d.paths, line, func(p diffPath, id uint32) int {
		return cmp.Compare(p.line.id, id)
	})
	return found && d.paths[i].has(node)
}

// covered reports whether a block of a line that the nodes come from lies under zeros that only one
// of them has: where neither map has anything, the log alone tells that this is a difference.
func (d *Diff) covered(line uint32, block uint64) bool {
	for l := d.b.line; l != nil; l = l.base {
		if l.id == line {
			return d.zeroed(block, block+1)
		}
	}
	return false
}

func (p diffPath) has(node uint32) bool { return p.above < node && node <= p.upto }

// keepLowest sorts the leaves, and ends the page before the first for which there is no room.
func (d *Diff) keepLowest() {
	slices.Sort(d.leaves)
	d.leaves = slices.Compact(d.leaves)
	if len(d.leaves) > diffKept {
		d.end = d.leaves[diffKept] * leafBlocks
		d.leaves = d.leaves[:diffKept]
	}
}

// step compares a leaf, or passes over a range in which nothing differs.
func (d *Diff) step() error {
	leaf := d.at / leafBlocks
	i, logged := slices.BinarySearch(d.leaves, leaf)
	next := d.end
	if i < len(d.leaves) {
		next = min(next, d.leaves[i]*leafBlocks)
	}
	if !logged {
		d.work += workSkip
		to, err := d.same(next)
		if err != nil {
			return err
		}
		if to > d.at {
			d.at = to
			d.steps++
			return nil
		}
	}
	end := min((leaf+1)*leafBlocks, d.end)
	return d.compare(end, logged || d.zeroed(d.at, end))
}

// same returns the end of a range in which neither the maps nor the extents differ, at most limit;
// where it begins if that is less than a leaf.
func (d *Diff) same(limit uint64) (uint64, error) {
	a, b := d.p.treeOf(d.a), d.p.treeOf(d.b)
	for level := max(a.levels, b.levels, levelsFor(d.end)); level > 0; level-- {
		x, all, err := d.p.below(a, d.at, level, &d.waiter)
		if err != nil {
			return 0, err
		}
		y, both, err := d.p.below(b, d.at, level, &d.waiter)
		if err != nil {
			return 0, err
		}
		end := min(spanEnd(d.at, level), limit)
		switch {
		case !all || !both || x.Flags != y.Flags || x.Addr != y.Addr:
		case x.Flags == 0 || !d.zeroed(d.at, end): // zeros over nothing are no difference; see covered
			return end, nil
		}
	}
	return d.at, nil
}

// treeOf returns the map that a node reads, or one without pages.
func (p *Pool) treeOf(n *node) *tree {
	if n != nil {
		if m := p.mapOf(n); m != nil {
			return &m.tree
		}
	}
	return &noMap
}

var noMap = tree{levels: 1}

// below returns the pointer to all that a tree has in the range of level around index. all is false
// if there is none because the tree is not as high, but has something there.
func (p *Pool) below(t *tree, index uint64, level uint8, w *waiter) (e Entry, all bool, err error) {
	if level > t.levels {
		return Entry{}, t.root.Flags == 0 || index>>(fanoutBits*t.levels) != 0, nil
	}
	e, err = p.pointer(t, index, level, w)
	return e, true, err
}

// zeroed reports whether one of the nodes has zeros in a range that its map does not know of.
func (d *Diff) zeroed(from, to uint64) bool {
	for _, path := range d.paths {
		for _, n := range path.line.zeroed {
			if path.has(n.rec.ID) && d.p.zeros.overlaps(n.rec.ID, from, to) {
				return true
			}
		}
	}
	return false
}

// compare compares the blocks of a leaf up to end, in the maps alone or in the log as well.
func (d *Diff) compare(end uint64, logged bool) error {
	x, err := d.p.descend(d.p.treeOf(d.a), d.at, 1, &d.waiter)
	if err != nil {
		return err
	}
	y, err := d.p.descend(d.p.treeOf(d.b), d.at, 1, &d.waiter)
	if err != nil {
		return err
	}
	d.work += workLeaf
	if logged {
		d.work += workProbe
	}
	for ; d.at < end; d.at++ {
		was, err := d.source(d.a, x, logged)
		if err != nil {
			return err
		}
		is, err := d.source(d.b, y, logged)
		if err != nil {
			return err
		}
		if was != is && !d.found(is.kind == fromZeros) {
			d.full = true
			return nil
		}
	}
	d.steps++
	return nil
}

// source returns where a node's block is. f has its leaf, if it has one.
func (d *Diff) source(n *node, f int32, logged bool) (source, error) {
	switch {
	case n == nil:
		return source{}, nil
	case logged:
		s, err := d.p.locate(n, d.at, &d.waiter)
		s.shared = false // says who else reads it, not where it lies
		return s, err
	case f == noFrame:
		return source{}, nil
	}
	return mapSource(entryAt(d.p.cache.page(f), slotAt(d.at, 1))), nil
}

// found adds the present block to the extents, and reports whether there was room for it.
func (d *Diff) found(zero bool) bool {
	off := int64(d.at) * log.BlockSize
	if k := len(d.Extents) - 1; k >= 0 {
		if e := &d.Extents[k]; e.Zero == zero && e.Off+e.Len == off {
			e.Len += log.BlockSize
			return true
		}
	}
	if len(d.Extents) == cap(d.Extents) {
		return false
	}
	d.Extents = append(d.Extents, DiffExtent{Off: off, Len: log.BlockSize, Zero: zero})
	return true
}
