package placement

import (
	"errors"
	"fmt"

	"unblend/log"
)

// pageReader reads the metadata page that a pointer names, from whichever home has a good copy.
type pageReader func(e Entry, p []byte) error

// opener is the synchronous side of a pool: what Open, Check and Repair read before there is an
// engine, or beside it.
type opener struct {
	d        Disks
	label    Label
	root     Root
	readOnly bool // nothing may be written
	rescue   bool // a device without a label is ours if it has our roots: the operator named it
	mended   int  // pages of which one copy was bad and has been written anew
}

// Open recovers the pool on d: newest root, catalogue, replay of the log. When it returns, the log
// accepts writes. A nil fast device opens the last checkpoint read-only: what had only been in the
// log is missing (see Report).
func Open(d Disks, opt Options) (*Pool, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	o := &opener{d: d}
	if err := o.readLabels(); err != nil {
		return nil, err
	}
	if err := o.readRoot(); err != nil {
		return nil, err
	}
	if err := o.mendLabels(); err != nil {
		return nil, err
	}
	if err := o.mendRoot(); err != nil {
		return nil, err
	}
	// Each lane has a segment open and one planned, and one is to be free.
	opt.Lanes = max(1, min(opt.Lanes, (int(o.label.Segments)-1)/2))
	p := newPool(o, opt)
	if err := o.loadBitmap(p.blocks, o.root.BlockRefs); err != nil {
		return nil, err
	}
	if err := o.loadBitmap(p.pages, o.root.PageRefs); err != nil {
		return nil, err
	}
	p.blocks.free, p.pages.free = o.root.FreeBlocks, o.root.FreePages
	if err := p.loadCatalogue(o.root.Catalogue, catalogueLevels, o.readPage); err != nil {
		return nil, err
	}
	p.adoptFamily()
	if d[log.Fast] == nil {
		p.setReadOnly(ErrWithoutLog)
		return p, nil
	}
	return p, p.replay(d[log.Fast])
}

// newPool makes the engine around what was read.
func newPool(o *opener, opt Options) *Pool {
	p := &Pool{
		opt: opt, label: o.label, root: o.root, homes: len(o.d.homes()), oneDevice: o.d.one(),
		nodes: map[uint32]*node{}, names: map[string]*node{},
		nextNode: o.root.NextNode, epoch: o.root.Epoch, lastMark: o.root.LastMark,
		bad: o.root.Bad,
	}
	p.opt.reserveBlocks = chunkUnits
	p.ops = log.NewOps(opt.Ops)
	p.cache = newCache(p, opt.Frames)
	p.dirtyLimit, p.kept = p.opt.dirtyLimit(), p.opt.keptOps()
	p.index = newIndex(opt.IndexEntries, int(o.label.Segments), int(o.label.SegmentBlocks))
	p.zeros = newExtents(opt.Extents)
	p.segments = make([]logged, o.label.Segments)
	p.blocks = newSpace(p, blockPage, o.root.Blocks, opt.FreedRuns)
	p.pages = newSpace(p, pagePage, o.root.Pages, opt.FreedRuns)
	p.blocks.refs, p.pages.refs = o.label.bitmaps(o.root.Blocks, o.root.Pages)
	p.setReserve()
	p.catalogue = tree{root: o.root.Catalogue, levels: catalogueLevels, birth: 1}
	p.shape = 1 // no node has looked yet
	p.scratch = newScratch()
	p.reader.p, p.merger.p = p, p
	p.back = newBackend(p)
	p.back.widen = o.unfinished()
	p.back.task = &p.back
	return p
}

// setReserve sets how many pages stay free for copy-on-write.
func (p *Pool) setReserve() { p.opt.reservePages = min(uint64(p.opt.Frames), p.pages.total/4) }

// newBackend allocates what the back end works with.
func newBackend(p *Pool) backend {
	n := p.opt.BatchBlocks
	most := max(n, 2) // both copies of a page
	if !p.opt.NoReplacement {
		most = max(n, leafBlocks)
	}
	b := backend{
		p: p, batch: make([]moving, 0, n), order: make([]uint32, 0, most),
		mem: alignedBytes(most * log.BlockSize), gap: alignedBytes(log.BlockSize),
		rootMem: alignedBytes(log.BlockSize), writes: make([]pageWrite, 0, p.opt.Frames),
	}
	b.scrub = newScrubber(most)
	b.gatherer, b.ahead = newGatherer(n), newAhead(p, n, most)
	if p.opt.NoReplacement {
		b.scattered.scan = noScan
	} else {
		b.moves, b.scattered = make([]moving, 0, leafBlocks), newScattered()
	}
	return b
}

// replay brings in what the log knows beyond the root, and opens it for writing.
func (p *Pool) replay(fast log.Disk) error {
	if err := p.replayLog(fast); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if err := p.ring.Cut(fast, p.opt.Rand); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	durability := log.DurableWrite
	if p.label.Durability == DurabilityFlush {
		durability = log.DurableFlush
	}
	retries := 0 // as the log sees fit
	if p.opt.NoFUA {
		retries = -1
	}
	p.ring.Start(p.ops, log.Settings{
		InFlight: p.opt.LogInFlight, Durability: durability, Random: p.opt.Rand, Retries: retries,
		Split: p.opt.HardDisk[log.Fast],
	}, p)
	return nil
}

// replayLog brings what the log holds from the root's replay start on into the index and the
// catalogue. It writes nothing.
func (p *Pool) replayLog(fast log.Disk) error {
	p.replaying = true
	defer func() { p.replaying = false }()
	var err error
	p.ring, p.replayed, err = log.Recover(fast, p.label.geometry(p.opt.Lanes), p.root.replayParams(), p)
	if err == nil {
		err = p.replayErr
	}
	p.flow = Flow{Began: p.dirtyData} // what came before is history
	return err
}

// replayParams returns what the log has to know for a replay from this root.
func (r *Root) replayParams() log.RecoverParams {
	return log.RecoverParams{UUID: r.Pool, ReplayStart: r.Replay, Generation: r.Generation}
}

// readLabels reads the labels of all devices, checks that they belong together and to the devices
// they are on, and keeps the newest.
func (o *opener) readLabels() error {
	var newest *Label
	var damaged error
	var unlabelled []log.Dev
	for _, dev := range o.d.homes() {
		l, err := readLabel(o.d, dev)
		if errors.Is(err, ErrNotPool) {
			unlabelled = append(unlabelled, dev)
		}
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotPool) {
			damaged = errors.Join(damaged, fmt.Errorf("%s device: %w", dev, err))
			continue // the other copy may do, and says what it belongs to
		}
		if err != nil {
			return fmt.Errorf("%s device: %w", dev, err)
		}
		if newest != nil && l.Pool != newest.Pool {
			return fmt.Errorf("the devices belong to different pools: %w", ErrSwapped)
		}
		if newest == nil || l.Sequence > newest.Sequence {
			newest = l
		}
	}
	if newest == nil {
		return damaged
	}
	for _, dev := range unlabelled { // on one of two devices: somebody else's
		if !o.d.one() && !(o.rescue && o.hasRoot(newest, dev)) {
			return damaged
		}
	}
	for _, dev := range o.d.homes() {
		if size := uint64(o.d[dev].Size()); size < newest.Sizes[dev] {
			return fmt.Errorf("%s device: %d bytes, its label says %d: %w",
				dev, size, newest.Sizes[dev], ErrTruncated)
		}
	}
	o.label = *newest
	return nil
}

// hasRoot reports whether a device has a root of the pool where the label of the other one says.
func (o *opener) hasRoot(l *Label, dev log.Dev) bool {
	block := alignedBytes(log.BlockSize)
	for slot := range uint64(rootSlots) {
		off := rootOffset(l, dev, slot)
		if o.d[dev].ReadAt(block, off) != nil {
			continue
		}
		if _, err := DecodeRoot(block, l.Pool, dev, off); err == nil {
			return true
		}
	}
	return false
}

// readLabel reads the label of one device: in block 0, or on a one-device pool in the last.
func readLabel(d Disks, dev log.Dev) (*Label, error) {
	off := int64(0)
	if d.one() && dev == log.Capacity {
		off = (d[dev].Size()/log.BlockSize - 1) * log.BlockSize
	}
	l, err := readLabelAt(d[dev], place{dev, off})
	if err != nil {
		return nil, err
	}
	want := Role(1 << dev)
	switch {
	case l.Role == RoleBoth && !d.one() && d[log.Fast] != nil:
		return nil, fmt.Errorf("a pool of one device: %w", ErrSwapped)
	case l.Role != RoleBoth && d.one():
		return nil, fmt.Errorf("the %s device of a pool of two: %w", l.Role, ErrMissingDevice)
	case l.Role != RoleBoth && l.Role != want:
		return nil, fmt.Errorf("the %s device in place of the %s device: %w", l.Role, want, ErrSwapped)
	}
	return l, nil
}

// readRoot finds the newest root. A root that cannot be read is as good as none, unless the log
// proves that it was there: recovery of the log refuses then.
func (o *opener) readRoot() error {
	block := alignedBytes(log.BlockSize)
	var newest *Root
	var last error
	for _, home := range o.d.homes() {
		for slot := range uint64(rootSlots) {
			off := rootOffset(&o.label, home, slot)
			if err := o.d[home].ReadAt(block, off); err != nil {
				last = err
				continue
			}
			r, err := DecodeRoot(block, o.label.Pool, home, off)
			if errors.Is(err, ErrVersion) {
				return err
			}
			if err != nil {
				last = err
				continue
			}
			if r.Generation%2 == slot && (newest == nil || r.Generation > newest.Generation) {
				newest = r
			}
		}
	}
	if newest == nil {
		return fmt.Errorf("%w: %w", ErrNoRoot, last)
	}
	o.root = *newest
	return o.checkTotals()
}

// mendRoot writes the newest root into the home that lacks it: a crash came between the two writes,
// or one copy is damaged.
func (o *opener) mendRoot() error {
	if len(o.d.homes()) < 2 {
		return nil
	}
	block := alignedBytes(log.BlockSize)
	for _, home := range o.d.homes() {
		off := rootOffset(&o.label, home, o.root.Generation)
		err := o.d[home].ReadAt(block, off)
		if err == nil {
			r, bad := DecodeRoot(block, o.label.Pool, home, off)
			if bad == nil && r.Generation == o.root.Generation {
				continue
			}
		}
		o.mended++
		o.root.Encode(block, home, off)
		if err := o.d[home].WriteAt(block, off); err != nil {
			return fmt.Errorf("%s device: root: %w", home, err)
		}
		if err := o.d[home].Flush(); err != nil {
			return fmt.Errorf("%s device: %w", home, err)
		}
	}
	return nil
}

// readAt reads a block of a home, given from its start, from the first home where it has the
// checksum, and mends the other copy.
func (o *opener) readAt(block uint64, crc uint32, p []byte) error {
	var last error
	for i, home := range o.d.homes() {
		at := o.label.locate(home, block)
		if last = o.d[at.dev].ReadAt(p, at.off); last != nil {
			continue
		}
		got := checksum(p)
		if got == crc {
			if i > 0 {
				o.mend(o.label.locate(o.d.homes()[0], block), p)
			}
			return nil
		}
		last = at.corrupt("metadata page: checksum", uint64(crc), uint64(got))
	}
	return last
}

// mend writes a good page over a bad copy. That it cannot be written is no reason not to serve.
func (o *opener) mend(at place, p []byte) {
	if !o.readOnly && o.d[at.dev].WriteAt(p, at.off) == nil {
		o.mended++
	}
}

func (o *opener) readPage(e Entry, p []byte) error {
	if e.Addr >= o.root.Pages {
		return fmt.Errorf("page %d of %d: %w", e.Addr, o.root.Pages, ErrDamaged)
	}
	return o.readAt(o.label.pageBlock(e.Addr), e.CRC, p)
}

func (o *opener) loadBitmap(s *space, top []ShadowRef) error {
	if len(top) != s.refs.count(s.refs.levels()-1) {
		return fmt.Errorf("root: %d references, want %d: %w",
			len(top), s.refs.count(s.refs.levels()-1), ErrDamaged)
	}
	return s.refs.load(top, o.readAt)
}
