package main

import (
	"context"
	"testing"
	"time"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/control"
	"unblend/tools/internal/extents"
)

// TestStreams: requests go to the stream of their guest and to the merged one, those of the disk to
// what they are for.
func TestStreams(t *testing.T) {
	a, b := blocktrace.Device{Major: 259, Minor: 1}, blocktrace.Device{Major: 259, Minor: 2}
	disk := blocktrace.Device{Major: 8, Minor: 0}
	w := &watch{
		guests: []blocktrace.Device{a, b}, bases: []int64{0, 1 << 20}, disk: &disk,
		layout:  extents.Layout{{File: 0, Disk: 1 << 20, Length: 1 << 20}},
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
