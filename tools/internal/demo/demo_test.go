package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/control"

	"golang.org/x/sys/unix"
)

func TestLayout(t *testing.T) {
	l := layout{{file: 100, disk: 1000, length: 50}, {file: 0, disk: 2000, length: 100}}
	for disk, want := range map[int64]int64{
		999: -1, 1000: 100, 1049: 149, 1050: -1, 1999: -1, 2000: 0, 2099: 99, 2100: -1,
	} {
		got, ok := l.fileAt(disk)
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
	l, err := layoutOf(path, 512)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		t.Skipf("the file system of %s does not tell where files lie: %v", path, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, e := range l {
		total += e.length
		if at, ok := l.fileAt(e.disk + e.length - 1); !ok || at != e.file+e.length-1 {
			t.Errorf("the last byte of %+v is found at %d, %t", e, at, ok)
		}
	}
	if total != 1<<20 {
		t.Errorf("%d bytes lie somewhere, want %d: %+v", total, 1<<20, l)
	}
}

// TestStreams: requests go to the stream of their guest and to the merged one, those of the disk to
// what they are for.
func TestStreams(t *testing.T) {
	a, b := blocktrace.Device{Major: 259, Minor: 1}, blocktrace.Device{Major: 259, Minor: 2}
	disk := blocktrace.Device{Major: 8, Minor: 0}
	w := &watch{
		guests: []blocktrace.Device{a, b}, bases: []int64{0, 1 << 20}, disk: &disk,
		layout:  layout{{file: 0, disk: 1 << 20, length: 1 << 20}},
		regions: []control.Region{{Class: "log", Start: 4096, End: 8192}},
		guest:   make([]blocktrace.Run, 2), class: map[string]*blocktrace.Run{},
	}
	write := func(d blocktrace.Device, at, n uint64) {
		w.add(blocktrace.Event{Dev: d, Op: blocktrace.Write, Sector: at / 512, Sectors: n / 512})
	}
	write(a, 0, 4096)
	write(b, 8192, 512)
	write(a, 4096, 4096)
	write(b, 8704, 512)
	write(disk, 1<<20, 4096)
	write(disk, 1<<20+4096, 2048)
	write(disk, 1<<20+6144, 2048)
	write(disk, 0, 512)
	w.add(blocktrace.Event{Dev: a, Op: blocktrace.Read, Sectors: 8})
	if w.guest[0].Sequential != 1 || w.guest[1].Sequential != 1 || w.guest[0].Bytes != 8192 {
		t.Errorf("guests: %+v", w.guest)
	}
	if m := w.merged; m.Requests != 4 || m.Sequential != 0 {
		t.Errorf("merged: %+v", m)
	}
	if l := w.class["log"]; l == nil || l.Requests != 2 || l.Sequential != 1 {
		t.Errorf("log: %+v", l)
	}
	for _, c := range []string{"other", "other files"} {
		if r := w.class[c]; r == nil || r.Requests != 1 {
			t.Errorf("%s: %+v", c, r)
		}
	}
}

func TestFlags(t *testing.T) {
	o, err := parse([]string{"-host", "-dir", "/x", "-load", "5s"})
	if err != nil || !o.host || o.dir != "/x" || o.load != 5*time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parse([]string{"what"}); err == nil {
		t.Error("an argument that means nothing was accepted")
	}
	t.Setenv("UNBLEND_VM_GUEST", "")
	if status := run(context.Background(), nil); status != 2 {
		t.Errorf("status %d outside a virtual machine and without -host, want 2", status)
	}
}
