package placement

import (
	"encoding/binary"
	"testing"

	"unblend/log"
)

// fate is what has to become of damage to a part of a pool.
type fate uint8

const (
	unused  fate = iota // nothing reads it, or it makes no difference
	mended              // check names it, and repairs it from the other copy
	lost                // check names it, reads of what it held fail, all else is as it was
	refused             // check names it, and so does the start, which refuses the pool
	tail                // cannot be told from a write that was under way when the power went
	fates
)

var fateNames = [fates]string{"unused", "repaired", "lost", "refused", "tail"}

func (f fate) String() string { return fateNames[f] }

// piece is what a block of a device is for.
type piece struct {
	kind  string // of structure; of what is unused, why it is
	check string // what check calls it
	fate  fate
	size  int // bytes from the start of the block that count; nothing reads the rest
}

// draw finds out what every block is for, without the code that is tested: by the formats' boxes.
func (c *corruptPool) draw(t *testing.T) {
	for i := range c.parts {
		c.parts[i] = make([]piece, len(c.base[i])/log.BlockSize)
		for b := range c.parts[i] {
			c.parts[i][b] = piece{kind: "nothing of the pool's"}
		}
	}
	c.drawData()
	for _, home := range []log.Dev{log.Fast, log.Capacity} {
		for b := range c.label.Home.Blocks {
			c.set(c.label.locate(home, b), piece{kind: "room in a home"})
		}
		for b := range c.label.pageCount() {
			c.set(c.label.locate(home, c.label.pageBlock(b)), piece{kind: "free metadata page"})
		}
		c.drawHeaders(home)
		c.drawBitmaps(t, home)
	}
	c.eachEntry(c.root.Catalogue, catalogueLevels, 1, func(e Entry, level uint8) {
		c.drawPage(t, e, level, "catalogue page", "node records", "catalogue page")
	})
	c.eachNode(func(rec *NodeRecord) {
		c.eachEntry(rec.Root, rec.Levels, 1, func(e Entry, level uint8) {
			c.drawPage(t, e, level, "inner map page", "map leaf", "map page")
		})
	})
	c.drawLog(t)
}

// set says what the block at a place is for.
func (c *corruptPool) set(at place, p piece) {
	if p.size == 0 {
		p.size = log.BlockSize
	}
	if c.one {
		at.dev = log.Fast
	}
	c.parts[at.dev][at.off/log.BlockSize] = p
}

func (c *corruptPool) at(at place) []byte { return c.base[at.dev][at.off : at.off+log.BlockSize] }

// drawData describes the blocks of volumes. What maps point at besides is newer in the log.
func (c *corruptPool) drawData() {
	for _, z := range c.label.Zones {
		for b := z.Start; b < z.Start+z.Blocks; b++ {
			c.set(place{log.Capacity, int64(b) * log.BlockSize}, piece{kind: "free block"})
		}
	}
	c.eachNode(func(rec *NodeRecord) {
		c.eachEntry(rec.Root, rec.Levels, 0, func(e Entry, level uint8) {
			if level == 0 {
				at := place{log.Capacity, int64(e.Addr) * log.BlockSize}
				c.set(at, piece{kind: "block with newer content in the log"})
			}
		})
	})
	for at := range c.where {
		c.set(at, piece{kind: "data", check: "data", fate: lost}) // that in the log comes later
	}
}

func (c *corruptPool) drawHeaders(home log.Dev) {
	for _, off := range labelOffsets(&c.label, c.one, home) {
		c.set(place{home, off}, piece{kind: "label", check: "label", fate: mended})
	}
	for slot := range uint64(rootSlots) {
		p := piece{kind: "root before the newest"}
		if slot == c.root.Generation%2 {
			p = piece{kind: "root", check: "root", fate: mended}
		}
		c.set(place{home, rootOffset(&c.label, home, slot)}, p)
	}
}

// drawBitmaps describes both places of every page of both bitmaps in a home.
func (c *corruptPool) drawBitmaps(t *testing.T, home log.Dev) {
	blocks, pages := c.label.bitmaps(c.root.Blocks, c.root.Pages)
	for _, m := range []struct {
		name string
		s    *shadow
		top  []ShadowRef
	}{{"block bitmap", blocks, c.root.BlockRefs}, {"page bitmap", pages, c.root.PageRefs}} {
		err := m.s.load(m.top, func(block uint64, _ uint32, p []byte) error {
			copy(p, c.at(c.label.locate(home, block)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for level := range m.s.levels() {
			for i := range m.s.count(level) {
				ref := m.s.at(level, i)
				p := piece{kind: m.name, check: m.name, fate: mended}
				if level > 0 {
					p.kind += " references"
				} else if ref.unwritten() {
					p = piece{kind: "bitmap page that its reference describes"}
				}
				c.set(c.label.locate(home, m.s.block(level, i, ref.Place)), p)
				c.set(c.label.locate(home, m.s.block(level, i, ref.Place^1)),
					piece{kind: "place of a bitmap page for the next root"})
			}
		}
	}
}

// drawPage describes a page of a tree in both homes.
func (c *corruptPool) drawPage(t *testing.T, e Entry, level uint8, inner, leaf, check string) {
	p := piece{kind: inner, check: check, fate: mended}
	if level == 1 {
		p.kind = leaf
	}
	for _, home := range []log.Dev{log.Fast, log.Capacity} {
		at := c.label.locate(home, c.label.pageBlock(e.Addr))
		if checksum(c.at(at)) != e.CRC {
			t.Fatalf("page %d in the %s device's home is not what its parent says", e.Addr, home)
		}
		c.set(at, p)
	}
}

// eachEntry calls f for a pointer at a page at a level, and all below it down to level bottom: 1 are
// the leaves, and 0 the blocks of a map.
func (c *corruptPool) eachEntry(e Entry, level, bottom uint8, f func(e Entry, level uint8)) {
	if e.Flags&FlagMapped == 0 {
		return
	}
	f(e, level)
	if level == bottom {
		return
	}
	page := c.at(c.label.locate(log.Fast, c.label.pageBlock(e.Addr)))
	for i := range fanout {
		c.eachEntry(entryAt(page, i), level-1, bottom, f)
	}
}

// eachNode calls f for every record in the catalogue.
func (c *corruptPool) eachNode(f func(*NodeRecord)) {
	c.eachEntry(c.root.Catalogue, catalogueLevels, 1, func(e Entry, level uint8) {
		if level > 1 {
			return
		}
		page := c.at(c.label.locate(log.Fast, c.label.pageBlock(e.Addr)))
		for i := range uint32(nodesPerPage) {
			if rec, err := decodeNode(nodeSlot(page, i)); err == nil && rec.ID != 0 {
				f(&rec)
			}
		}
	})
}

// corruptRecord is a record of the log, as its header says.
type corruptRecord struct {
	block, heads, size int // first block, blocks of header and entries, bytes of these
	payload            int
	seq, durable       uint64
}

// recordAt reads the header at a block of the log, if it belongs to the segment with the nonce.
func (c *corruptPool) recordAt(block int, nonce string) (r corruptRecord, ok bool) {
	le, b := binary.LittleEndian, c.logBlock(block)
	if string(b[:8]) != "UNBLRECD" || string(b[32:48]) != nonce {
		return r, false
	}
	size := 96 + int(le.Uint32(b[80:]))
	return corruptRecord{
		block: block, heads: (size + log.BlockSize - 1) / log.BlockSize, size: size,
		payload: int(le.Uint32(b[84:])), seq: le.Uint64(b[64:]), durable: le.Uint64(b[56:]),
	}, true
}

func (c *corruptPool) logPlace(block int) place {
	return place{log.Fast, int64(c.label.LogOffset) + int64(block)*log.BlockSize}
}

func (c *corruptPool) logBlock(block int) []byte { return c.at(c.logPlace(block)) }

// drawLog describes the log: from the segment that was opened last back to the one that holds the
// record at the replay start.
func (c *corruptPool) drawLog(t *testing.T) {
	le, seg := binary.LittleEndian, int(c.label.SegmentBlocks)
	head, opened := -1, uint64(0)
	for i := range int(c.label.Segments) {
		for b := range seg {
			c.set(c.logPlace(i*seg+b), piece{kind: "free segment of the log"})
		}
		h := c.logBlock(i * seg)
		if n := le.Uint64(h[56:]); string(h[:8]) == "UNBLSEGM" && n > opened {
			head, opened = i, n
		}
	}
	closed := 0
	for i, end := head, 0; ; closed++ {
		c.drawSegment(i, end)
		h := c.logBlock(i * seg)
		if le.Uint64(h[112:]) < c.root.Replay {
			break
		}
		i, end = int(le.Uint32(h[88:])), int(le.Uint32(h[92:]))
	}
	if closed < 3 {
		t.Fatalf("only %d closed segments in the log", closed)
	}
}

// drawSegment describes a segment that a start reads; end is 0 of the open one.
func (c *corruptPool) drawSegment(i, end int) {
	seg := int(c.label.SegmentBlocks)
	first := i * seg
	nonce := string(c.logBlock(first)[32:48])
	var records []corruptRecord
	known, at := uint64(0), first+1
	for at < first+seg && (end == 0 || at < first+end) {
		r, ok := c.recordAt(at, nonce)
		if !ok {
			break
		}
		records = append(records, r)
		known = max(known, r.durable)
		at += r.heads + r.payload
	}
	header := piece{kind: "segment header", check: "log", fate: refused, size: 256}
	if end == 0 {
		header.kind = "open segment's header"
		if len(records) < 2 {
			header.fate = tail
		}
	}
	c.set(c.logPlace(first), header)
	sum := end > 0 && c.drawSummary(first+end, nonce)
	for _, r := range records {
		c.drawRecord(r, end == 0, sum, r.seq > known)
	}
	for b := at; b < first+seg; b++ {
		if c.parts[log.Fast][c.logPlace(b).off/log.BlockSize].fate == unused {
			c.set(c.logPlace(b), piece{kind: "behind the end of a segment"})
		}
	}
}

// drawSummary describes the summary at a block, if there is one.
func (c *corruptPool) drawSummary(block int, nonce string) bool {
	b := c.logBlock(block)
	if string(b[:8]) != "UNBLSUMM" || string(b[32:48]) != nonce {
		return false // it was open when the process ended
	}
	size := 72 + int(binary.LittleEndian.Uint32(b[56:]))
	c.set(c.logPlace(block), piece{kind: "segment summary", check: "log", fate: mended, size: size})
	return true
}

// drawRecord describes a record: of the open segment, or of one with a summary or without. Nothing
// says of the last one of all that it was ever durable.
func (c *corruptPool) drawRecord(r corruptRecord, open, sum, last bool) {
	p := piece{kind: "record header", check: "log", fate: refused, size: r.size}
	switch {
	case open && last:
		p.kind, p.fate = "last record's header", tail
	case open:
		p.kind = "open segment's record header"
	case sum:
		p.fate = mended
	default:
		p.kind = "record header without a summary"
	}
	for i := range r.heads {
		p.size = min(r.size-i*log.BlockSize, log.BlockSize)
		c.set(c.logPlace(r.block+i), p)
	}
	for b := r.block + r.heads; b < r.block+r.heads+r.payload; b++ {
		p := piece{kind: "payload that the log has anew"}
		if len(c.where[c.logPlace(b)]) > 0 {
			p = piece{kind: "payload", check: "log", fate: lost}
		}
		if open && last {
			p = piece{kind: "last record's payload", fate: tail}
		}
		c.set(c.logPlace(b), p)
	}
}
