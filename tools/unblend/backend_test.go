package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"unblend/placement"
	"unblend/tools/internal/control"
)

// fakeBackend is a daemon with volumes that never change but for what the answers to requests say. The
// volume "busy" is open; creating "degraded" makes the pool degraded. Volumes whose names begin with
// "img" are files below dev, so that something can be written to them, and stay until they are
// removed.
type fakeBackend struct {
	dev      string
	degraded bool
	images   map[string]control.Volume
	scrub    control.ScrubStatus
	scrubs   int
}

var fakeTime = control.UTC(1_790_000_000)

// fakeVolumes are busy, and the family of web1: two snapshots, a clone of the second, and two of a
// third that was removed.
func fakeVolumes() []control.Volume {
	all := []control.Volume{
		{
			Name: "busy", ID: 2, State: control.VolumeAttached, Size: 1 << 40, Mapped: 3 << 30,
			Unique: 3 << 30, Freed: 3 << 30, InLog: 5 << 20, Device: "/dev/ublkb3", QueueDepth: 64,
			ReadOnly: true,
		},
		{
			Name: "web1@monday", ID: 11, Snapshot: true, Children: 1, Mapped: 2 << 30, Unique: 2 << 30,
			Freed: 64 << 20,
		},
		{
			Name: "web1@tuesday", ID: 12, Snapshot: true, Children: 3, Parent: 11, Origin: "web1@monday",
			Mapped: 3 << 30, Unique: 1 << 30, State: control.VolumeAttached, Device: "/dev/ublkb4",
		},
		{Name: "web1", ID: 1, Parent: 12, Origin: "web1@tuesday", Mapped: 3 << 30},
		{
			Name: "desk1", ID: 13, Parent: 12, Origin: "web1@tuesday", Mapped: 3 << 30, Unique: 1 << 20,
			Freed: 1 << 20,
		},
		{
			ID: 14, Hidden: true, Snapshot: true, State: control.VolumeRemoved, Children: 2, Parent: 12,
			Origin: "web1@tuesday", Mapped: 3 << 30, Unique: 8 << 20,
		},
		{Name: "desk2", ID: 15, Parent: 14, Mapped: 3 << 30},
		{Name: "desk3", ID: 16, Parent: 14, Mapped: 3 << 30},
	}
	for i := range all {
		v := &all[i]
		v.Created = fakeTime
		if v.State == "" {
			v.State = control.VolumeDetached
		}
		if v.Size == 0 {
			v.Size, v.QueueDepth, v.ReadOnly = 20<<30, 128, v.Snapshot
		}
		if !v.Hidden {
			v.Link = "/dev/unblend/" + v.Name
		}
	}
	control.SortVolumes(all)
	return all
}

func (f *fakeBackend) find(name string) (control.Volume, error) {
	if v, there := f.images[name]; there {
		return v, nil
	}
	all := fakeVolumes()
	i := slices.IndexFunc(all, func(v control.Volume) bool { return v.Name == name && !v.Hidden })
	if i < 0 {
		return control.Volume{}, fmt.Errorf("%s: %w", placement.Object(name), placement.ErrNoVolume)
	}
	return all[i], nil
}

// free refuses a name that something has.
func (f *fakeBackend) free(name string) error {
	if _, err := f.find(name); err == nil {
		return fmt.Errorf("%s: %w", placement.Object(name), placement.ErrExists)
	}
	return nil
}

func (f *fakeBackend) Create(_ context.Context, r control.CreateRequest) (control.Volume, error) {
	if err := f.free(r.Name); err != nil {
		return control.Volume{}, err
	}
	f.degraded = f.degraded || r.Name == "degraded"
	v := control.Volume{
		Name: r.Name, ID: 3, State: control.VolumeAttached, Size: r.Size, QueueDepth: 128,
		Link: "/dev/unblend/" + r.Name, Device: "/dev/ublkb0", Created: fakeTime,
	}
	if r.NoAttach {
		v.State, v.Device = control.VolumeDetached, ""
	}
	if strings.HasPrefix(r.Name, "img") {
		v.Link = filepath.Join(f.dev, r.Name)
		f.images[r.Name] = v
		err := os.WriteFile(v.Link, nil, 0o644)
		return v, errors.Join(err, os.Truncate(v.Link, r.Size))
	}
	return v, nil
}

func (f *fakeBackend) Remove(_ context.Context, r control.RemoveRequest) error {
	names := r.All()
	for _, name := range names {
		if _, err := f.find(name); err != nil {
			return err
		}
		switch {
		case name == "busy" && !r.Force:
			return &control.Error{
				Code: control.CodeInUse, Message: `volume "busy" is open by qemu (pid 4121, vm web1)`,
				Next: "stop the VM or: unblend rm --force busy",
			}
		case name == "web1" && !slices.Equal(names, []string{"web1@monday", "web1@tuesday", "web1"}):
			return &control.Error{
				Code: control.CodeInUse, Message: `volume "web1" has snapshots: 2`,
				Next: "to remove them as well: unblend rm 'web1@*' web1 --yes",
			}
		}
	}
	for _, name := range names {
		if v, there := f.images[name]; there {
			delete(f.images, name)
			if err := os.Remove(v.Link); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeBackend) Attach(_ context.Context, r control.AttachRequest) (control.Volume, error) {
	v, err := f.find(r.Name)
	v.State, v.Device, v.ReadOnly = control.VolumeAttached, "/dev/ublkb7", r.ReadOnly || v.Snapshot
	return v, err
}

func (f *fakeBackend) Detach(_ context.Context, r control.DetachRequest) (control.Volume, error) {
	v, err := f.find(r.Name)
	v.State, v.Device = control.VolumeDetached, ""
	return v, err
}

func (f *fakeBackend) Snapshot(_ context.Context, r control.SnapshotRequest) (
	made []control.Volume, err error,
) {
	for _, name := range r.Volumes {
		v, err := f.find(name)
		if err == nil {
			err = f.free(name + "@" + r.Name)
		}
		if err != nil {
			return nil, err
		}
		v.Name, v.Snapshot, v.State, v.Device = name+"@"+r.Name, true, control.VolumeDetached, ""
		v.ReadOnly, v.Children, v.Link = true, 1, "/dev/unblend/"+v.Name
		made = append(made, v)
	}
	return made, nil
}

// Diff answers with pages that end within extents. What is compared
// with web1@tuesday is removed after the first.
func (f *fakeBackend) Diff(_ context.Context, r control.DiffRequest) (page control.DiffPage, err error) {
	to, err := f.find(r.To)
	if r.From != "" && err == nil {
		_, err = f.find(r.From)
	}
	switch {
	case err != nil:
		return page, err
	case r.ToID != 0 && (r.ToID != to.ID || r.From == "web1@tuesday"):
		return page, fmt.Errorf("%s: %w", placement.Object(r.To), placement.ErrNoVolume)
	case r.From == "busy":
		return page, fmt.Errorf("%s and %s: %w", placement.Object(r.From), placement.Object(r.To),
			placement.ErrUnrelated)
	}
	page = control.DiffPage{ToID: to.ID, FromSize: 10 << 30, Size: to.Size, Next: r.Offset + 5<<30}
	all := []control.DiffExtent{
		{Offset: 0, Length: 4096, Type: control.DiffData},
		{Offset: 4 << 30, Length: 1 << 30, Type: control.DiffZero},
		{Offset: 5 << 30, Length: 8192, Type: control.DiffZero},
		{Offset: 5<<30 + 8192, Length: 65536, Type: control.DiffData},
		{Offset: 19 << 30, Length: 1 << 30, Type: control.DiffData},
	}
	for _, e := range all {
		if r.Offset <= e.Offset && e.Offset < page.Next {
			page.Extents = append(page.Extents, e)
		}
	}
	return page, nil
}

func (f *fakeBackend) Clone(_ context.Context, r control.CloneRequest) (control.Volume, error) {
	s, err := f.find(r.Source)
	if err == nil {
		err = f.free(r.CloneName(0))
	}
	if err != nil {
		return control.Volume{}, err
	}
	v := control.Volume{
		Name: r.CloneName(0), ID: 20, State: control.VolumeDetached, Parent: s.ID, Origin: s.Name,
		Size: s.Size, Mapped: s.Mapped, Link: "/dev/unblend/" + r.CloneName(0), Created: fakeTime,
		QueueDepth: max(r.QueueDepth, s.QueueDepth),
	}
	if r.Attach {
		v.State, v.Device = control.VolumeAttached, "/dev/ublkb8"
	}
	return v, nil
}

func (f *fakeBackend) Rollback(_ context.Context, r control.RollbackRequest) (control.Volume, error) {
	if control.VolumeOf(r.Name) == "busy" {
		return control.Volume{}, &control.Error{
			Code: control.CodeInUse, Message: `volume "busy" is open by qemu (pid 4121, vm web1)`,
			Next: "stop that first",
		}
	}
	if _, err := f.find(r.Name); err != nil {
		return control.Volume{}, err
	}
	return f.find(control.VolumeOf(r.Name))
}

func (f *fakeBackend) Rename(_ context.Context, r control.RenameRequest) (control.Volume, error) {
	v, err := f.find(r.Name)
	if err == nil {
		err = f.free(r.To)
	}
	v.Name, v.Link = r.To, "/dev/unblend/"+r.To
	return v, err
}

func (f *fakeBackend) Resize(_ context.Context, r control.ResizeRequest) (control.Volume, error) {
	v, err := f.find(r.Name)
	if err == nil && r.Size < v.Size {
		err = fmt.Errorf("volume %q: a volume can only grow: %w", r.Name, placement.ErrSize)
	}
	if v.Device != "" {
		v.DeviceSize = v.Size
	}
	v.Size = r.Size
	return v, err
}

func (f *fakeBackend) Grow(_ context.Context, r control.GrowRequest) (control.GrowResult, error) {
	g := control.GrowResult{
		Grown: true, DataBefore: 15 << 40, DataSize: 15 << 40, MetadataBefore: 160 << 30,
		MetadataSize: 160 << 30,
		Devices: []control.DeviceGrowth{
			{Role: control.RoleLog, Path: "/dev/nvme0n1p3", Before: 32 << 30, Size: 32 << 30},
			{Role: control.RoleData, Path: "/dev/sdb", Before: 16 << 40, Size: 16 << 40},
		},
	}
	switch {
	case r.Size > 0:
		return control.GrowResult{}, &control.Error{
			Code: control.CodeBadRequest, Message: "/dev/sdb is a block device and has its own size",
			Next: "enlarge it where it comes from, then: unblend grow",
		}
	case r.Pool == "/dev/sdb":
		g.Grown = false
		return g, nil
	}
	g.DataSize, g.MetadataSize, g.Devices[1].Size = 31<<40, 324<<30, 32<<40
	return g, nil
}

// StartScrub begins a scrub that the next look finds at its end; the third one finds damage. Without
// a limit of its own the rate is the default, at which a scrub takes one look more.
func (f *fakeBackend) StartScrub(_ context.Context, r control.ScrubRequest) (control.ScrubStatus, error) {
	if f.scrub.State == control.ScrubRunning {
		return f.scrub, &control.Error{
			Code: control.CodeFailed, Message: "a scrub is under way already",
			Next: "look: unblend scrub --status, or end it: unblend scrub --stop",
		}
	}
	f.scrubs++
	f.scrub = control.ScrubStatus{
		State: control.ScrubRunning, Began: fakeTime, Rate: r.Rate, Total: 3 << 30,
		Found: []control.ScrubFound{},
	}
	return f.scrub, nil
}

func (f *fakeBackend) StopScrub(context.Context) (control.ScrubStatus, error) {
	s := &f.scrub
	if s.State != control.ScrubRunning {
		return *s, &control.Error{
			Code: control.CodeFailed, Message: placement.ErrNoScrub.Error(), Next: "begin one: unblend scrub",
		}
	}
	s.State, s.Reason, s.Ended = control.ScrubStopped, "stopped", fakeTime.Add(20e9)
	return *s, nil
}

func (f *fakeBackend) Scrub(context.Context) (control.ScrubStatus, error) {
	s := &f.scrub
	switch {
	case s.State == "":
		return control.ScrubStatus{State: control.ScrubNone, Found: []control.ScrubFound{}}, nil
	case s.State != control.ScrubRunning:
		return *s, nil
	case s.Rate == 200<<20, s.Done == 0:
		s.Done = 1 << 30
		return *s, nil
	}
	s.State, s.Done, s.Ended = control.ScrubDone, s.Total, fakeTime.Add(48e9)
	s.Blocks, s.Pages = 780_000, 6_432
	if f.scrubs == 3 {
		s.BadBlocks, s.BadCopies, s.BadPages, s.Repaired = 1, 5, 1, 3
		s.Found = []control.ScrubFound{
			{Volume: "web1@monday", Offset: 69632, Role: control.RoleData, At: 1 << 30, Message: "checksum"},
			{Role: control.RoleLog, At: 40960, Message: "catalogue page 7: no copy has the right checksum"},
		}
	}
	return *s, nil
}

func (f *fakeBackend) Flow(context.Context) (control.Flow, error) {
	return control.Flow{Volumes: []control.VolumeFlow{}}, nil
}

func (f *fakeBackend) Layout(_ context.Context, r control.LayoutRequest) (control.Layout, error) {
	v, err := f.find(r.Name)
	l := control.Layout{
		Name: v.Name, Size: v.Size, Mapped: v.Mapped, Home: v.Mapped / 4 * 3, Shared: v.Mapped / 2,
		Runs: 3072, MeanRun: v.Mapped / 3072, First: 1 << 30, Last: 9 << 30,
		Lengths: []control.LayoutLength{
			{Length: 4096, Runs: 2048, Bytes: 8 << 20},
			{Length: 2 << 20, Runs: 1024, Bytes: v.Mapped - 8<<20},
		},
	}
	if r.Picture {
		l.Picture = &control.LayoutPicture{
			Width: 4, Height: 3,
			Cells: []control.LayoutCell{{X: 0, Y: 0, Bytes: 4096}, {X: 3, Y: 2, Bytes: 1 << 20}},
		}
	}
	return l, err
}

func (f *fakeBackend) List(_ context.Context, r control.ListRequest,
	yield func(control.Volume) error,
) error {
	for _, v := range fakeVolumes() {
		if v.Hidden && !r.All || v.Snapshot && !r.Snapshots && !r.All {
			continue
		}
		if err := yield(v); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeBackend) Status(context.Context) (control.Status, error) {
	s := control.Status{
		Time: fakeTime, State: control.PoolOK,
		Daemon: control.DaemonStatus{
			Version: "1.2.3", PID: 7, Started: fakeTime.Add(-90e9), RSS: 61 << 20, Ublk: true,
		},
		Pool: control.PoolStatus{
			UUID: "UUID", Durability: "write", Generation: 12, Checkpoint: fakeTime.Add(-12e9),
		},
		Devices: []control.DeviceStatus{
			{
				Role: control.RoleLog, Path: "/dev/nvme0n1p3", Present: true, Kind: "block device",
				Size: 32 << 30, VolatileCache: true, FUA: true,
			},
			{
				Role: control.RoleData, Path: "/dev/sdb", Present: true, Kind: "block device",
				Size: 16 << 40, Rotational: true, VolatileCache: true,
			},
		},
		Log: control.LogStatus{
			Size: 4 << 30, Used: 1 << 30, Segments: 256, SegmentsFree: 192, Pressure: 250,
			SegmentSize: 16 << 20,
		},
		Space: control.SpaceStatus{
			Size: 15 << 40, Free: 15<<40 - 3<<30, Promised: 5 << 20, MetadataSize: 160 << 30,
			MetadataFree: 159 << 30,
			Growth: []control.VolumeGrowth{
				{Name: "web1", Bytes: 2 << 30, PerHour: 1 << 30},
				{Name: "db", Bytes: 300 << 20, PerHour: 150 << 20},
			},
		},
		Cache: control.CacheStatus{
			Size: 24 << 20, Dirty: 1 << 20, Shared: 6 << 20, PageHits: 970, PageMisses: 30,
			BlockHits: 88, BlockMisses: 12,
		},
		Volumes: control.VolumeCounts{
			Total: 5, Attached: 2, Snapshots: 2, Size: 1<<40 + 80<<30, Mapped: 15 << 30,
		},
		Work: control.WorkStatus{Now: "idle"}, Scrub: f.scrub,
	}
	if f.degraded {
		s.State = control.PoolReadOnly
		s.Pool.Reason = "a flush of /dev/sdb failed"
		s.Damage.LostBlocks, s.Damage.Last = 3, `volume "busy", block 17`
		s.Devices[1].WriteErrors, s.Log.Stalled = 4, 2
		s.Warnings = []control.Warning{{
			Code: "read-only", Message: "writes are refused", Next: "see: journalctl -u unblend",
		}}
	}
	return s, nil
}

func (f *fakeBackend) Checkpoint(context.Context, control.CheckpointRequest) error { return nil }

func (f *fakeBackend) Shutdown(context.Context, control.ShutdownRequest) error { return nil }

// serveFake starts a daemon with a fakeBackend and returns its socket, and where the files are that
// stand for its devices.
func serveFake(t *testing.T) (socket, dev string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "unblend")
	if err != nil {
		t.Fatal(err)
	}
	path, dev := filepath.Join(dir, "sock"), filepath.Join(dir, "dev")
	if err := os.Mkdir(dev, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBackend{dev: dev, images: map[string]control.Volume{}}
	s := control.NewServer(b, "1.2.3", slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return path, dev
}
