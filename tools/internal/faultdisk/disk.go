package faultdisk

import (
	"fmt"
	"time"
)

// DiskConfig describes one disk, which is one NBD export.
type DiskConfig struct {
	Name   string // of the export
	Size   int64  // bytes, a multiple of 4096
	Sector int    // bytes that are never torn: 512 or 4096; 0 means 512
	File   string // where the base is kept, a sparse file; empty: in memory

	Rotational bool // announced as a rotating disk
	NoFUA      bool // FUA is not announced, so that clients flush instead
	Lying      bool // FLUSH and FUA are acknowledged, and make nothing durable
}

func (c *DiskConfig) validate() error {
	if c.Sector == 0 {
		c.Sector = slotSize
	}
	switch {
	case c.Name == "" || len(c.Name) > nameMax:
		return fmt.Errorf("name of %d bytes: want 1 to %d", len(c.Name), nameMax)
	case c.Size <= 0 || c.Size%pageSize != 0:
		return fmt.Errorf("size of %d bytes: want a positive multiple of %d", c.Size, pageSize)
	case c.Sector != slotSize && c.Sector != pageSize:
		return fmt.Errorf("sector of %d bytes: want %d or %d", c.Sector, slotSize, pageSize)
	}
	return nil
}

// flags returns the transmission flags that announce the disk.
func (c *DiskConfig) flags() uint16 {
	f := uint16(canFlags | canFlush | canFUA | canTrim | canZeroes | canMultiConn)
	if c.NoFUA {
		f &^= canFUA
	}
	if c.Rotational {
		f |= canRotational
	}
	return f
}

// version is what one write left in one page's cache.
type version struct {
	seq  uint64 // of the write, in order of completion over all disks
	mask uint8  // the slots it holds: bit i stands for bytes 512*i to 512*i+511
	lost bool   // a failed flush broke it: no later flush makes it durable
	data *page  // nil: zeros
}

// disk is one export's contents. The server's lock guards it.
type disk struct {
	cfg   DiskConfig
	base  store
	arena *arena
	cache map[int64][]version // by page number, each list in order of seq, never empty
	delay [opCount]time.Duration
	stats DiskStats
}

func newDisk(cfg DiskConfig, a *arena) (*disk, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &disk{cfg: cfg, arena: a, cache: make(map[int64][]version)}
	d.base = &memStore{pages: make(map[int64]*page), arena: a}
	if cfg.File != "" {
		s, err := openFileStore(cfg.File, cfg.Size)
		if err != nil {
			return nil, err
		}
		d.base = s
	}
	return d, nil
}

// span is the part of one page that a request touches.
type span struct {
	page   int64
	lo, hi int // bytes within the page
}

// spanAt returns the first span of the range of length bytes at off.
func spanAt(off, length int64) span {
	lo := off % pageSize
	return span{page: off / pageSize, lo: int(lo), hi: int(min(lo+length, pageSize))}
}

func (s span) mask() uint8 {
	return uint8(uint(1)<<(s.hi/slotSize) - uint(1)<<(s.lo/slotSize))
}

// read fills p with the newest completed contents at off.
func (d *disk) read(p []byte, off int64) error {
	var buf page
	for len(p) > 0 {
		s := spanAt(off, int64(len(p)))
		if err := d.readPage(s.page, &buf); err != nil {
			return err
		}
		n := copy(p, buf[s.lo:s.hi])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readPage gets one page as a read sees it: the base under the cached versions, oldest first.
func (d *disk) readPage(n int64, buf *page) error {
	vers := d.cache[n]
	first := len(vers) - 1 // of those that matter: nothing shows through a whole page
	for first > 0 && vers[first].mask != fullMask {
		first--
	}
	if len(vers) == 0 || vers[first].mask != fullMask {
		if err := d.base.get(n, buf); err != nil {
			return err
		}
	}
	for i := max(first, 0); i < len(vers); i++ {
		copySlots(buf, vers[i].data, vers[i].mask)
	}
	return nil
}

// writeCost is the most memory that a write of n bytes can take, in bytes.
func (d *disk) writeCost(off, n int64, zeros bool) int64 {
	pages := (off+n+pageSize-1)/pageSize - off/pageSize
	if !zeros {
		return pages * (pageSize + versionCost)
	}
	// Zeros take pages only at the two ends, and nothing where there is nothing.
	return 2*pageSize + min(pages, int64(len(d.cache))+d.basePages(off, n))*versionCost
}

// basePages counts the pages of a range that the base has.
func (d *disk) basePages(off, n int64) (count int64) {
	for p := off / pageSize; p < (off+n+pageSize-1)/pageSize; p++ {
		if d.base.has(p) {
			count++
		}
	}
	return count
}

// write puts a completed write of length bytes into the cache; nil data stands for zeros.
func (d *disk) write(seq uint64, off, length int64, data []byte) error {
	for length > 0 {
		s := spanAt(off, length)
		var part []byte
		n := int64(s.hi - s.lo)
		if data != nil {
			part, data = data[:n], data[n:]
		}
		if err := d.writePage(seq, s, part); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

func (d *disk) writePage(seq uint64, s span, data []byte) error {
	vers := d.cache[s.page]
	if data == nil && len(vers) == 0 && !d.base.has(s.page) {
		return nil // zeros over zeros: every version is the same
	}
	v := version{seq: seq, mask: s.mask()}
	switch {
	case d.cfg.Sector == pageSize && v.mask != fullMask:
		// Part of a sector: the drive merges it with what it has.
		v.mask, v.data = fullMask, d.arena.get()
		if err := d.readPage(s.page, v.data); err != nil {
			d.arena.put(v.data)
			return err
		}
	case data != nil:
		v.data = d.arena.get()
	}
	if data != nil {
		copy(v.data[s.lo:s.hi], data)
	} else if v.data != nil {
		clear(v.data[s.lo:s.hi])
	}
	d.arena.used += versionCost
	d.cache[s.page] = append(vers, v)
	return nil
}

// settle makes durable, in one page, the versions with from <= seq <= to that no failed flush
// broke. Older versions of the same sectors are gone with that, newer ones stay in the cache.
func (d *disk) settle(n int64, from, to uint64) error {
	vers := d.cache[n]
	var taken uint8 // slots for which a newer version is durable
	for i := len(vers) - 1; i >= 0; i-- {
		v := &vers[i]
		if v.seq > to {
			continue
		}
		if v.seq < from || v.lost {
			v.mask &^= taken
			continue
		}
		if m := v.mask &^ taken; m != 0 {
			if err := d.base.put(n, m, v.data); err != nil {
				return err
			}
		}
		taken |= v.mask
		v.mask = 0
	}
	d.compact(n)
	return nil
}

// compact removes the versions of a page that have no slots left.
func (d *disk) compact(n int64) {
	vers := d.cache[n]
	kept := vers[:0]
	for _, v := range vers {
		if v.mask != 0 {
			kept = append(kept, v)
			continue
		}
		d.arena.put(v.data)
		d.arena.used -= versionCost
	}
	if len(kept) == 0 {
		delete(d.cache, n)
		return
	}
	clear(vers[len(kept):])
	d.cache[n] = kept
}

// settleRange makes the write seq, which covers the given range, durable by itself.
func (d *disk) settleRange(seq uint64, off, length int64) error {
	if d.cfg.Lying {
		return nil
	}
	for p := off / pageSize; p < (off+length+pageSize-1)/pageSize; p++ {
		if err := d.settle(p, seq, seq); err != nil {
			return err
		}
	}
	return nil
}

// flush makes durable what was completed up to the write cover.
func (d *disk) flush(cover uint64) error {
	if d.cfg.Lying {
		return nil
	}
	for n := range d.cache {
		if err := d.settle(n, 0, cover); err != nil {
			return err
		}
	}
	return nil
}

// breakCache marks what was completed up to the write cover as beyond the reach of later flushes.
func (d *disk) breakCache(cover uint64) {
	for _, vers := range d.cache {
		for i := range vers {
			vers[i].lost = vers[i].lost || vers[i].seq <= cover
		}
	}
}
