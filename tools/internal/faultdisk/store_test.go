package faultdisk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestFileHoldsTheDiskAfterACutAndAfterClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	cfg := DiskConfig{Name: "d0", Size: 64 << 10, File: path}
	s := newServer(t, cfg)
	c := connect(t, s, "")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.write(0, fill(1, 4096), nbdFUA))
	must(c.write(4096, fill(2, 4096), 0))
	if _, err := s.Cut(1, None); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 64<<10)
	copy(want, fill(1, 4096))
	expectFile(t, path, want)

	c = connect(t, s, "")
	must(c.write(8192, fill(3, 1024), 0))
	must(s.Close())
	copy(want[8192:], fill(3, 1024))
	expectFile(t, path, want)

	again := newServer(t, cfg)
	c = connect(t, again, "")
	if got, err := c.read(0, 64<<10); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("opened again: %v, or other contents", err)
	}
	must(c.do(nbdTrim, nbdFUA, 8192, 4096, nil))
	must(c.do(nbdZeroes, nbdFUA, 512, 512, nil))
	clear(want[8192:12288])
	clear(want[512:1024])
	must(again.Close())
	expectFile(t, path, want)
}

func expectFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: %v, or other contents", path, err)
	}
}

func TestFileErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, cfg := range map[string]Config{
		"no disks":          {},
		"another size":      {Disks: []DiskConfig{{Name: "d", Size: 8192, File: path}}},
		"missing directory": {Disks: []DiskConfig{{Name: "d", Size: 8192, File: path + "/x"}}},
		"no name":           {Disks: []DiskConfig{{Size: 8192}}},
		"odd size":          {Disks: []DiskConfig{{Name: "d", Size: 8191}}},
		"odd sector":        {Disks: []DiskConfig{{Name: "d", Size: 8192, Sector: 1024}}},
		"same name":         {Disks: []DiskConfig{mem("d", 4096), mem("d", 4096)}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

func TestReadAt(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	p := make([]byte, 1024)
	if err := s.ReadAt("d0", p, 3072); err != nil {
		t.Error(err)
	}
	past, before := s.ReadAt("d0", p, 3584), s.ReadAt("d0", p, -1)
	if past == nil || before == nil || s.ReadAt("x", p, 0) == nil {
		t.Error("a read outside of any disk succeeds")
	}
}
