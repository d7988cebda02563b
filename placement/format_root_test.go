package placement

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"unblend/log"
)

const rootOff = 18 * log.BlockSize

func testRoot() *Root {
	return &Root{
		Pool: testUUID(0x10), Generation: 0x0102_0304_0506_0708, Replay: 1 << 40, LastMark: 77,
		Epoch: 12, NextNode: 9, Levels: 3, BlockLevels: 2, PageLevels: 1,
		Catalogue:  Entry{Addr: 5, Flags: FlagMapped, Epoch: 1, CRC: 0xabcd},
		BlockRefs:  []ShadowRef{{1, 1, 128, 32768}, {2, 0, 0, 0}},
		PageRefs:   []ShadowRef{{0xffff_ffff, 0, 3, 400}},
		FreeBlocks: 123456, FreePages: 400, Bad: []uint64{7, 1 << 47}, Time: 1_800_000_001,
		Blocks: 1<<40 + 3, Pages: 1 << 33,
		Clean: true,
	}
}

// fullRoot returns a root with as much in it as fits.
func fullRoot() *Root {
	r := testRoot()
	r.BlockRefs, r.PageRefs, r.Bad = nil, nil, nil
	for i := range maxTopRefs {
		r.BlockRefs = append(r.BlockRefs, ShadowRef{uint32(i), uint8(i % 2), uint8(i), uint16(i)})
		r.PageRefs = append(r.PageRefs, ShadowRef{^uint32(i), uint8(i / 2 % 2), 1, 2})
	}
	for i := range uint64(maxBadBlocks) {
		r.Bad = append(r.Bad, i<<40|i)
	}
	return r
}

func TestRootGolden(t *testing.T) {
	b := make([]byte, log.BlockSize)
	testRoot().Encode(b, log.Capacity, rootOff)
	r, err := DecodeRoot(golden(t, "root-v1.bin", b), testUUID(0x10), log.Capacity, rootOff)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, testRoot()) {
		t.Errorf("got %+v, want %+v", r, testRoot())
	}
}

func TestRootFull(t *testing.T) {
	b := make([]byte, log.BlockSize)
	fullRoot().Encode(b, log.Fast, rootOff)
	r, err := DecodeRoot(b, testUUID(0x10), log.Fast, rootOff)
	if err != nil || !reflect.DeepEqual(r, fullRoot()) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRootFrame(t *testing.T) {
	b := make([]byte, log.BlockSize)
	decode := func(pool UUID, dev log.Dev, off int64) error {
		_, err := DecodeRoot(b, pool, dev, off)
		return err
	}
	if err := decode(testUUID(0x10), log.Fast, rootOff); !errors.Is(err, ErrDamaged) {
		t.Errorf("empty block: %v", err)
	}
	testRoot().Encode(b, log.Fast, rootOff)
	if err := decode(testUUID(0x11), log.Fast, rootOff); !errors.Is(err, ErrSwapped) {
		t.Errorf("another pool: %v", err)
	}
	if err := decode(testUUID(0x10), log.Capacity, rootOff); !errors.Is(err, ErrDamaged) {
		t.Errorf("other home: %v", err)
	}
	if err := decode(testUUID(0x10), log.Fast, rootOff+4096); !errors.Is(err, ErrDamaged) {
		t.Errorf("other slot: %v", err)
	}
	sealBlock(b, rootMagic, rootVersion+1, testUUID(0x10), place{log.Fast, rootOff})
	b[blockCRC]++
	if err := decode(testUUID(0x10), log.Fast, rootOff); !errors.Is(err, ErrVersion) {
		t.Errorf("newer version: %v", err)
	}
}

// TestRootFlippedBits flips every bit of a root: none goes unnoticed, and none makes it look like
// anything but a damaged root.
func TestRootFlippedBits(t *testing.T) {
	b := make([]byte, log.BlockSize)
	fullRoot().Encode(b, log.Fast, rootOff)
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		_, err := DecodeRoot(b, testUUID(0x10), log.Fast, rootOff)
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestRootValidate(t *testing.T) {
	for _, c := range []struct {
		what  string
		spoil func(r *Root)
	}{
		{"root: levels", func(r *Root) { r.Levels = maxLevels + 1 }},
		{"catalogue flags", func(r *Root) { r.Levels = 0 }},
		{"catalogue flags", func(r *Root) { r.Catalogue = Entry{} }},
		{"catalogue flags", func(r *Root) { r.Catalogue.Flags |= FlagLost }},
		{"catalogue address", func(r *Root) { r.Levels, r.Catalogue = 0, Entry{Addr: 1} }},
		{"next node", func(r *Root) { r.NextNode = 0 }},
		{"next node", func(r *Root) { r.NextNode = MaxNode + 2 }},
		{"references", func(r *Root) { r.BlockRefs = make([]ShadowRef, maxTopRefs+1) }},
		{"references", func(r *Root) { r.PageRefs = make([]ShadowRef, maxTopRefs+1) }},
		{"bitmap levels", func(r *Root) { r.BlockLevels = 0 }},
		{"bitmap levels", func(r *Root) { r.PageLevels = maxLevels + 1 }},
		{"bitmap levels", func(r *Root) { r.PageRefs = nil }},
		{"place", func(r *Root) { r.BlockRefs[1].Place = 2 }},
		{"root: bad blocks", func(r *Root) { r.Bad = make([]uint64, maxBadBlocks+1) }},
		{"order of bad blocks", func(r *Root) { r.Bad[1] = r.Bad[0] }},
		{"root: blocks", func(r *Root) { r.Blocks = 0 }},
		{"root: blocks", func(r *Root) { r.Blocks = addrMax + 2 }},
		{"root: pages", func(r *Root) { r.Pages = 0 }},
		{"root: pages", func(r *Root) { r.Pages = addrMax + 2 }},
		{"order of bad blocks", func(r *Root) { r.Bad[1] = addrMax + 1 }},
	} {
		r := testRoot()
		c.spoil(r)
		var corrupt *CorruptError
		if err := r.validate(place{log.Fast, rootOff}); !errors.As(err, &corrupt) {
			t.Errorf("%s: %v", c.what, err)
		} else if !strings.Contains(corrupt.What, c.what) || corrupt.Off != rootOff {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestRootEncodeDoesNotAllocate(t *testing.T) {
	b := make([]byte, log.BlockSize)
	r := fullRoot()
	if n := testing.AllocsPerRun(100, func() { r.Encode(b, log.Fast, rootOff) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRoot(f *testing.F) {
	b := make([]byte, log.BlockSize)
	for _, r := range []*Root{testRoot(), fullRoot()} {
		r.Encode(b, log.Fast, rootOff)
		f.Add(b)
	}
	at := place{log.Fast, rootOff}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) >= log.BlockSize {
			_, _ = DecodeRoot(in, testUUID(0x10), at.dev, at.off)
		}
		block := resealed(in, rootMagic, at)
		r, err := DecodeRoot(block, UUID(block[16:32]), at.dev, at.off)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("a sealed root: %v", err)
			}
			return
		}
		again := make([]byte, log.BlockSize)
		r.Encode(again, at.dev, at.off)
		s, err := DecodeRoot(again, r.Pool, at.dev, at.off)
		if err != nil || !reflect.DeepEqual(r, s) {
			t.Fatalf("%+v became %+v, %v", r, s, err)
		}
	})
}
