package device

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"unblend/log"
)

func newFile(t *testing.T, size int64) (*Device, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pool")
	d, err := OpenForInit(path, InitOptions{Create: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, path
}

func writeFile(t *testing.T, content []byte, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDisk holds that what is written is read, whatever the alignment of the caller's memory and
// the way the transfers are cut.
func TestDisk(t *testing.T) {
	d, _ := newFile(t, 8<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 8<<20)
	for range 60 {
		blocks := 1 + rng.IntN(700)
		off := rng.IntN(2048-blocks+1) * log.BlockSize
		skew := rng.IntN(3) * 17
		p := make([]byte, blocks*log.BlockSize+skew)[skew:]
		for i := 0; i < len(p); i += 8 {
			p[i] = byte(rng.Uint32())
		}
		if err := d.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
		copy(want[off:], p)
		got := make([]byte, blocks*log.BlockSize+1)[rng.IntN(2):][:blocks*log.BlockSize]
		if err := d.ReadAt(got, int64(off)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, p) {
			t.Fatalf("%d blocks at %d: not what was written", blocks, off)
		}
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	all := alignedBytes(8 << 20)
	if err := d.ReadAt(all, 0); err != nil || !bytes.Equal(all, want) {
		t.Errorf("the whole file differs: %v", err)
	}
}

func TestDiskRefusals(t *testing.T) {
	d, path := newFile(t, 1<<20)
	b := alignedBytes(2 * log.BlockSize)
	for _, c := range []struct {
		p   []byte
		off int64
	}{
		{b[:100], 0}, {b, 100}, {b, -4096}, {b, 1<<20 - 4096}, {b, 1 << 40}, {b, 1<<63 - 4096},
	} {
		if d.ReadAt(c.p, c.off) == nil || d.WriteAt(c.p, c.off) == nil {
			t.Errorf("%d bytes at %d accepted", len(c.p), c.off)
		}
	}
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	if err := d.ReadAt(b, 4096); err == nil {
		t.Error("a read across the end of a file that shrank succeeded")
	}
}

func TestCreate(t *testing.T) {
	d, path := newFile(t, 4<<20)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if d.Size() != 4<<20 || st.Size != 4<<20 || st.Blocks*512 < 4<<20 || st.Mode&0o777 != 0o600 {
		t.Errorf("size %d, file %d, reserved %d, mode %o", d.Size(), st.Size, st.Blocks*512,
			st.Mode)
	}
	if !d.Created() || d.Path() != path || d.Info().Kind != RegularFile {
		t.Errorf("created %v, info %+v", d.Created(), d.Info())
	}
	thin := filepath.Join(t.TempDir(), "thin")
	s, err := OpenForInit(thin, InitOptions{Create: 1 << 40, Sparse: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(thin, &st); err != nil || st.Blocks != 0 || s.Size() != 1<<40 {
		t.Errorf("sparse: size %d, %d blocks, %v", s.Size(), st.Blocks, err)
	}
	if err := s.Discard(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(thin); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a discarded new file is still there: %v", err)
	}
}

func TestCreateFails(t *testing.T) {
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		size int64
		want error
	}{
		{filepath.Join(dir, "absent"), 0, ErrNoDevice},
		{filepath.Join(dir, "no/such/dir"), 1 << 20, ErrNoDevice},
		{filepath.Join(dir, "huge"), 1 << 62, nil},
		{filepath.Join(dir, "full"), int64(fs.Bavail+1) * fs.Bsize, ErrNoSpace},
		{dir, 1 << 20, ErrUnsuitable},
		{"/dev/null", 1 << 20, ErrUnsuitable},
	} {
		d, err := OpenForInit(c.path, InitOptions{Create: c.size})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s of %d bytes: %v, want %v", c.path, c.size, err, c.want)
		}
		if err == nil {
			t.Error(d.Discard())
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestInitRefusesData(t *testing.T) {
	path := writeFile(t, nil, 3<<20)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 2<<20+5); err != nil {
		t.Fatal(err)
	}
	_, err = OpenForInit(path, InitOptions{})
	var data *DataError
	if !errors.As(err, &data) || data.Found[0].Off != 2<<20+5 {
		t.Fatalf("a file with one byte in it: %v", err)
	}
	f.Close()
	d, err := OpenForInit(path, InitOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if off, err := d.firstData(); off != 2<<20+5 || err != nil || len(d.Holds()) != 1 {
		t.Errorf("before Prepare: data at %d, %v", off, err)
	}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	if off, err := d.firstData(); d.Size() != 3<<20 || off != -1 || err != nil {
		t.Errorf("after --force: size %d, data at %d, %v", d.Size(), off, err)
	}
	if d.Created() {
		t.Error("an existing file passes for a new one, and an init that fails would remove it")
	}
}

// TestInitFileSizes holds that blank files of any size become whole blocks, and that their tails
// count as content.
func TestInitFileSizes(t *testing.T) {
	for _, x := range []struct{ size, create, want int64 }{{0, 1 << 20, 1 << 20}, {5000, 0, 4096}} {
		d, err := OpenForInit(writeFile(t, nil, x.size), InitOptions{Create: x.create})
		if err != nil {
			t.Fatalf("a blank file of %d bytes: %v", x.size, err)
		}
		if err := d.Prepare(); err != nil || d.Size() != x.want {
			t.Errorf("a blank file of %d bytes: has %d, %v", x.size, d.Size(), err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	tail := writeFile(t, append(make([]byte, 4999), 1), 5000)
	if _, err := OpenForInit(tail, InitOptions{}); !errors.Is(err, ErrHoldsData) {
		t.Errorf("a file whose last byte is 1: %v", err)
	}
}

func TestSymlinks(t *testing.T) {
	path := writeFile(t, nil, 1<<20)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	_, err := OpenForInit(link, InitOptions{Force: true})
	if !errors.Is(err, ErrUnsuitable) || !strings.Contains(err.Error(), path) {
		t.Errorf("init through a link to a file: %v", err)
	}
	d, err := OpenForServe(link, 0, nil)
	if err != nil {
		t.Fatalf("serve through a link: %v", err)
	}
	defer d.Close()
	dangling := filepath.Join(t.TempDir(), "dangling")
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenForInit(dangling, InitOptions{Create: 1 << 20}); err == nil {
		t.Error("init created a file through a dangling link")
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("the target of the dangling link exists now")
	}
}

func TestExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool")
	d, err := OpenForInit(path, InitOptions{Create: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenForServe(path, 0, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("second serve: %v", err)
	}
	if _, err := OpenForCheck(path, 0, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("check of a pool that is served: %v", err)
	}
	if _, err := OpenForInit(path, InitOptions{Force: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("init --force of a pool that is served: %v", err)
	}
	told := 0
	go func() {
		time.Sleep(3 * retryEvery)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	again, err := OpenForServe(path, time.Minute, func(error) { told++ })
	if err != nil || told != 1 {
		t.Fatalf("after the first one closed: %v, told %d times", err, told)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestCheckersShare(t *testing.T) {
	path := writeFile(t, nil, 1<<20)
	a, err := OpenForCheck(path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := OpenForCheck(path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.WriteAt(alignedBytes(4096), 0); err == nil {
		t.Error("a device opened for check can be written to")
	}
	if _, err := OpenForServe(path, 0, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("serve during a check: %v", err)
	}
}

func TestApart(t *testing.T) {
	a, b := writeFile(t, nil, 1<<20), writeFile(t, nil, 1<<20)
	hard := filepath.Join(filepath.Dir(a), "hard")
	if err := os.Link(a, hard); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{a, b, false},
		{a, a, true},
		{a, filepath.Dir(a) + "/./file", true},
		{a, hard, true},
		{a, absent, false},
		{absent, absent, true},
	} {
		err := CheckApart(c.a, c.b)
		if errors.Is(err, ErrSameRange) != c.same || !c.same && err != nil {
			t.Errorf("CheckApart(%s, %s) = %v", c.a, c.b, err)
		}
	}
}

// TestWipe holds that after a wipe nothing is found, wherever the signature was.
func TestWipe(t *testing.T) {
	const size = 66<<20 + 512
	for _, m := range magics {
		off := m.off
		if off < 0 {
			off += size
		}
		if off >= size {
			continue
		}
		path := writeFile(t, nil, size)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(m.bytes), off); err != nil {
			t.Fatal(err)
		}
		f.Close()
		d, err := OpenForServe(path, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		found, err := Probe(reader{d}, size)
		if err != nil || len(found) != 1 {
			t.Errorf("%s: found %v, %v before the wipe", m.name, found, err)
		}
		if err := d.wipe(found); err != nil {
			t.Errorf("%s: wipe: %v", m.name, err)
		}
		if at, err := d.firstData(); at != -1 || err != nil {
			t.Errorf("%s: a byte at %d is left, %v", m.name, at, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestInspect(t *testing.T) {
	content := make([]byte, 8192)
	copy(content[1024:], superExt(4, 0x40, 0))
	path := writeFile(t, content, 5<<20)
	r, err := Inspect(path)
	if err != nil || r.Info.Size != 5<<20 || len(r.Holds) != 1 || len(r.Users) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Inspect("/dev/null"); !errors.Is(err, ErrUnsuitable) {
		t.Errorf("/dev/null: %v", err)
	}
}
