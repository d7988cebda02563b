package shard

import (
	"bytes"
	"testing"
)

// TestCutPiece: the pieces of an operation are its buffers, in order, none longer than the limit
// and only the last one shorter.
func TestCutPiece(t *testing.T) {
	var whole []byte
	for i := range 40 {
		whole = append(whole, byte(i))
	}
	for _, lengths := range [][]int{{40}, {1, 39}, {8, 8, 8, 16}, {3, 30, 7}, {20, 20}} {
		var bufs [][]byte
		rest := whole
		for _, n := range lengths {
			bufs, rest = append(bufs, rest[:n]), rest[n:]
		}
		for limit := 1; limit <= 41; limit++ {
			var got, piece []byte
			left, skip := bufs, 0
			for len(left) > 0 {
				var cut [][]byte
				cut, left, skip = cutPiece(nil, left, skip, limit)
				piece = bytes.Join(cut, nil)
				if want := min(limit, len(whole)-len(got)); len(piece) != want {
					t.Fatalf("%v in pieces of %d: one of %d", lengths, limit, len(piece))
				}
				got = append(got, piece...)
			}
			if !bytes.Equal(got, whole) {
				t.Fatalf("%v in pieces of %d: %v", lengths, limit, got)
			}
		}
	}
}
