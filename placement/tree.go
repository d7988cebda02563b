package placement

import "unblend/log"

const (
	fanout     = 256 // entries of a page
	fanoutBits = 8
	maxLevels  = 5      // 256^5 blocks are more than a volume can have
	leafBlocks = fanout // blocks of a volume that one leaf page maps: 1 MiB
)

// tree is a radix tree of metadata pages: the map of a node (its leaves hold one Entry per block)
// or the catalogue (its leaves hold node records). Every pointer carries the child's address and
// checksum. Pages are never overwritten in place: the first change after a checkpoint gives a page
// a new address (copy-on-write), further changes before the next one happen in memory.
type tree struct {
	node   *node // whose map it is; nil for the catalogue
	root   Entry // the root page, at level levels
	levels uint8
	birth  uint32 // epoch at which the owner was created; it is written into every pointer
	floor  uint32 // pointers and entries with an epoch above it belong to the owner
	fresh  int    // its pages that changed since the last checkpoint
	sealed bool   // they have their checksums, and do not change any more
}

// levelsFor returns how many levels a tree over n leaf entries needs.
func levelsFor(n uint64) uint8 {
	l := uint8(1)
	for size := uint64(fanout); size < n; size <<= fanoutBits {
		l++
	}
	return l
}

// slotAt returns the entry of a page at level that leads to index.
func slotAt(index uint64, level uint8) int {
	return int(index >> (fanoutBits * (level - 1)) & (fanout - 1))
}

// owns reports whether what e points at belongs to the tree's owner, so that replacing e frees it.
// end is the end of the range that e maps. While a removed parent is merged into its child, what
// was the parent's is the child's behind the walker's cursor, and still the parent's ahead of it.
func (t *tree) owns(e Entry, end uint64) bool { return e.Epoch > t.floorAt(end) }

func (t *tree) floorAt(end uint64) uint32 {
	if t.node == nil {
		return 0
	}
	if h := t.node.parent; h != nil && h.hidden() && !planted("floor-moves-after-the-walk") &&
		(end <= h.rec.Cursor || h.queued && planted("floor-moves-before-the-walk")) {
		return h.floor
	}
	return t.floor
}

// spanEnd returns the end of the range of the page at level on the way to index.
func spanEnd(index uint64, level uint8) uint64 {
	bits := fanoutBits * level
	return (index>>bits + 1) << bits
}

// descend returns the frame of the page at level toLevel on the way to index, or noFrame where the
// tree has no such page. err is errWait when a page has to be loaded first (w then waits for it),
// or says which page is damaged.
func (p *Pool) descend(t *tree, index uint64, toLevel uint8, w *waiter) (int32, error) {
	if index>>(fanoutBits*t.levels) != 0 {
		return noFrame, nil
	}
	e := t.root
	for level := t.levels; ; level-- {
		if e.Flags&FlagMapped == 0 {
			return noFrame, nil
		}
		f, err := p.cache.need(key(treePage, e.Addr), e.CRC, w)
		if err != nil {
			return noFrame, err
		}
		if level == toLevel {
			return f, nil
		}
		e = entryAt(p.cache.page(f), slotAt(index, level))
	}
}

// find returns the leaf entry of index; the zero Entry where nothing is mapped.
func (p *Pool) find(t *tree, index uint64, w *waiter) (Entry, error) {
	f, err := p.descend(t, index, 1, w)
	if err != nil || f == noFrame {
		return Entry{}, err
	}
	return entryAt(p.cache.page(f), slotAt(index, 1)), nil
}

// own makes the leaf page on the way to index changeable and returns its frame. Pages that the
// durable root reaches are copied to new addresses, missing ones are created. It changes nothing
// before it holds all it needs for one page, so it may be called again after errWait; errTight:
// a checkpoint must come first.
func (p *Pool) own(t *tree, index uint64, w *waiter) (int32, error) {
	for index>>(fanoutBits*t.levels) != 0 {
		if err := p.raise(t, w); err != nil {
			return noFrame, err
		}
	}
	parent := int32(noFrame)
	for level := t.levels; ; level-- {
		f, err := p.ownPage(t, parent, index, level, w)
		if err != nil || level == 1 {
			return f, err
		}
		parent = f
	}
}

// ownPage makes one page of the way changeable; its parent already is.
func (p *Pool) ownPage(t *tree, parent int32, index uint64, level uint8, w *waiter) (int32, error) {
	slot := 0
	e := t.root
	if parent != noFrame {
		slot = slotAt(index, level+1)
		e = entryAt(p.cache.page(parent), slot)
	}
	f := int32(noFrame)
	if e.Flags&FlagMapped != 0 {
		var err error
		if f, err = p.cache.need(key(treePage, e.Addr), e.CRC, w); err != nil {
			return noFrame, err
		}
		if p.cache.frames[f].dirty && t.owns(e, spanEnd(index, level)) {
			return f, nil
		}
	}
	if p.cache.dirty >= p.dirtyLimit || t.node != nil && !p.cutFits(int(t.levels)) {
		return noFrame, errTight
	}
	f, addr, err := p.copyPage(f, e, f != noFrame && t.owns(e, spanEnd(index, level)), w)
	if err != nil {
		return noFrame, err
	}
	p.freshen(f, t, parent, slot, level)
	p.pointAt(t, parent, slot, Entry{Addr: addr, Flags: FlagMapped, Epoch: t.birth})
	return f, nil
}

// freshen makes the clean frame f a changed page of the tree t.
func (p *Pool) freshen(f int32, t *tree, parent int32, slot int, level uint8) {
	fr := &p.cache.frames[f]
	fr.tree, fr.parent, fr.slot, fr.level = t, parent, uint8(slot), level
	p.cache.setDirty(f)
	t.fresh++
	t.sealed = false
}

// raise puts a level on top of a tree whose owner has become larger.
func (p *Pool) raise(t *tree, w *waiter) error {
	old := t.root
	if old.Flags == 0 {
		t.levels++
		return nil
	}
	if p.cache.dirty >= p.dirtyLimit || !p.cutFits(int(t.levels)+1) {
		return errTight
	}
	f, addr, err := p.copyPage(noFrame, Entry{}, false, w)
	if err != nil {
		return err
	}
	t.levels++
	p.freshen(f, t, noFrame, 0, t.levels)
	putEntry(p.cache.page(f), 0, old)
	if top := p.cache.lookup(key(treePage, old.Addr)); top != noFrame {
		if fr := &p.cache.frames[top]; fr.dirty && fr.tree == t {
			fr.parent, fr.slot = f, 0
		}
	}
	p.pointAt(t, noFrame, 0, Entry{Addr: addr, Flags: FlagMapped, Epoch: t.birth})
	return nil
}

// copyPage gives the page in frame f, to which e points (noFrame: a new, empty page), an address
// of its own. If the page is owned its old address is freed; otherwise it stays in memory for those
// it belongs to.
func (p *Pool) copyPage(f int32, e Entry, owned bool, w *waiter) (int32, uint64, error) {
	if owned {
		if err := p.pages.prepareFree(e.Addr, w); err != nil {
			return noFrame, 0, err
		}
		p.cache.frames[f].pins++ // allocating may need a frame
		defer func() { p.cache.frames[f].pins-- }()
	}
	addr, err := p.pages.alloc(w)
	if err != nil {
		return noFrame, 0, err
	}
	k := key(treePage, addr)
	if stale := p.cache.lookup(k); stale != noFrame { // what the address held in an earlier life
		if fr := &p.cache.frames[stale]; fr.state == frameLoading || fr.pins > 0 {
			p.pages.unalloc(addr)
			return noFrame, 0, p.waitOps(w)
		}
		p.cache.drop(stale)
	}
	if owned {
		p.pages.release(e.Addr)
		p.cache.unlink(f)
		p.cache.link(f, k)
		return f, addr, nil
	}
	n, err := p.newFrame(k, f, w)
	if err != nil {
		p.pages.unalloc(addr)
		return noFrame, 0, err
	}
	return n, addr, nil
}

// newFrame takes a frame for a page that is created: a copy of the one in frame from, or empty. While
// frames are lent to what is being loaded it waits for one of those.
func (p *Pool) newFrame(k pageKey, from int32, w *waiter) (int32, error) {
	if from != noFrame {
		p.cache.frames[from].pins++
		defer func() { p.cache.frames[from].pins-- }()
	}
	n := p.cache.take(k)
	switch {
	case n == noFrame && p.cache.loading > 0:
		return noFrame, p.waitOps(w)
	case n == noFrame:
		return noFrame, errTight
	}
	if from == noFrame {
		clear(p.cache.page(n))
	} else {
		copy(p.cache.page(n), p.cache.page(from))
	}
	return n, nil
}

// pointAt sets the pointer in slot of the parent's page, or the root pointer.
func (p *Pool) pointAt(t *tree, parent int32, slot int, e Entry) {
	if parent == noFrame {
		t.root = e
		if t.node != nil {
			p.touch(t.node)
		}
		return
	}
	putEntry(p.cache.page(parent), slot, e)
}

// prune removes the empty page in dirty frame f from its tree, and every page above that becomes
// empty by that. The bitmap page of each address is in memory: it was allocated since the last
// checkpoint.
func (p *Pool) prune(f int32) {
	for f != noFrame && isZero(p.cache.page(f)) {
		fr := &p.cache.frames[f]
		t, parent, slot := fr.tree, fr.parent, int(fr.slot)
		p.pages.unalloc(fr.key.number())
		p.cache.drop(f)
		t.fresh--
		p.pointAt(t, parent, slot, Entry{})
		f = parent
	}
}

// sealPages puts the checksum of every dirty tree page into its parent, leaves first, so that the
// root pointers in the end vouch for the whole trees: the maps, or the catalogue.
func (p *Pool) sealPages(catalogue bool) {
	for level := uint8(1); level <= maxLevels; level++ {
		for i := range p.cache.frames {
			f := &p.cache.frames[i]
			if f.dirty && f.key.kind() == treePage && f.level == level &&
				(f.tree == &p.catalogue) == catalogue {
				p.sealPage(int32(i))
			}
		}
	}
}

// sealTree does the same for one map that will not change any more, so that others may point at its
// pages.
func (p *Pool) sealTree(t *tree) {
	if t.sealed {
		return
	}
	t.sealed = true
	for level := uint8(1); level <= t.levels && t.fresh > 0; level++ {
		for i := range p.cache.frames {
			f := &p.cache.frames[i]
			if f.dirty && f.tree == t && f.level == level && f.key.kind() == treePage {
				p.sealPage(int32(i))
			}
		}
	}
}

func (p *Pool) sealPage(i int32) {
	f := &p.cache.frames[i]
	f.crc = checksum(p.cache.page(i))
	if f.parent == noFrame {
		f.tree.root.CRC = f.crc
		return
	}
	e := entryAt(p.cache.page(f.parent), int(f.slot))
	e.CRC = f.crc
	putEntry(p.cache.page(f.parent), int(f.slot), e)
}

var zeroBlock [log.BlockSize]byte

func isZero(b []byte) bool { return string(b) == string(zeroBlock[:len(b)]) }
