package device

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"unblend/log"
	"unblend/placement"
)

// formatted counts pools, so that each has its own UUID.
var formatted uint64

// format makes a pool on new files, or on the devices at the paths.
func format(t *testing.T, paths ...string) []string {
	t.Helper()
	if len(paths) == 0 {
		dir := t.TempDir()
		paths = []string{filepath.Join(dir, "fast"), filepath.Join(dir, "capacity")}
	}
	var disks placement.Disks
	for i := range disks {
		if i > 0 && len(paths) == 1 {
			disks[i] = disks[0]
			continue
		}
		size := int64(64 << 20)
		if info, err := Stat(paths[i]); err == nil && info.Kind == BlockDevice {
			size = 0
		}
		d, err := OpenForInit(paths[i], InitOptions{Create: size, Sparse: true, Force: true})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
		disks[i] = d
	}
	formatted++
	rng := rand.New(rand.NewPCG(7, formatted))
	err := placement.Format(disks, placement.FormatConfig{
		LogSize: 8 << 20, SegmentBlocks: 64, MetaPages: 600,
		Rand: func(p []byte) {
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// flip changes one byte of a file.
func flip(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func TestOpenPoolOfTwo(t *testing.T) {
	p := format(t)
	for _, paths := range [][]string{{p[0], p[1]}, {p[1], p[0]}} {
		pool, err := OpenPool(paths, PoolOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d := pool.Disks()
		if pool.One() || d[log.Fast] != pool.Devices[log.Fast] ||
			pool.Devices[log.Fast].Path() != p[0] || pool.Devices[log.Capacity].Path() != p[1] {
			t.Errorf("%q: %+v", paths, pool.Devices)
		}
		if _, err := OpenPool(paths, PoolOptions{ReadOnly: true}); !errors.Is(err, ErrInUse) {
			t.Errorf("a second time: %v", err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := OpenPool(p[:1], PoolOptions{}); !errors.Is(err, placement.ErrMissingDevice) {
		t.Errorf("one of two files: %v", err)
	}
	if _, err := OpenPool([]string{p[0], p[0]}, PoolOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("the same twice: %v", err)
	}
	other := format(t)
	for _, x := range [][]string{{p[0], other[1]}, {p[0], other[0]}, {other[1], p[1]}} {
		if _, err := OpenPool(x, PoolOptions{}); !errors.Is(err, placement.ErrSwapped) {
			t.Errorf("of two pools: %v", err)
		}
	}
}

func TestOpenPoolWithoutLog(t *testing.T) {
	p := format(t)
	for _, paths := range [][]string{p[1:], {p[0], p[1]}} {
		pool, err := OpenPool(paths, PoolOptions{WithoutLog: true})
		if err != nil {
			t.Fatal(err)
		}
		if d := pool.Disks(); d[log.Fast] != nil || d[log.Capacity] == nil {
			t.Errorf("disks: %v", d)
		}
		fast, err := OpenForServe(p[0], 0, nil)
		if err != nil {
			t.Errorf("the fast device is held: %v", err)
		}
		if err := errors.Join(fast.closeIfAny(), pool.Close()); err != nil {
			t.Error(err)
		}
	}
	one := format(t, filepath.Join(t.TempDir(), "one"))
	_, err := OpenPool(one, PoolOptions{WithoutLog: true})
	if !errors.Is(err, placement.ErrConfig) {
		t.Errorf("a pool of one device without its log: %v", err)
	}
}

// TestOpenPoolDamagedLabel holds that the other label tells what a device with a bad one is, and
// that no pool is opened without a good one.
func TestOpenPoolDamagedLabel(t *testing.T) {
	for bad := range 2 {
		p := format(t)
		flip(t, p[bad], 300)
		for _, paths := range [][]string{{p[0], p[1]}, {p[1], p[0]}} {
			pool, err := OpenPool(paths, PoolOptions{})
			if err != nil || pool.Devices[bad].Path() != p[bad] {
				t.Fatalf("label %d damaged: %v", bad, err)
			}
			if err := pool.Close(); err != nil {
				t.Error(err)
			}
		}
		flip(t, p[1-bad], 300)
		if _, err := OpenPool(p, PoolOptions{}); !errors.Is(err, placement.ErrDamaged) {
			t.Errorf("both labels damaged: %v", err)
		}
		d, err := OpenForServe(p[0], 0, nil)
		if err != nil {
			t.Fatalf("a refused pool is held: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenPoolUnlabelled holds that a device without a label is taken only where that was asked for.
func TestOpenPoolUnlabelled(t *testing.T) {
	for bad := range 2 {
		p := format(t)
		flip(t, p[bad], 3)
		if _, err := OpenPool(p, PoolOptions{}); !errors.Is(err, placement.ErrNotPool) {
			t.Errorf("label %d gone: %v", bad, err)
		}
		pool, err := OpenPool(p, PoolOptions{Unlabelled: true})
		if err != nil || pool.Devices[bad].Path() != p[bad] {
			t.Fatalf("label %d gone: %v", bad, err)
		}
		rep, err := placement.Check(pool.Disks(), placement.CheckOptions{Repair: true})
		if err != nil || rep.Repaired != 1 {
			t.Errorf("label %d gone: %+v, %v", bad, rep, err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		if pool, err = OpenPool(p, PoolOptions{}); err != nil {
			t.Fatalf("label %d written anew: %v", bad, err)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenPoolOfOne(t *testing.T) {
	p := format(t, filepath.Join(t.TempDir(), "one"))
	check := func(what string, want error) {
		t.Helper()
		pool, err := OpenPool(p, PoolOptions{ReadOnly: true})
		if !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", what, err, want)
		}
		if err == nil {
			if !pool.One() || pool.Devices[0] == nil {
				t.Errorf("%s: %+v", what, pool)
			}
			if err := pool.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	check("intact", nil)
	flip(t, p[0], 64)
	check("first label damaged", nil)
	flip(t, p[0], 64<<20-4096+64)
	check("both labels damaged", placement.ErrDamaged)
	flip(t, p[0], 64)
	check("last label damaged", nil)
	flip(t, p[0], 11)
	check("a version that nobody wrote", placement.ErrDamaged)
	if err := os.Truncate(p[0], 100); err != nil {
		t.Fatal(err)
	}
	check("truncated to 100 bytes", placement.ErrNotPool)
	p[0] = filepath.Join(t.TempDir(), "absent")
	check("nothing there", ErrNoDevice)
}

// TestOpenPoolFinds holds that the second block device of a pool is found.
func TestOpenPoolFinds(t *testing.T) {
	a, _ := newLoop(t, 64<<20)
	b, _ := newLoop(t, 64<<20)
	format(t, a, b)
	for _, path := range []string{a, b} {
		pool, err := OpenPool([]string{path}, PoolOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pool.Devices[log.Fast].Path() != a || pool.Devices[log.Capacity].Path() != b {
			t.Errorf("from %s: %s and %s", path, pool.Devices[0].Path(), pool.Devices[1].Path())
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	}
}
