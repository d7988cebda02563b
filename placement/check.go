package placement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"unblend/log"
)

// CheckOptions says how much Check does.
type CheckOptions struct {
	Data     bool // read every block of data, and all records of the log, and verify their checksums
	Repair   bool // write the good copy of a structure over the bad one
	Progress func(done, total int64)

	entries int // of the index into which the log is replayed; 0: checkEntries
}

// CheckReport is what Check found.
type CheckReport struct {
	Label    Label
	Root     Root
	Problems []Problem
	Notes    []Problem // what need not be damage: what a crash leaves, and the next start mends; counts
	Repaired int       // bad copies that were written anew

	Volumes, Pages, Blocks uint64 // nodes, metadata pages and data blocks that are reachable
	LogBlocks              uint64 // live blocks in the log
	BadBlocks              int    // blocks of the capacity device that are not used any more
}

// Problem is one thing that is not as it should be.
type Problem struct {
	Structure string // "label", "root", "map page", "block bitmap", "data", "log", ...
	Err       error  // names device and offset where it can
	Repaired  bool
}

func (pr Problem) String() string {
	if pr.Repaired {
		return fmt.Sprintf("%s: %v (repaired)", pr.Structure, pr.Err)
	}
	return fmt.Sprintf("%s: %v", pr.Structure, pr.Err)
}

// Damaged reports whether anything is wrong that was not repaired.
func (r *CheckReport) Damaged() bool {
	for _, pr := range r.Problems {
		if !pr.Repaired {
			return true
		}
	}
	return false
}

// checker walks a pool that nobody serves. It expands every node without a look at epochs and
// compares what is reachable with what the bitmaps say is in use.
type checker struct {
	opener
	opt    CheckOptions
	rep    *CheckReport
	blocks reached // blocks of the capacity device
	pages  reached // pages of the metadata area
	tops   map[*node]uint32
	unread map[*node]bool
	p      *Pool // with the log replayed into its index
	noLog  bool  // it could not be replayed as a whole
	mem    []byte
}

// Check verifies the pool on d, which nobody may serve meanwhile, and reports all it finds. The
// error says why it could not look further.
func Check(d Disks, opt CheckOptions) (*CheckReport, error) {
	c := &checker{opt: opt, rep: &CheckReport{}, mem: alignedBytes(2 * log.BlockSize)}
	c.d, c.readOnly, c.rescue = d, true, true
	if err := c.readLabels(); err != nil {
		return c.rep, err
	}
	if err := c.readRoot(); err != nil {
		return c.rep, err
	}
	c.rep.Label, c.rep.Root, c.rep.BadBlocks = c.label, c.root, len(c.root.Bad)
	c.checkHeaders()
	c.blocks, c.pages = newReached(c.label.CapacityBlocks), newReached(c.label.pageCount())
	c.tops = map[*node]uint32{}
	if err := c.replayLog(); err != nil {
		return c.rep, err
	}
	c.checkCatalogue(c.root.Catalogue, catalogueLevels, 0)
	c.findUnread()
	// Nodes that nobody reads come after those that share with them.
	for _, last := range [...]bool{false, true} {
		for _, n := range c.p.order {
			if c.unread[n] != last {
				continue
			}
			c.rep.Volumes++
			if n.rec.Root.Flags != 0 && n.rec.Cursor < n.mapEnd() {
				c.checkMap(n, n.rec.Root, n.rec.Levels, 0)
			}
		}
	}
	c.checkBitmaps()
	c.rep.Repaired = c.mended
	return c.rep, nil
}

// findUnread finds the nodes whose maps nobody reads any more: they were removed, and at most one child
// is left that is more than a removed node's remains. After the root that one may have overwritten in
// place what the walker had made its own.
func (c *checker) findUnread() {
	c.unread = map[*node]bool{}
	needed := map[*node]int{}                      // children that are, or have, something to be read
	for _, n := range slices.Backward(c.p.order) { // children are younger
		if n.parent != nil && (!n.hidden() || needed[n] > 0) {
			needed[n.parent]++
		}
		c.unread[n] = n.gone() || n.hidden() && needed[n] <= 1
	}
}

// problem notes err. A nil error is none.
func (c *checker) problem(structure string, repaired bool, err error) {
	if err != nil {
		c.rep.Problems = append(c.rep.Problems, Problem{structure, err, repaired})
	}
}

// both reads a block that stands in both homes and must have a checksum, and leaves a good copy in
// p. A bad copy is a problem; with Repair it is written anew from the good one.
func (c *checker) both(structure string, block uint64, crc uint32, p []byte) bool {
	var bad []log.Dev
	var errs []error
	good := false
	for _, home := range c.d.homes() {
		at := c.label.locate(home, block)
		mem := c.mem[:log.BlockSize]
		err := c.d[at.dev].ReadAt(mem, at.off)
		if got := checksum(mem); err == nil && got != crc {
			err = at.corrupt(structure+": checksum", uint64(crc), uint64(got))
		}
		if err != nil {
			bad, errs = append(bad, home), append(errs, err)
			continue
		}
		if !good {
			copy(p, mem)
		}
		good = true
	}
	for i, home := range bad {
		fixed := false
		if good && c.opt.Repair {
			at := c.label.locate(home, block)
			fixed = c.d[at.dev].WriteAt(p, at.off) == nil && c.d[at.dev].Flush() == nil
		}
		c.found(structure, false, fixed, errs[i])
	}
	return good
}

// checkHeaders verifies every copy of the label and of the durable root.
func (c *checker) checkHeaders() {
	mem := c.mem[:log.BlockSize]
	for _, dev := range c.d.homes() {
		for _, off := range labelOffsets(&c.label, c.d.one(), dev) {
			c.checkLabel(dev, off)
		}
		off := rootOffset(&c.label, dev, c.root.Generation)
		err := c.d[dev].ReadAt(mem, off)
		if err == nil {
			var r *Root
			if r, err = DecodeRoot(mem, c.label.Pool, dev, off); err == nil &&
				r.Generation != c.root.Generation {
				err = &CorruptError{
					Dev: dev, Off: off, What: "root: generation", Want: c.root.Generation, Got: r.Generation,
				}
			}
		}
		c.noteRoot(dev, off, err)
	}
}

// checkLabel verifies one copy of the label. A crash while the pool grew leaves copies that are older or
// torn, which the next start mends: as long as no root describes all that the label does, and of two
// devices the copy that is written first at any time.
func (c *checker) checkLabel(dev log.Dev, off int64) {
	at := place{dev, off}
	got, err := readLabelAt(c.d[dev], at)
	if err == nil && got.Sequence != c.label.Sequence {
		err = at.corrupt("label: sequence", c.label.Sequence, got.Sequence)
	}
	if errors.Is(err, ErrNotPool) && c.d[dev].ReadAt(c.mem[:log.BlockSize], off) == nil {
		err = at.corrupt("label: magic", binary.LittleEndian.Uint64([]byte(labelMagic)),
			binary.LittleEndian.Uint64(c.mem))
	}
	first := len(c.d.homes()) == 2 && !c.d.one() && at == c.label.copies()[0]
	trace := c.unfinished() || first
	c.repairHeader("label", trace, dev, off, err, func(b []byte) { c.label.encodeCopy(b, dev, off) })
}

// noteRoot notes that one home lacks the newest root. A crash between the two writes of a root does
// that, so it is damage only when nothing else can have done it; the next start mends it anyway.
func (c *checker) noteRoot(dev log.Dev, off int64, err error) {
	trace := dev == log.Capacity && len(c.d.homes()) == 2
	c.repairHeader("root", trace, dev, off, err, func(b []byte) { c.root.Encode(b, dev, off) })
}

// repairHeader notes a bad copy of a header, or what a crash can have left of it, and writes it anew if
// that is wanted.
func (c *checker) repairHeader(what string, trace bool, dev log.Dev, off int64, err error,
	enc func([]byte),
) {
	if err == nil {
		return
	}
	fixed := false
	if c.opt.Repair && !errors.Is(err, ErrVersion) {
		enc(c.mem)
		fixed = c.d[dev].WriteAt(c.mem[:log.BlockSize], off) == nil && c.d[dev].Flush() == nil
	}
	c.found(what, trace, fixed, fmt.Errorf("%s device, offset %d: %w", dev, off, err))
}

// found notes damage to something of which there is another copy, or what a crash leaves too.
func (c *checker) found(what string, trace, fixed bool, err error) {
	if fixed {
		c.mended++
	}
	if trace {
		c.rep.Notes = append(c.rep.Notes, Problem{what, err, fixed})
		return
	}
	c.problem(what, fixed, err)
}

// checkEntries is the size of the index into which the log is replayed: more than any log that a
// daemon has written can bring in. What is not used takes no memory.
const checkEntries = 1 << 24

// replayLog brings what the log holds into an index, so that blocks whose newer content is there
// are known, and verifies the content.
func (c *checker) replayLog() error {
	setDefault(&c.opt.entries, checkEntries)
	opt := Options{
		IndexEntries: c.opt.entries, Frames: minFrames, BatchBlocks: 1, FreedRuns: minFrames,
		Extents: max(c.opt.entries/16, minExtents), Rand: func([]byte) {},
		Wall: func() int64 { return 0 }, Lanes: 1, NoReplacement: true,
	}
	if err := opt.complete(); err != nil {
		return err
	}
	c.p = newPool(&c.opener, opt)
	err := c.p.loadCatalogue(c.root.Catalogue, catalogueLevels, c.readPage)
	if err != nil {
		c.problem("catalogue", false, err)
		return nil
	}
	c.p.lastMark = c.root.LastMark
	c.p.adoptFamily()
	c.checkCounts() // before the log is replayed: they are the root's
	if c.d[log.Fast] == nil {
		return nil
	}
	if err := c.p.replayLog(c.d[log.Fast]); err != nil {
		c.problem("log", false, err)
		c.noLog = true // which blocks were written in place since the checkpoint, is not known
		return nil
	}
	c.rep.LogBlocks = c.p.dirtyData
	if c.opt.Data {
		c.checkLogHeads()
	}
	if c.opt.Data || c.p.replayed.LostBlocks > 0 {
		c.checkLogData()
	}
	return nil
}

// checkLogHeads verifies what a start does not look at because the log has it twice.
func (c *checker) checkLogHeads() {
	found, err := log.Verify(c.d[log.Fast], c.label.geometry(1), c.root.replayParams(), c.opt.Repair)
	for _, f := range found {
		c.found("log", f.Trace, f.Mended, f.Err)
	}
	c.problem("log", false, err)
}

// checkLogData verifies the newest content of every block that is in the log.
func (c *checker) checkLogData() {
	ix, mem := c.p.index, c.mem[:log.BlockSize]
	for s := range int(c.label.Segments) {
		for e := ix.segHead(s); e != noEntry; e = ix.segNext(e) {
			id, block, d := ix.entry(e)
			if d.flags&dirtyZero != 0 {
				continue
			}
			off := int64(c.label.LogOffset) + int64(d.loc)*log.BlockSize
			c.problem("log", false, c.verify(log.Fast, off, d.crc, id, block, mem))
		}
	}
}

// verify reads a block of a node and compares its checksum.
func (c *checker) verify(dev log.Dev, off int64, crc uint32, id uint32, block uint64, mem []byte) error {
	err := c.d[dev].ReadAt(mem, off)
	if err == nil {
		if got := checksum(mem); got != crc {
			err = &CorruptError{Dev: dev, Off: off, What: "checksum", Want: uint64(crc), Got: uint64(got)}
		}
	}
	if err != nil {
		return fmt.Errorf("%s, block %d: %w", c.object(id), block, err)
	}
	return nil
}

// object names a node as messages do.
func (c *checker) object(id uint32) string {
	if n := c.p.nodes[id]; n != nil && n.rec.Name != "" {
		return Object(n.rec.Name)
	}
	return fmt.Sprintf("removed volume #%d", id)
}
