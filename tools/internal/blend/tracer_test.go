package blend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"unblend/bpf"
	"unblend/tools/internal/control"
	"unblend/tools/internal/extents"
)

// host is a machine that is made up: a daemon and a sysfs.
type host struct {
	flow    control.Flow
	t       *testing.T
	sys     string
	status  control.Status
	volumes []control.Volume
	away    bool
	asked   int // how often for the list
}

const mibs = int64(1) << 20

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	h := &host{t: t, sys: t.TempDir()}
	h.disk("sda", "8:0", true, "", 0)
	h.disk("sda3", "8:3", true, "sda", 4*mibs)
	h.disk("dm-0", "253:0", false, "", 0)
	h.status = control.Status{
		Devices: []control.DeviceStatus{
			{Role: control.RoleLog, Path: "/dev/sda3", Number: "8:3", Present: true},
			{Role: control.RoleData, Path: "/dev/dm-0", Number: "253:0", Present: true},
		},
		Regions: []control.Region{
			{Role: control.RoleLog, Class: "log", Start: mibs, End: 9 * mibs},
			{Role: control.RoleLog, Class: "metadata", Start: 9 * mibs, End: 10 * mibs},
			{Role: control.RoleData, Class: "data", Start: 0, End: 60 * mibs},
		},
	}
	return h
}

// disk makes a device of 64 MiB in sysfs.
func (h *host) disk(name, number string, queues bool, parent string, start int64) {
	h.t.Helper()
	dir := filepath.Join(h.sys, "devices", parent, name)
	files := map[string]string{"dev": number, "size": fmt.Sprint(64 * mibs / bpf.SectorSize)}
	if parent != "" {
		files["partition"], files["start"] = "3", fmt.Sprint(start/bpf.SectorSize)
	} else if queues {
		files["mq/0"] = ""
	}
	for file, text := range files {
		path := filepath.Join(dir, file)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err = errors.Join(err, os.WriteFile(path, []byte(text+"\n"), 0o644)); err != nil {
			h.t.Fatal(err)
		}
	}
	for _, link := range []string{"dev/block/" + number, "class/block/" + name} {
		path := filepath.Join(h.sys, link)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err = errors.Join(err, os.Symlink(dir, path)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// attach gives the host a volume of 1 MiB with the device ublkbN.
func (h *host) attach(name string, n int) bpf.Device {
	h.t.Helper()
	device := fmt.Sprintf("ublkb%d", n)
	if _, err := os.Stat(filepath.Join(h.sys, "class/block", device)); err != nil {
		h.disk(device, fmt.Sprintf("259:%d", n), true, "", 0)
	}
	h.volumes = append(h.volumes, control.Volume{
		Name: name, Size: mibs, Device: "/dev/" + device, Link: filepath.Join(h.sys, "links", name),
	})
	return bpf.DeviceNumber(259, uint32(n))
}

func (h *host) detach(name string) {
	h.volumes = slices.DeleteFunc(h.volumes, func(v control.Volume) bool { return v.Name == name })
}

func (h *host) List(context.Context, control.ListRequest) (control.List, error) {
	h.asked++
	if h.away {
		return control.List{}, &control.Error{Code: control.CodeUnreachable, Message: "gone"}
	}
	return control.List{Volumes: h.volumes}, nil
}

func (h *host) Status(context.Context) (control.Status, error) {
	if h.away {
		return control.Status{}, &control.Error{Code: control.CodeUnreachable, Message: "gone"}
	}
	h.status.Volumes.Attached = len(h.volumes)
	return h.status, nil
}

func (h *host) Flow(context.Context) (control.Flow, error) {
	return h.flow, nil
}

// trace begins to count; events come from replay alone.
func (h *host) trace() *Tracer {
	h.t.Helper()
	t, err := prepare(h.t.Context(), h, sysfs(h.sys))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { t.Close() })
	return t
}

// write replays a write, all in bytes.
func (h *host) write(t *Tracer, d bpf.Device, hook bpf.Hook, at, n int64) {
	h.t.Helper()
	err := t.kernel.Replay(bpf.Event{
		Device: d, Hook: hook, Op: bpf.OpWrite,
		Sector: uint64(at / bpf.SectorSize), Sectors: uint32(n / bpf.SectorSize),
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) report(t *Tracer) control.TraceBlend {
	h.t.Helper()
	doc, err := t.Report(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return doc
}

// stream returns the only stream with that kind and name.
func (h *host) stream(doc control.TraceBlend, kind, name string) control.TraceStream {
	h.t.Helper()
	var found []control.TraceStream
	for _, s := range doc.Streams {
		if s.Kind == kind && (name == "" || s.Name == name) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		h.t.Fatalf("%d streams %s %q in %+v", len(found), kind, name, doc.Streams)
	}
	return found[0]
}

// TestReport replays two guests that write in order, in turn, and what a daemon would make of it: one
// stream for the log, then destage in two runs.
func TestReport(t *testing.T) {
	h := newHost(t)
	a, b := h.attach("a", 0), h.attach("b", 1)
	tr := h.trace()
	const n, block = 64, 4096
	sda, dm := bpf.DeviceNumber(8, 0), bpf.DeviceNumber(253, 0)
	for i := range int64(n) {
		h.write(tr, a, bpf.AtIssue, i*block, block)
		h.write(tr, b, bpf.AtIssue, i*block, block)
		h.write(tr, sda, bpf.AtIssue, 5*mibs+2*i*block, 2*block) // the log, on the partition
	}
	for i := range int64(n) {
		h.write(tr, dm, bpf.AtQueue, i*block, block)
	}
	for i := range int64(n) {
		h.write(tr, dm, bpf.AtQueue, 32*mibs+i*block, block)
		h.write(tr, dm, bpf.AtIssue, i*block, block) // not where dm is watched
	}
	h.write(tr, sda, bpf.AtIssue, 0, block)        // another partition
	h.write(tr, sda, bpf.AtIssue, 13*mibs, block)  // metadata
	h.write(tr, dm, bpf.AtQueue, 62*mibs, block)   // outside of all regions
	h.write(tr, sda, bpf.AtIssue, 4*mibs+512, 512) // likewise
	doc := h.report(tr)
	for _, name := range []string{"a", "b"} {
		s := h.stream(doc, control.StreamVolume, name)
		if s.Writes != n || s.Seeks != 0 || s.Bytes != n*block || s.MeanRun != n*block {
			t.Errorf("volume %s: %+v", name, s)
		}
		// All seeks are there because there are two; each is gone without either.
		if w := s.Without; w == nil || w.Seeks != 0 || w.Added != 2*n-1 {
			t.Errorf("without volume %s: %+v", name, w)
		}
	}
	if m := h.stream(doc, control.StreamMerged, ""); m.Writes != 2*n || m.Seeks != 2*n-1 ||
		m.SeekRate != (2*n-1)*float64(mibs)/float64(2*n*block) || m.MedianSeek != uint64(mibs)/2 {
		t.Errorf("merged: %+v", m)
	}
	want := control.BlendFigures{
		Index: float64(n-1) / n, Own: float64(n-1) / n, Log: float64(n-1) / n,
		Recovered: float64(n-1) / n, SeeksAsIs: 2*n - 1, SeeksSent: 4, SentKnown: true,
		Avoided: float64(2*n-1) / 4,
	}
	if doc.Blend != want {
		t.Errorf("figures:\n got %+v\nwant %+v", doc.Blend, want)
	}
	for kind, writes := range map[string]uint64{
		control.StreamLog: n, control.StreamData: 2 * n, control.StreamMetadata: 1, control.StreamOther: 2,
	} {
		if s := h.stream(doc, kind, ""); s.Writes != writes {
			t.Errorf("%s: %+v", kind, s)
		}
	}
	if s := h.stream(doc, control.StreamDevice, "sda"); s.Writes != n+2 || s.Dev != "8:0" {
		t.Errorf("sda: %+v", s)
	}
	if len(doc.Notes) != 1 || !strings.Contains(doc.Notes[0], "dm-0") {
		t.Errorf("notes: %q", doc.Notes)
	}
	if s := h.stream(h.report(tr), control.StreamMerged, ""); s.Writes != 0 {
		t.Errorf("the next report has the same again: %+v", s)
	}
}

// TestFollow lets volumes come, go and grow while the trace runs.
func TestFollow(t *testing.T) {
	h := newHost(t)
	a := h.attach("a", 0)
	tr := h.trace()
	poll := func() {
		t.Helper()
		if err := tr.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.write(tr, a, bpf.AtIssue, 0, 4096)
	b := h.attach("b", 1)
	poll()
	h.write(tr, b, bpf.AtIssue, 0, 8192)
	h.detach("a")
	poll()
	h.write(tr, a, bpf.AtIssue, 4096, 4096) // not a's any more
	h.attach("c", 0)
	poll()
	h.write(tr, a, bpf.AtIssue, 8192, 512)
	doc := h.report(tr)
	for name, bytes := range map[string]uint64{"a": 4096, "b": 8192, "c": 512} {
		if s := h.stream(doc, control.StreamVolume, name); s.Bytes != bytes {
			t.Errorf("volume %s: %+v", name, s)
		}
	}
	// c lies behind a and b on the merged disk, also after it was away; a larger b lies behind it.
	h.detach("c")
	h.detach("b")
	poll()
	h.attach("c", 1)
	h.attach("b", 2)
	h.volumes[len(h.volumes)-1].Size = 2 * mibs
	doc = h.report(tr)
	if n := len(tr.volumes.known); n != 2 || doc.Volumes != 4 {
		t.Errorf("%d volumes known after the report, %d in it", n, doc.Volumes)
	}
	for name, want := range map[string]int64{"c": 2 * mibs, "b": 3 * mibs} {
		for _, v := range tr.volumes.known {
			if v.name == name && v.base != want {
				t.Errorf("volume %s lies at %d, want %d", name, v.base, want)
			}
		}
	}
}

// TestNoRoomAndNoDaemon: neither ends a trace; both are said.
func TestNoRoomAndNoDaemon(t *testing.T) {
	h := newHost(t)
	tr := h.trace()
	for i := range minRoom + 2 {
		h.attach(fmt.Sprintf("v%d", i), i)
	}
	doc := h.report(tr)
	if doc.Volumes != minRoom || len(doc.Notes) != 2 || !strings.Contains(doc.Notes[1], "2 more volumes") {
		t.Errorf("%d volumes, %q", doc.Volumes, doc.Notes)
	}
	h.away = true
	if err := tr.Poll(t.Context()); err != nil {
		t.Error(err)
	}
	doc = h.report(tr)
	if doc.Volumes != minRoom || !strings.Contains(doc.Notes[len(doc.Notes)-1], "gone") {
		t.Errorf("without a daemon: %d volumes, %q", doc.Volumes, doc.Notes)
	}
	h.away = false
	h.detach("v0")
	h.report(tr) // frees its room
	if doc = h.report(tr); len(doc.Notes) != 2 || !strings.Contains(doc.Notes[1], "1 more volume") {
		t.Errorf("with room for one more: %q", doc.Notes)
	}
	if v := tr.volumes.known; !slices.ContainsFunc(v, func(v *volume) bool { return v.name == "v64" }) {
		t.Error("no volume got the room that became free")
	}
}

// TestAskedSeldom: as long as the links stay as they are, the daemon is left alone.
func TestAskedSeldom(t *testing.T) {
	h := newHost(t)
	h.attach("a", 0)
	links := filepath.Join(h.sys, "links")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	tr := h.trace()
	old := tr.since.Add(-2 * settled)
	if err := os.Chtimes(links, old, old); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := tr.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if h.asked != 2 {
		t.Errorf("asked %d times, want 2: at the start and after the links changed", h.asked)
	}
	if err := os.WriteFile(filepath.Join(links, "b"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tr.Poll(t.Context()); err != nil || h.asked != 3 {
		t.Errorf("a new link: asked %d times, want 3, %v", h.asked, err)
	}
}

// TestFilePool: where a file lies is found out, and what cannot be is said.
func TestFilePool(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(t.TempDir(), "pool")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	dev := control.DeviceStatus{Role: control.RoleBoth, Path: path, Number: "8:3/1", Present: true}
	h.status.Devices = []control.DeviceStatus{dev}
	if b := sysfs(h.sys).locate(h.status); b.known || !strings.Contains(b.notes[0], "another file") {
		t.Errorf("another file: %+v", b)
	}
	h.status.Devices[0].Number = "0:99/1"
	if b := sysfs(h.sys).locate(h.status); b.known || !strings.Contains(b.notes[0], "no single disk") {
		t.Errorf("a file system without a disk: %+v", b)
	}
}

func TestCut(t *testing.T) {
	regions := of("x", []control.Region{
		{Role: "x", Class: "data", Start: 300, End: 400},
		{Role: "x", Class: "log", Start: 100, End: 300},
		{Role: "y", Class: "log", Start: 0, End: 1000},
	})
	got := cut(extents.Layout{
		{File: 0, Disk: 5000, Length: 150},
		{File: 150, Disk: 1000, Length: 50},
		{File: 200, Disk: 1050, Length: 150},
	}, regions)
	want := []bpf.Region{
		{Start: 1000, End: 1150, Stream: bpf.Log},
		{Start: 1150, End: 1200, Stream: bpf.Data},
		{Start: 5000, End: 5100, Stream: bpf.Other},
		{Start: 5100, End: 5150, Stream: bpf.Log},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestExplain(t *testing.T) {
	for _, cause := range []error{bpf.ErrPermission, bpf.ErrUnsupported} {
		e := control.ErrorOf(explain(fmt.Errorf("btf: %w", cause)))
		if e.ExitCode() != 6 || e.Next == "" || !errors.Is(e, cause) {
			t.Errorf("%v: %+v, exit code %d", cause, e, e.ExitCode())
		}
	}
}
