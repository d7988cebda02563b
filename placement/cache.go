package placement

import (
	"hash/crc32"

	"unblend/log"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// pageKey names a metadata page: what kind in the top byte, which one below.
type pageKey uint64

// The kinds of metadata page that go through the cache.
const (
	treePage  pageKey = iota + 1 // pages of maps and of the catalogue, by page address
	blockPage                    // pages of the bitmap of capacity blocks
	pagePage                     // pages of the bitmap of metadata pages

	sharedBlock // data that volumes share, by block of the capacity device; see shared.go
)

const (
	keyShift  = 56
	keyNumber = 1<<keyShift - 1
	noFrame   = -1
	minFrames = 64
	maxLives  = 3 // of a frame; see cache
)

func key(kind pageKey, number uint64) pageKey { return kind<<keyShift | pageKey(number) }

func (k pageKey) kind() pageKey  { return k >> keyShift }
func (k pageKey) number() uint64 { return uint64(k & keyNumber) }

type frameState uint8

const (
	frameEmpty frameState = iota
	frameLoading
	frameValid
	frameBad // neither copy has the checksum that the parent holds
)

// frame is one page in memory. A dirty frame differs from what the durable root reaches: it stays
// until the next checkpoint has written it. A dirty tree page knows where its parent points at it,
// so that the checkpoint can put its checksum there.
type frame struct {
	key   pageKey
	crc   uint32 // of the loaded content, from the parent
	state frameState
	lives uint8  // times that the clock hand passes it by
	since uint32 // when it was taken, or got its latest life, in frames taken
	dirty bool
	pins  uint8

	tree   *tree // of a dirty tree page
	parent int32 // frame of the parent page; noFrame: the tree's root pointer
	slot   uint8 // entry in the parent
	level  uint8 // 1: leaf

	next    int32 // hash chain
	waiters waitList
}

// cache holds metadata pages, and blocks of data that volumes share, in a fixed number of frames. It
// replaces them by the CLOCK rule, with lives instead of one bit: the hand takes one from a frame
// that it passes, and one without is replaced. A page begins without, and gets one when it is used
// again after a while, burst frames later: the many lookups of one sequential read are one use. So
// pages that are used once, however many there are, replace each other and not those that are in use.
type cache struct {
	p       *Pool
	mem     []byte
	frames  []frame
	buckets []int32
	hand    int
	taken   uint32 // frames taken so far
	burst   uint32
	dirty   int // frames that are dirty
	loading int // frames that are being loaded

	shared  int // frames with shared blocks
	lent    int // of these, being loaded
	itsHand int // passes over all frames but those

	good      []byte // the page that is being written over a bad copy
	repairing bool
}

func newCache(p *Pool, frames int) *cache {
	c := &cache{
		p: p, mem: alignedBytes(frames * log.BlockSize), frames: make([]frame, frames),
		good: alignedBytes(log.BlockSize), burst: uint32(frames / 16),
	}
	n := 1
	for n < frames {
		n *= 2
	}
	c.buckets = make([]int32, n)
	for i := range c.buckets {
		c.buckets[i] = noFrame
	}
	return c
}

func (c *cache) page(i int32) []byte {
	return c.mem[int(i)*log.BlockSize : (int(i)+1)*log.BlockSize : (int(i)+1)*log.BlockSize]
}

func (c *cache) bucket(k pageKey) *int32 {
	h := uint64(k) * 0x9e3779b97f4a7c15
	return &c.buckets[h>>32&uint64(len(c.buckets)-1)]
}

// lookup returns the frame of k, or noFrame.
func (c *cache) lookup(k pageKey) int32 {
	i := c.find(k)
	if i != noFrame {
		c.used(i)
	}
	return i
}

// find does the same, but does not count as a use.
func (c *cache) find(k pageKey) int32 {
	i := *c.bucket(k)
	for i != noFrame && c.frames[i].key != k {
		i = c.frames[i].next
	}
	return i
}

// used gives a frame a life, if it was not in use just now.
func (c *cache) used(i int32) {
	if f := &c.frames[i]; f.lives < maxLives && c.taken-f.since >= c.burst {
		f.lives++
		f.since = c.taken
	}
}

func (c *cache) link(i int32, k pageKey) {
	f, b := &c.frames[i], c.bucket(k)
	f.key, f.next = k, *b
	*b = i
}

func (c *cache) unlink(i int32) {
	at := c.bucket(c.frames[i].key)
	for *at != i {
		at = &c.frames[*at].next
	}
	*at = c.frames[i].next
}

// take returns a frame for k in place of a clean page, or noFrame when every frame is dirty, pinned
// or being loaded. The frame is linked, valid and has whatever content it had.
func (c *cache) take(k pageKey) int32 {
	i := c.victim(&c.hand, false)
	if i != noFrame {
		c.claim(i, k)
	}
	return i
}

// victim moves a hand on to the next frame that is to be replaced, of all or of those with shared
// blocks.
func (c *cache) victim(hand *int, shared bool) int32 {
	for range maxLives + 1 {
		some := false
		for range c.frames {
			i := *hand
			if *hand++; *hand == len(c.frames) {
				*hand = 0
			}
			f := &c.frames[i]
			if f.state == frameLoading || f.dirty || f.pins > 0 ||
				shared && (f.state == frameEmpty || f.key.kind() != sharedBlock) {
				continue
			}
			if f.lives == 0 {
				return int32(i)
			}
			f.lives--
			some = true
		}
		if !some {
			break
		}
	}
	return noFrame
}

// passedBy lets the next page have frame i, if nobody but a scan has used what is in it.
func (c *cache) passedBy(i int32) {
	if f := &c.frames[i]; f.lives == 0 && !f.dirty && f.pins == 0 {
		c.hand = int(i)
	}
}

// claim makes frame i that of k.
func (c *cache) claim(i int32, k pageKey) {
	if c.frames[i].state != frameEmpty {
		c.drop(i)
	}
	c.taken++
	f := &c.frames[i]
	f.state, f.tree, f.since = frameValid, nil, c.taken
	c.link(i, k)
	if k.kind() == sharedBlock {
		c.shared++
	}
}

// drop forgets what is in frame i, which is not being loaded.
func (c *cache) drop(i int32) {
	c.setClean(i)
	c.unlink(i)
	f := &c.frames[i]
	f.state, f.lives = frameEmpty, 0
	if f.key.kind() == sharedBlock {
		c.shared--
	}
}

// setLoading says that frame i is being loaded with what has a checksum, and loaded, what came of it.
func (c *cache) setLoading(i int32, crc uint32) {
	c.frames[i].state, c.frames[i].crc = frameLoading, crc
	c.loading++
}

func (c *cache) loaded(i int32, state frameState) {
	c.frames[i].state = state
	c.loading--
	c.p.wake(&c.frames[i].waiters)
}

func (c *cache) setDirty(i int32) {
	if !c.frames[i].dirty {
		c.frames[i].dirty = true
		c.dirty++
	}
}

func (c *cache) setClean(i int32) {
	if c.frames[i].dirty {
		c.frames[i].dirty = false
		c.dirty--
	}
}

// need returns the frame of page k when it is in memory. Otherwise it begins to load it, puts w
// (unless nil) among those who wait for it, and returns wait. errDamaged: no copy is good.
func (c *cache) need(k pageKey, crc uint32, w *waiter) (int32, error) {
	i := c.lookup(k)
	if i == noFrame {
		if i = c.load(k, crc); i == noFrame {
			return noFrame, c.noRoom(w)
		}
	}
	switch f := &c.frames[i]; f.state {
	case frameLoading:
		if w != nil {
			f.waiters.add(w)
		}
		return noFrame, errWait
	case frameBad:
		return noFrame, &DamagedError{Key: k.describe(), Page: k.number()}
	default:
		c.p.stats.PageHits++
		return i, nil
	}
}

// noRoom makes w wait for a frame or an operation. When nothing is under way that could free one,
// only a checkpoint can.
func (c *cache) noRoom(w *waiter) error {
	if c.dirty > 0 && c.p.ops.Busy() == 0 {
		c.p.back.tight = true
		if w == &c.p.back.waiter {
			return errTight
		}
	}
	return c.p.waitOps(w)
}

// load begins to read page k from the fast device, or returns noFrame when there is no frame or
// no operation to be had.
func (c *cache) load(k pageKey, crc uint32) int32 {
	if c.p.freeOps() <= 0 {
		return noFrame
	}
	i := c.take(k)
	if i == noFrame {
		return noFrame
	}
	if k.kind() != treePage {
		if ref := c.p.bitmapRef(k); ref.unwritten() {
			ref.fill(c.page(i))
			return i
		}
	}
	c.setLoading(i, crc)
	c.read(i, c.p.firstHome())
	return i
}

func (c *cache) read(i int32, home log.Dev) {
	at := c.p.pagePlace(home, c.frames[i].key)
	op := c.p.ops.NewOp(c, at.dev, log.Read, at.off)
	op.Bufs = append(op.Bufs, c.page(i))
	op.Arg = uint64(i)<<1 | uint64(home)
	c.p.ops.Submit(op)
	c.p.stats.PageReads++
}

// OpDone ends a page's load, or its repair. A copy that is unreadable or has the wrong checksum is
// replaced by the one of the other home.
func (c *cache) OpDone(op *log.Op, err error) {
	if op.Kind == log.Write { // a repair; failing, it leaves things as they were
		c.repairing = false
		c.p.leaveGrace(int(op.Arg))
		return
	}
	i, home := int32(op.Arg>>1), log.Dev(op.Arg&1)
	f := &c.frames[i]
	switch {
	case err == nil && checksum(c.page(i)) == f.crc:
		c.loaded(i, frameValid)
		if home != c.p.firstHome() {
			c.repair(i)
		}
	case home == c.p.firstHome() && c.p.homes == 2:
		c.p.stats.PageDamage++
		at := c.p.pagePlace(c.p.secondHome(), f.key)
		op.Dev, op.Off, op.Arg = at.dev, at.off, uint64(i)<<1|uint64(c.p.secondHome())
		c.p.ops.Again(op)
		return
	default:
		c.loaded(i, frameBad)
	}
}

// repair writes the good content of frame i over the bad copy in the first home: from a buffer of
// its own, since the frame may change, and as one of the accesses that a checkpoint waits for
// before the page's address is used again. One is under way at a time.
func (c *cache) repair(i int32) {
	if c.p.readOnly != nil || c.repairing || c.p.freeOps() <= 0 {
		return // a later read finds it again, and so does check
	}
	at := c.p.pagePlace(c.p.firstHome(), c.frames[i].key)
	op := c.p.ops.NewOp(c, at.dev, log.Write, at.off)
	copy(c.good, c.page(i))
	op.Bufs = append(op.Bufs, c.good)
	op.Arg, op.FUA = uint64(c.p.parity), true
	c.p.readers[c.p.parity]++
	c.repairing = true
	c.p.ops.Submit(op)
	c.p.stats.PageRepairs++
}

func (k pageKey) describe() string {
	switch k.kind() {
	case blockPage:
		return "block bitmap page"
	case pagePage:
		return "page bitmap page"
	case sharedBlock:
		return "shared block"
	}
	return "map page"
}
