package simdisk

import (
	"bytes"
	"testing"

	"unblend/log"
)

// page returns a block filled with b.
func page(b byte) []byte { return bytes.Repeat([]byte{b}, log.BlockSize) }

func TestSyncViewReadsWhatItWrote(t *testing.T) {
	w := NewWorld(1)
	d := w.NewDisk(Config{Name: "a", Size: 1 << 40, Volatile: true, Timing: Random{1000, 2000}})
	s := d.Sync()
	if s.Size() != 1<<40 {
		t.Fatalf("size %d", s.Size())
	}
	want := append(page(7), page(9)...)
	want[5000] = 1
	if err := s.WriteAt(want, 1<<39); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4*log.BlockSize)
	if err := s.ReadAt(got, 1<<39-log.BlockSize); err != nil {
		t.Fatal(err)
	}
	want = append(append(page(0), want...), page(0)...)
	if !bytes.Equal(got, want) {
		t.Fatal("read differs from what was written")
	}
	if w.Now() < 2000 || w.Now() > 4000 {
		t.Fatalf("two operations took %d ns", w.Now())
	}
}
