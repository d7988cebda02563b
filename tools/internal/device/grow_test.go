package device

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestExtend makes a file larger while it is claimed, reserved or not, and refuses what cannot be,
// which leaves the file as it was.
func TestExtend(t *testing.T) {
	d, path := newFile(t, 4<<20)
	data := bytes.Repeat([]byte{7}, 4096)
	if err := d.WriteAt(data, 4<<20-4096); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		size   int64
		sparse bool
		want   error
	}{
		{4 << 20, false, nil},
		{1 << 20, false, nil},
		{4<<20 + 512, false, nil},
		{int64(fs.Bavail+8192) * fs.Bsize, false, ErrNoSpace},
		{1<<62 + 1<<61, true, nil},
	} {
		if err := d.Extend(x.size, x.sparse); err == nil || x.want != nil && !errors.Is(err, x.want) {
			t.Errorf("%d bytes: %v", x.size, err)
		}
		if err := unix.Stat(path, &st); err != nil || st.Size != 4<<20 {
			t.Fatalf("%d bytes: the file has %d, %v", x.size, st.Size, err)
		}
	}
	if err := d.Extend(8<<20, false); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(path, &st); err != nil || st.Size != 8<<20 || st.Blocks*512 < 8<<20 {
		t.Errorf("%d bytes, %d reserved, %v", st.Size, st.Blocks*512, err)
	}
	if err := d.Extend(1<<40, true); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(path, &st); err != nil || st.Size != 1<<40 || st.Blocks*512 > 16<<20 {
		t.Errorf("%d bytes, %d reserved, %v", st.Size, st.Blocks*512, err)
	}
	if n, err := d.PresentSize(); err != nil || n != 1<<40 || d.Size() != 4<<20 {
		t.Errorf("present size %d, %v; size %d", n, err, d.Size())
	}
	d.Resized(1 << 40)
	got := make([]byte, 4096)
	if err := d.ReadAt(got, 4<<20-4096); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what was there: %v", err)
	}
	if err := errors.Join(d.WriteAt(data, 1<<40-4096), d.ReadAt(got, 1<<40-4096)); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(path, 1<<39+1); err != nil {
		t.Fatal(err)
	}
	if n, err := d.PresentSize(); err != nil || n != 1<<39 {
		t.Errorf("a file that shrank: %d, %v", n, err)
	}
}
