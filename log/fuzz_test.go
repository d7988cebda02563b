package log

import (
	"errors"
	"os"
	"testing"
)

// The decoders get the blocks of the golden file as seeds, and take whatever else comes without a
// panic: what they accept has a right checksum and encodes to the same bytes.

func goldenBlocks(f *testing.F) [][]byte {
	p, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	var blocks [][]byte
	for ; len(p) > 0; p = p[BlockSize:] {
		blocks = append(blocks, p[:BlockSize])
	}
	return blocks
}

// padded returns at least one block that begins with p.
func padded(p []byte) []byte {
	q := make([]byte, max(BlockSize, blocksOf(len(p))*BlockSize))
	copy(q, p)
	return q
}

func FuzzSegmentHeader(f *testing.F) {
	for _, b := range goldenBlocks(f) {
		f.Add(b[:segmentHeaderSize], true)
	}
	f.Fuzz(func(t *testing.T, p []byte, fix bool) {
		p = padded(p)
		if fix {
			le.PutUint32(p[crcAt:], checksumWithout(p[:segmentHeaderSize]))
		}
		var h segmentHeader
		if reason, err := h.decode(p, uuid(p[16:32]), le.Uint32(p[48:])); reason != "" || err != nil {
			return
		}
		q := make([]byte, BlockSize)
		h.encode(q)
		var again segmentHeader
		if reason, _ := again.decode(q, h.pool, h.index); reason != "" || again != h {
			t.Fatalf("%q: %+v became %+v", reason, h, again)
		}
	})
}

func FuzzRecord(f *testing.F) {
	for _, b := range goldenBlocks(f) {
		f.Add(b[:512], true)
	}
	f.Fuzz(func(t *testing.T, p []byte, fix bool) {
		p = padded(p)
		if n := int(le.Uint32(p[80:])); fix && n <= len(p)-recordHeaderSize {
			le.PutUint32(p[crcAt:], checksumWithout(p[:recordHeaderSize+n]))
		}
		var h recordHeader
		if h.decode(p, uuid(p[16:32]), le.Uint32(p[72:])) != "" {
			return
		}
		rest := p[recordHeaderSize : recordHeaderSize+h.bytes]
		for len(rest) > 0 {
			var e entry
			next, err := e.decode(rest)
			if err != nil {
				return
			}
			if len(next) >= len(rest) {
				t.Fatal("an entry that takes nothing")
			}
			rest = next
		}
		q := append([]byte(nil), p...)
		h.seal(q)
		var again recordHeader
		if reason := again.decode(q, h.pool, h.loc); reason != "" || again != h {
			t.Fatalf("%q: %+v became %+v", reason, h, again)
		}
	})
}

func FuzzSummary(f *testing.F) {
	for _, b := range goldenBlocks(f) {
		f.Add(b[:512], true)
	}
	f.Fuzz(func(t *testing.T, p []byte, fix bool) {
		p = padded(p)
		var h summaryHeader
		if n := h.length(p); fix && n <= uint64(len(p)) {
			le.PutUint32(p[crcAt:], checksumWithout(p[:n]))
		}
		if h.decode(p, uuid(p[16:32]), le.Uint32(p[48:])) != "" {
			return
		}
		rest := p[summaryHeaderSize : summaryHeaderSize+h.bytes]
		for range h.records {
			var err error
			if _, _, _, rest, err = nextRecord(rest); err != nil {
				return
			}
		}
	})
}

// FuzzRecover changes some bytes of a log, with the checksum of their block made right or not.
// Whatever recovery makes of it, it says so in a typed error, or its result can be cut and used.
func FuzzRecover(f *testing.F) {
	golden, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	for block := range uint32(len(golden) / BlockSize) {
		for _, at := range []uint32{0, 8, 10, 48, 56, 64, 72, 76, 80, 84, 88, 92, 112} {
			f.Add(block*BlockSize+at, []byte{0xff, 1}, true)
		}
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, fix bool) {
		image := append([]byte(nil), golden...)
		if at >= uint32(len(image)) {
			return
		}
		copy(image[at:], patch)
		if block := image[at/BlockSize*BlockSize:]; fix {
			repair(block[:BlockSize])
		}
		geo := smallGeometry
		geo.AreaOff, geo.Segments = 0, 4
		d := newTestDisk(geo.Bytes())
		copy(d.now, image)
		par := RecoverParams{UUID: uuid{1, 2, 3}, ReplayStart: 1, Generation: 1}
		ring, _, err := Recover(d, geo, par, ignored{})
		if err == nil {
			err = ring.Cut(d, func(p []byte) { p[0] = 1 })
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) &&
			!errors.Is(err, ErrOldRoot) && !errors.Is(err, ErrNoSegment) {
			t.Fatal(err)
		}
		for _, mend := range []bool{true, false} {
			found, again := Verify(d, geo, par, mend)
			if again == nil && !mend && len(found) > 0 {
				t.Fatalf("it was mended, and is damaged: %v", found)
			}
		}
	})
}

// ignored takes what a replay finds.
type ignored struct{}

func (ignored) Wrote(uint64, int, uint32, uint64, uint32, []uint32) {}
func (ignored) Zeroed(uint64, int, uint32, uint64, uint64, uint32)  {}
func (ignored) Marked(uint64, int, uint16, []byte, uint32)          {}
func (ignored) Lost(uint64, int, uint32, uint64, uint32, []uint32)  {}

// repair makes the checksum of a block right, whatever it is.
func repair(p []byte) {
	n := uint64(segmentHeaderSize)
	var h summaryHeader
	if isRecord(p) {
		n = recordHeaderSize + uint64(le.Uint32(p[80:]))
	} else if isSummary(p) {
		n = h.length(p)
	}
	if n <= BlockSize {
		le.PutUint32(p[crcAt:], checksumWithout(p[:n]))
	}
}
