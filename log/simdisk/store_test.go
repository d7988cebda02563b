package simdisk

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"unblend/log"
)

// TestContentIsKept packs blocks of every shape and reads pieces of them back.
func TestContentIsKept(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s store
	s.init(log.BlockSize)
	block, piece := make([]byte, log.BlockSize), make([]byte, log.BlockSize)
	for range 2000 {
		clear(block)
		for range rng.IntN(3) { // none, one spot, perhaps at the edge of two, or more
			at := rng.IntN(log.BlockSize - 16)
			for i := range 16 {
				block[at+i] = byte(rng.Uint32())
			}
		}
		c := s.pack(block)
		if !c.equal(block) {
			t.Fatalf("content of %d bytes is not what was packed", len(c))
		}
		for range 8 {
			from := rng.IntN(log.BlockSize)
			n := 1 + rng.IntN(log.BlockSize-from)
			if c.read(piece[:n], from); !bytes.Equal(piece[:n], block[from:from+n]) {
				t.Fatalf("content of %d bytes: %d bytes at %d differ", len(c), n, from)
			}
		}
		block[rng.IntN(log.BlockSize)] ^= 1
		if c.equal(block) {
			t.Fatalf("content of %d bytes equals another block", len(c))
		}
	}
}
