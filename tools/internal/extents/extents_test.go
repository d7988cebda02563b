package extents

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLayout(t *testing.T) {
	l := Layout{{File: 100, Disk: 1000, Length: 50}, {File: 0, Disk: 2000, Length: 100}}
	for disk, want := range map[int64]int64{
		999: -1, 1000: 100, 1049: 149, 1050: -1, 1999: -1, 2000: 0, 2099: 99, 2100: -1,
	} {
		got, ok := l.FileAt(disk)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("byte %d of the disk is byte %d of the file, want %d", disk, got, want)
		}
	}
}

// TestLayoutOfFile asks a real file system: every byte of a file lies somewhere, once.
func TestLayoutOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Of(path, 512)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		t.Skipf("the file system of %s does not tell where files lie: %v", path, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, e := range l {
		total += e.Length
		if at, ok := l.FileAt(e.Disk + e.Length - 1); !ok || at != e.File+e.Length-1 {
			t.Errorf("the last byte of %+v is found at %d, %t", e, at, ok)
		}
	}
	if total != 1<<20 {
		t.Errorf("%d bytes lie somewhere, want %d: %+v", total, 1<<20, l)
	}
}
