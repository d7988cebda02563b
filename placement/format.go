package placement

import (
	"unblend/log"
)

// Disks are the devices of a pool. A pool on one device has the same Disk twice.
type Disks [log.Devs]log.Disk

// one reports whether both names stand for one device.
func (d Disks) one() bool { return d[log.Fast] == d[log.Capacity] }

// homes returns in how many places there is metadata to be written or read: one when the fast
// device is missing.
func (d Disks) homes() []log.Dev {
	if d[log.Fast] == nil {
		return []log.Dev{log.Capacity}
	}
	return []log.Dev{log.Fast, log.Capacity}
}

// Format makes an empty pool on d. What the devices held is lost; the labels are written last, so
// that an interrupted Format leaves no pool.
func Format(d Disks, cfg FormatConfig) error {
	sizes := [log.Devs]int64{d[log.Fast].Size(), d[log.Capacity].Size()}
	l, err := plan(sizes, d.one(), cfg)
	if err != nil {
		return err
	}
	cfg.Rand(l.Pool[:])
	cfg.Rand(l.Devices[log.Fast][:])
	cfg.Rand(l.Devices[log.Capacity][:])
	if d.one() {
		l.Devices[log.Capacity] = l.Devices[log.Fast]
	}
	if err := wipeLabels(d, l); err != nil {
		return err
	}
	if cfg.Prefill {
		err = log.Prefill(d[log.Fast], l.geometry(1), cfg.Progress)
	} else {
		err = log.Format(d[log.Fast], l.geometry(1))
	}
	if err != nil {
		return err
	}
	if err := formatHomes(d, l); err != nil {
		return err
	}
	return writeLabels(d, l)
}

// formatHomes writes the bitmaps and the first root.
func formatHomes(d Disks, l *Label) error {
	root := Root{
		Pool: l.Pool, Generation: 1, Epoch: 1, NextNode: 1, Clean: true, Time: l.Created,
		Replay: 1, Blocks: l.CapacityBlocks, Pages: l.Home.PageCount,
	}
	blocks, pages := l.bitmaps(root.Blocks, root.Pages)
	writes, freeBlocks := formatBitmap(blocks, l.CapacityBlocks, l.reservedBlocks())
	more, freePages := formatBitmap(pages, l.Home.PageCount, nil)
	root.BlockRefs, root.BlockLevels = blocks.top(), uint8(blocks.levels())
	root.PageRefs, root.PageLevels = pages.top(), uint8(pages.levels())
	root.FreeBlocks, root.FreePages = freeBlocks, freePages
	block := alignedBytes(log.BlockSize)
	for _, home := range d.homes() {
		base := l.HomeStart(home)
		for _, w := range append(writes, more...) {
			if err := d[home].WriteAt(w.mem, int64(base+w.block)*log.BlockSize); err != nil {
				return err
			}
		}
		clear(block)
		stale := rootOffset(l, home, 0)
		if err := d[home].WriteAt(block, stale); err != nil {
			return err
		}
		off := rootOffset(l, home, root.Generation)
		root.Encode(block, home, off)
		if err := d[home].WriteAt(block, off); err != nil {
			return err
		}
		if err := d[home].Flush(); err != nil {
			return err
		}
	}
	return nil
}

// formatBitmap fills the references of a new bitmap in which only the reserved units are in use,
// and returns the pages to write. A page of which nothing is in use, or everything, is not written:
// its reference has the checksum 0.
func formatBitmap(s *shadow, total uint64, reserved []run) (writes []pageWrite, free uint64) {
	tail := uint64(s.count(0)) * pageBits
	reserved = append(reserved, run{total, tail - total})
	for i := range s.count(0) {
		mem := alignedBytes(log.BlockSize)
		used := fillBits(mem, uint64(i)*pageBits, reserved)
		ref := ShadowRef{Free: uint16(pageBits - used), FreeChunks: pageChunks}
		if used == pageBits {
			ref.FreeChunks = 0
		} else if used > 0 {
			ref.FreeChunks = freeChunks(mem)
			ref.CRC = checksum(mem)
			writes = append(writes, pageWrite{s.block(0, i, 0), mem})
		}
		free += uint64(ref.Free)
		s.put(0, i, ref)
	}
	for level := 1; level < s.levels(); level++ {
		for i := range s.count(level) {
			mem := s.content(level, i)
			s.put(level, i, ShadowRef{CRC: checksum(mem)})
			writes = append(writes, pageWrite{s.block(level, i, 0), mem})
		}
	}
	return writes, free
}

// fillBits sets the bits of the units from start on that are reserved, and returns how many.
func fillBits(mem []byte, start uint64, reserved []run) (used int) {
	for _, r := range reserved {
		for u := max(r.start, start); u < min(r.start+r.n, start+pageBits); u++ {
			mem[(u-start)/8] |= 1 << (u % 8)
			used++
		}
	}
	return used
}

// freeChunks counts the chunks of a bitmap page of which nothing is in use.
func freeChunks(mem []byte) (n uint8) {
	for at := 0; at < len(mem); at += chunkBytes {
		if isZero(mem[at : at+chunkBytes]) {
			n++
		}
	}
	return n
}

// bitmaps returns the two bitmaps, of so many blocks and pages, as they lie in a home.
func (l *Label) bitmaps(blocks, pages uint64) (_, _ *shadow) {
	h := &l.Home
	return newShadow(h.BlockMap, bitmapPages(blocks), int(h.BlockMapRoom)),
		newShadow(h.PageMap, bitmapPages(pages), int(h.PageMapRoom))
}

// labelOffsets returns where the label stands on a device, in bytes.
func labelOffsets(l *Label, one bool, dev log.Dev) []int64 {
	if one && dev == log.Capacity {
		last := int64(l.Sizes[dev]/log.BlockSize-1) * log.BlockSize
		return []int64{int64(l.HomeStart(dev)) * log.BlockSize, last}
	}
	return []int64{0}
}

// wipeLabels removes the labels of an earlier pool before anything it owned is overwritten.
func wipeLabels(d Disks, l *Label) error {
	zeros := alignedBytes(log.BlockSize)
	for _, dev := range d.homes() {
		for _, off := range append(labelOffsets(l, d.one(), dev), 0) {
			if err := d[dev].WriteAt(zeros, off); err != nil {
				return err
			}
		}
		if err := d[dev].Flush(); err != nil {
			return err
		}
	}
	return nil
}

func writeLabels(d Disks, l *Label) error {
	block := alignedBytes(log.BlockSize)
	for _, dev := range d.homes() {
		l.Role = Role(1 << dev)
		if d.one() {
			l.Role = RoleBoth
		}
		for _, off := range labelOffsets(l, d.one(), dev) {
			l.Encode(block, dev, off)
			if err := d[dev].WriteAt(block, off); err != nil {
				return err
			}
		}
		if err := d[dev].Flush(); err != nil {
			return err
		}
	}
	return nil
}
