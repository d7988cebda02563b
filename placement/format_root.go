package placement

import (
	"encoding/binary"
	"errors"

	"unblend/log"
)

// Root is what one checkpoint made durable: from it everything else is reached. Generation g lies
// in root slot g%2 of both homes, so that the newest and the one before it are there.
//
//	   0  frame (format_block.go)
//	  40  flags u8 | levels: catalogue u8, block bitmap u8, page bitmap u8 | 0 u32
//	  48  generation u64 | replay start u64 | last mark applied u64
//	  72  epoch u32 | next node id u32
//	  80  free blocks u64 | free pages u64
//	  96  time of the checkpoint i64
//	 104  root page of the catalogue (Entry)
//	 120  number of block bitmap references u16, of page bitmap references u16,
//	      of bad blocks u16 | 0 u16
//	 128  references to the top level of the block bitmap, up to 64
//	 640  references to the top level of the page bitmap, up to 64
//	1152  bad blocks of the capacity device, up to 128 numbers of 48 bits, ascending
//	1920  blocks that the block bitmap describes u64, pages that the page bitmap describes u64
type Root struct {
	Pool        UUID
	Generation  uint64
	Replay      uint64 // sequence: smallest number not yet in the maps, where replay starts
	LastMark    uint64 // sequence of the last mark applied
	Epoch       uint32 // the pool's
	NextNode    uint32 // the next node's id
	Catalogue   Entry
	Levels      uint8       // of the catalogue; 0: it is empty
	BlockLevels uint8       // levels of the block bitmap's tree, the bitmap included
	PageLevels  uint8       // likewise for the page bitmap
	BlockRefs   []ShadowRef // at most maxTopRefs
	PageRefs    []ShadowRef // at most maxTopRefs
	FreeBlocks  uint64
	FreePages   uint64
	Blocks      uint64   // of the capacity device that the block bitmap describes
	Pages       uint64   // of the metadata area that the page bitmap describes
	Bad         []uint64 // ascending, at most maxBadBlocks
	Time        int64    // Unix time in seconds
	Clean       bool     // the pool was shut down in order, right after this checkpoint
}

// ShadowRef refers to a page that has two fixed places: a bitmap page, or a page of such
// references.
//
//	0          4       5             6        8
//	+----------+-------+-------------+--------+
//	| CRC-32C  | place | free chunks | free   |
//	| u32      | 0, 1  | u8          | u16    |
//	+----------+-------+-------------+--------+
//
// The counts are those of a bitmap page; for a page of references they are 0.
type ShadowRef struct {
	CRC        uint32
	Place      uint8
	FreeChunks uint8  // chunks of the bitmap page of which nothing is in use
	Free       uint16 // clear bits of the bitmap page
}

// unwritten reports whether the page, whatever is at its places, needs no reading: it was never
// written, because all it describes is free, or all in use.
func (r ShadowRef) unwritten() bool { return r.CRC == 0 && (r.Free == pageBits || r.Free == 0) }

// fill makes mem what an unwritten page holds.
func (r ShadowRef) fill(mem []byte) {
	clear(mem)
	if r.Free == 0 {
		for i := range mem {
			mem[i] = 0xff
		}
	}
}

const (
	rootMagic   = "UNBROOT\x00"
	rootVersion = 1
	rootClean   = 1 // flag
	refSize     = 8
	maxTopRefs  = 64

	// maxBadBlocks is how many bad blocks of the capacity device a root can name.
	maxBadBlocks = 128

	rootBlocks = 128 // offsets in the block
	rootPages  = rootBlocks + maxTopRefs*refSize
	rootBad    = rootPages + maxTopRefs*refSize
	badSize    = 6
	rootTotals = rootBad + maxBadBlocks*badSize
)

const _ = uint(blockCRC - rootTotals - 16) // everything fits

func refAt(b []byte) ShadowRef {
	return ShadowRef{
		CRC: binary.LittleEndian.Uint32(b), Place: b[4], FreeChunks: b[5],
		Free: binary.LittleEndian.Uint16(b[6:]),
	}
}

func putRef(b []byte, r ShadowRef) {
	binary.LittleEndian.PutUint32(b, r.CRC)
	b[4], b[5] = r.Place, r.FreeChunks
	binary.LittleEndian.PutUint16(b[6:], r.Free)
}

// Encode writes the root into block b as the copy that goes to offset off of dev. An invalid root
// panics. It allocates nothing.
func (r *Root) Encode(b []byte, dev log.Dev, off int64) {
	at := place{dev, off}
	if err := r.validate(at); err != nil {
		panic("placement: " + err.Error())
	}
	le := binary.LittleEndian
	clear(b[:log.BlockSize])
	if r.Clean {
		b[40] = rootClean
	}
	b[41], b[42], b[43] = r.Levels, r.BlockLevels, r.PageLevels
	le.PutUint64(b[48:], r.Generation)
	le.PutUint64(b[56:], r.Replay)
	le.PutUint64(b[64:], r.LastMark)
	le.PutUint32(b[72:], r.Epoch)
	le.PutUint32(b[76:], r.NextNode)
	le.PutUint64(b[80:], r.FreeBlocks)
	le.PutUint64(b[88:], r.FreePages)
	le.PutUint64(b[96:], uint64(r.Time))
	putEntry(b[104:], 0, r.Catalogue)
	le.PutUint64(b[rootTotals:], r.Blocks)
	le.PutUint64(b[rootTotals+8:], r.Pages)
	le.PutUint16(b[120:], uint16(len(r.BlockRefs)))
	le.PutUint16(b[122:], uint16(len(r.PageRefs)))
	le.PutUint16(b[124:], uint16(len(r.Bad)))
	for i, ref := range r.BlockRefs {
		putRef(b[rootBlocks+i*refSize:], ref)
	}
	for i, ref := range r.PageRefs {
		putRef(b[rootPages+i*refSize:], ref)
	}
	for i, a := range r.Bad {
		e := b[rootBad+i*badSize:]
		le.PutUint32(e, uint32(a))
		le.PutUint16(e[4:], uint16(a>>32))
	}
	sealBlock(b, rootMagic, rootVersion, r.Pool, at)
}

// DecodeRoot returns the root in block b, which was read from offset off of dev, of the given pool.
// ErrVersion: a newer program's; ErrSwapped: of another pool; else a CorruptError.
func DecodeRoot(b []byte, pool UUID, dev log.Dev, off int64) (*Root, error) {
	at := place{dev, off}
	le := binary.LittleEndian
	id, err := openBlock(b, rootMagic, rootVersion, "root", at)
	if errors.Is(err, ErrNotPool) {
		want := le.Uint64([]byte(rootMagic))
		return nil, at.corrupt("root: magic", want, le.Uint64(b))
	}
	if err != nil {
		return nil, err
	}
	if id != pool {
		return nil, ErrSwapped
	}
	if b[40]&^rootClean != 0 {
		return nil, at.corrupt("root: flags", rootClean, uint64(b[40]))
	}
	r := &Root{
		Pool: id, Clean: b[40] != 0, Levels: b[41], BlockLevels: b[42], PageLevels: b[43],
		Generation: le.Uint64(b[48:]), Replay: le.Uint64(b[56:]), LastMark: le.Uint64(b[64:]),
		Epoch: le.Uint32(b[72:]), NextNode: le.Uint32(b[76:]),
		FreeBlocks: le.Uint64(b[80:]), FreePages: le.Uint64(b[88:]),
		Time: int64(le.Uint64(b[96:])), Catalogue: entryAt(b[104:], 0),
		Blocks: le.Uint64(b[rootTotals:]), Pages: le.Uint64(b[rootTotals+8:]),
	}
	if err := r.decodeLists(b, at); err != nil {
		return nil, err
	}
	if err := r.validate(at); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Root) decodeLists(b []byte, at place) error {
	le := binary.LittleEndian
	blocks, pages, bad := le.Uint16(b[120:]), le.Uint16(b[122:]), le.Uint16(b[124:])
	if n := max(blocks, pages); n > maxTopRefs {
		return at.corrupt("root: references", maxTopRefs, uint64(n))
	}
	if bad > maxBadBlocks {
		return at.corrupt("root: bad blocks", maxBadBlocks, uint64(bad))
	}
	for i := range int(blocks) {
		r.BlockRefs = append(r.BlockRefs, refAt(b[rootBlocks+i*refSize:]))
	}
	for i := range int(pages) {
		r.PageRefs = append(r.PageRefs, refAt(b[rootPages+i*refSize:]))
	}
	for i := range int(bad) {
		e := b[rootBad+i*badSize:]
		r.Bad = append(r.Bad, uint64(le.Uint32(e))|uint64(le.Uint16(e[4:]))<<32)
	}
	return nil
}

// validate checks what can be checked without the rest of the pool.
func (r *Root) validate(at place) error {
	switch {
	case r.Levels > maxLevels:
		return at.corrupt("root: levels", maxLevels, uint64(r.Levels))
	case (r.Levels > 0) != (r.Catalogue.Flags == FlagMapped):
		return at.corrupt("root: catalogue flags", uint64(FlagMapped), uint64(r.Catalogue.Flags))
	case r.Catalogue.validate(addrMax+1) != nil:
		return at.corrupt("root: catalogue address", 0, r.Catalogue.Addr)
	case r.NextNode == 0 || r.NextNode > MaxNode+1:
		return at.corrupt("root: next node", MaxNode+1, uint64(r.NextNode))
	case len(r.BlockRefs) > maxTopRefs || len(r.PageRefs) > maxTopRefs:
		n := max(len(r.BlockRefs), len(r.PageRefs))
		return at.corrupt("root: references", maxTopRefs, uint64(n))
	case len(r.Bad) > maxBadBlocks:
		return at.corrupt("root: bad blocks", maxBadBlocks, uint64(len(r.Bad)))
	case r.Blocks == 0 || r.Blocks > addrMax+1:
		return at.corrupt("root: blocks", addrMax+1, r.Blocks)
	case r.Pages == 0 || r.Pages > addrMax+1:
		return at.corrupt("root: pages", addrMax+1, r.Pages)
	}
	if err := validateRefs(r.BlockRefs, r.BlockLevels, at); err != nil {
		return err
	}
	if err := validateRefs(r.PageRefs, r.PageLevels, at); err != nil {
		return err
	}
	for i, a := range r.Bad {
		if a > addrMax || i > 0 && a <= r.Bad[i-1] {
			return at.corrupt("root: order of bad blocks", uint64(i), a)
		}
	}
	return nil
}

func validateRefs(refs []ShadowRef, levels uint8, at place) error {
	if levels == 0 || levels > maxLevels || len(refs) == 0 {
		return at.corrupt("root: bitmap levels", maxLevels, uint64(levels))
	}
	for _, f := range refs {
		if f.Place > 1 {
			return at.corrupt("root: place", 1, uint64(f.Place))
		}
	}
	return nil
}
