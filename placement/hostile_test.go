package placement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"unblend/log"
)

// A hostile pool: its checksums are right, all the way up to the root, but somebody wrote into it what he
// liked. Whatever that is, every step ends with an error or goes on; nothing panics, hangs, or reaches
// beyond the devices.

// hostileImage is the pool that is changed: of two devices, at rest.
var hostileImage = sync.OnceValue(func() *corruptPool { return newCorruptPool(new(testing.T), false) })

// hostile is a changed copy of it.
type hostile struct {
	c    *corruptPool
	d    Disks
	fast *patched
	seen map[uint64]uint32 // checksums of pages, by number; an entry of a loop is 0
}

// metadata returns the offsets of the blocks of the fast device that are metadata in use.
func (c *corruptPool) metadata() (list []int64) {
	for i, p := range c.parts[log.Fast] {
		if p.fate == mended && p.check != "log" {
			list = append(list, int64(i)*log.BlockSize)
		}
	}
	return list
}

// change writes a patch into a block and seals all that leads to it.
func (h *hostile) change(off int64, at int, patch []byte) {
	b := slices.Clone(h.fast.block(off))
	copy(b[at%log.BlockSize:], patch)
	h.fast.blocks[off] = b
	l := &h.c.label
	if off == 0 {
		h.sealFrame(b, off)
	}
	rootAt := rootOffset(l, log.Fast, h.c.root.Generation)
	root := slices.Clone(h.fast.block(rootAt))
	h.fast.blocks[rootAt] = root
	h.sealTree(root[104:120], catalogueLevels, true)
	blocks, pages := l.bitmaps(h.c.root.Blocks, h.c.root.Pages)
	h.sealBitmap(blocks, root[rootBlocks:rootPages])
	h.sealBitmap(pages, root[rootPages:rootBad])
	h.sealFrame(root, rootAt)
}

// sealFrame makes the checksum of a label or root right.
func (h *hostile) sealFrame(b []byte, off int64) {
	binary.LittleEndian.PutUint32(b[blockCRC:], checksum(b[:blockCRC]))
}

// page returns metadata page n for changes, nil if there is none.
func (h *hostile) page(n uint64) []byte {
	if n >= h.c.label.pageCount() {
		return nil
	}
	return h.block(h.c.label.pageBlock(n))
}

// block returns a block of the fast device's home for changes.
func (h *hostile) block(n uint64) []byte {
	off := h.c.label.locate(log.Fast, n).off
	if h.fast.blocks[off] == nil {
		h.fast.blocks[off] = slices.Clone(h.fast.block(off))
	}
	return h.fast.blocks[off]
}

// sealTree makes the checksum in the pointer ptr right, and those of all below it before.
func (h *hostile) sealTree(ptr []byte, level uint8, catalogue bool) {
	e := entryAt(ptr, 0)
	b := h.page(e.Addr)
	if e.Flags&FlagMapped == 0 || b == nil {
		return
	}
	crc, known := h.seen[e.Addr]
	if !known {
		h.seen[e.Addr] = 0
		for i := 0; level > 1 && i < fanout; i++ {
			h.sealTree(b[i*entrySize:(i+1)*entrySize], level-1, catalogue)
		}
		for i := uint32(0); level == 1 && catalogue && i < nodesPerPage; i++ {
			if rec := nodeSlot(b, i); rec[88] <= maxLevels {
				h.sealTree(rec[32:48], rec[88], false)
			}
		}
		crc = checksum(b)
		h.seen[e.Addr] = crc
	}
	binary.LittleEndian.PutUint32(ptr[12:], crc)
}

// sealBitmap does the same for a bitmap, whose top references are in the root.
func (h *hostile) sealBitmap(s *shadow, top []byte) {
	var seal func(refs []byte, level, first, n int)
	seal = func(refs []byte, level, first, n int) {
		for i := range n {
			r := refAt(refs[i*refSize:])
			if r.unwritten() || r.Place > 1 {
				continue
			}
			b := h.block(s.block(level, first+i, r.Place))
			if level > 0 {
				below := (first + i) * refsPerPage
				seal(b, level-1, below, min(refsPerPage, s.count(level-1)-below))
			}
			r.CRC = checksum(b)
			putRef(refs[i*refSize:], r)
		}
	}
	last := s.levels() - 1
	seal(top, last, 0, s.count(last))
}

// use does with the pool what an operator and his guests do.
func (h *hostile) use() error {
	_, err := Check(h.d, CheckOptions{Data: true, entries: 1 << 12})
	if err != nil && !known(err) {
		return fmt.Errorf("check: %w", err)
	}
	p, err := openCorrupt(h.d)
	if err != nil {
		if !known(err) {
			return fmt.Errorf("open: %w", err)
		}
		return nil
	}
	h.ask(p)
	for _, name := range []string{"a", "b", "c", "a@s", "b@t"} {
		v := p.Volume(name)
		if v == nil || v.node.rec.Size > 16<<20 {
			continue
		}
		h.guest(p, &Request{Kind: Read, Vol: v, Off: 0, Len: 64 * log.BlockSize})
		if !v.node.frozen() {
			h.guest(p, &Request{Kind: Write, Vol: v, Off: 512, Len: 20 * log.BlockSize})
			h.guest(p, &Request{Kind: Discard, Vol: v, Off: 64 * log.BlockSize, Len: 128 * log.BlockSize})
		}
	}
	for _, c := range []Control{
		{Op: Checkpoint},
		{Op: SnapshotVolume, Names: []string{"a"}, To: "u"},
		{Op: Drain},
		{Op: RemoveVolume, Names: []string{"c"}},
		{Op: RemoveVolume, Names: []string{"a@s"}},
		{Op: Drain},
		{Op: RollbackVolume, Name: "b@t"},
		{Op: Checkpoint},
		{Op: Shutdown},
	} {
		h.operator(p, &c)
	}
	h.ask(p)
	return nil
}

// known reports whether an error is one that says what is wrong with a pool.
func known(err error) bool {
	for _, k := range []error{
		ErrDamaged, ErrNotPool, ErrVersion, ErrSwapped, ErrTruncated, ErrMissingDevice, ErrStale,
		ErrNoRoot, ErrConfig, log.ErrCorrupt, log.ErrVersion, log.ErrOldRoot, log.ErrNoSegment,
	} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// ask has the pool say what it holds.
func (h *hostile) ask(p *Pool) {
	p.Volumes(true)
	p.Status()
}

func (h *hostile) guest(p *Pool, q *Request) {
	q.Buf = alignedBytes(int(Span(q.Off, q.Len)))
	p.Submit(q)
	h.turns(p, func() bool { return p.NextDone() != nil })
}

func (h *hostile) operator(p *Pool, c *Control) {
	p.Control(c)
	h.turns(p, func() bool { return p.NextControl() != nil })
}

// turns runs the pool until something has ended, or a while: what a pool says that has no room waits.
func (h *hostile) turns(p *Pool, ended func() bool) {
	for i := range int64(2000) {
		p.Tick(p.now + 1_000_000*(1+i))
		p.Run()
		perform(p, h.d)
		if ended() {
			return
		}
	}
}

// newHostile returns the pool with a block of metadata changed.
func newHostile(block uint16, at uint16, patch []byte) *hostile {
	c := hostileImage()
	d, all := c.disks()
	h := &hostile{c: c, d: d, fast: all[log.Fast], seen: map[uint64]uint32{}}
	list := c.metadata()
	h.change(list[int(block)%len(list)], int(at), patch[:min(len(patch), 16)])
	return h
}

// hostileTry uses such a pool.
func hostileTry(block, at uint16, patch []byte) (err error) {
	defer caught(&err)
	return newHostile(block, at, patch).use()
}

// TestHostileSealed: a change that changes nothing leaves the pool as it is, seals and all.
func TestHostileSealed(t *testing.T) {
	h := newHostile(0, 0, nil)
	for off, b := range h.fast.blocks {
		if !slices.Equal(b, h.c.base[log.Fast][off:off+log.BlockSize]) {
			t.Errorf("block %d has another seal", off/log.BlockSize)
		}
	}
	if rep, err := Check(h.d, CheckOptions{Data: true, entries: 1 << 12}); err != nil || len(rep.Problems) > 0 {
		t.Errorf("%v, %v", rep, err)
	}
}

// TestHostile changes each word of the metadata that is not zero, and the first that are, in a few ways.
func TestHostile(t *testing.T) {
	c := hostileImage()
	tried := 0
	for i, off := range c.metadata() {
		zeros := 0
		for at := 0; at < log.BlockSize; at += 4 {
			if isZero(c.base[log.Fast][off+int64(at) : off+int64(at)+4]) {
				if zeros++; zeros > 64 {
					continue
				}
			}
			for _, patch := range [][]byte{{1}, {0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0x80, 1}} {
				tried++
				if testing.Short() && tried%8 > 0 {
					continue
				}
				if err := hostileTry(uint16(i), uint16(at), patch); err != nil {
					t.Errorf("%s, byte %d, % x: %v", c.parts[log.Fast][off/log.BlockSize].kind, at, patch, err)
				}
			}
		}
	}
	t.Logf("%d changes", tried)
}

func FuzzHostile(f *testing.F) {
	n := len(hostileImage().metadata())
	for block := range n {
		for at := 0; at < 256; at += 8 {
			f.Add(uint16(block), uint16(at), []byte{0xff})
		}
	}
	f.Fuzz(func(t *testing.T, block, at uint16, patch []byte) {
		if err := hostileTry(block, at, patch); err != nil {
			t.Fatal(err)
		}
	})
}
