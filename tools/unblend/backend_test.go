package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"unblend/placement"
	"unblend/tools/internal/control"
)

// fakeBackend is a daemon with two volumes that never change but for what create answers. The
// volume "busy" is open; creating "degraded" makes the pool degraded.
type fakeBackend struct{ degraded bool }

var fakeTime = control.UTC(1_790_000_000)

func fakeVolumes() []control.Volume {
	return []control.Volume{
		{
			Name: "busy", ID: 2, State: control.VolumeAttached, Size: 1 << 40, Mapped: 3 << 30,
			InLog: 5 << 20, Link: "/dev/unblend/busy", Device: "/dev/ublkb3", QueueDepth: 64,
			Created: fakeTime, ReadOnly: true,
		},
		{
			Name: "web1", ID: 1, State: control.VolumeDetached, Size: 20 << 30,
			Link: "/dev/unblend/web1", QueueDepth: 128, Created: fakeTime,
		},
	}
}

func fakeVolume(name string) (control.Volume, error) {
	all := fakeVolumes()
	i := slices.IndexFunc(all, func(v control.Volume) bool { return v.Name == name })
	if i < 0 {
		return control.Volume{}, fmt.Errorf("volume %q: %w", name, placement.ErrNoVolume)
	}
	return all[i], nil
}

func (f *fakeBackend) Create(_ context.Context, r control.CreateRequest) (control.Volume, error) {
	if _, err := fakeVolume(r.Name); err == nil {
		return control.Volume{}, fmt.Errorf("volume %q: %w", r.Name, placement.ErrExists)
	}
	f.degraded = f.degraded || r.Name == "degraded"
	v := control.Volume{
		Name: r.Name, ID: 3, State: control.VolumeAttached, Size: r.Size, QueueDepth: 128,
		Link: "/dev/unblend/" + r.Name, Device: "/dev/ublkb0", Created: fakeTime,
	}
	if r.NoAttach {
		v.State, v.Device = control.VolumeDetached, ""
	}
	return v, nil
}

func (f *fakeBackend) Remove(_ context.Context, r control.RemoveRequest) error {
	if r.Name == "busy" && !r.Force {
		return &control.Error{
			Code: control.CodeInUse, Message: `volume "busy" is open by qemu (pid 4121, vm web1)`,
			Next: "stop the VM or: unblend rm --force busy",
		}
	}
	_, err := fakeVolume(r.Name)
	return err
}

func (f *fakeBackend) Attach(_ context.Context, r control.AttachRequest) (control.Volume, error) {
	v, err := fakeVolume(r.Name)
	v.State, v.Device, v.ReadOnly = control.VolumeAttached, "/dev/ublkb7", r.ReadOnly
	return v, err
}

func (f *fakeBackend) Detach(_ context.Context, r control.DetachRequest) (control.Volume, error) {
	v, err := fakeVolume(r.Name)
	v.State, v.Device = control.VolumeDetached, ""
	return v, err
}

func (f *fakeBackend) List(_ context.Context, yield func(control.Volume) error) error {
	for _, v := range fakeVolumes() {
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
		},
		Volumes: control.VolumeCounts{Total: 2, Attached: 1, Size: 1<<40 + 20<<30, Mapped: 3 << 30},
		Work:    control.WorkStatus{Now: "idle"},
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

// serveFake starts a daemon with a fakeBackend and returns its socket.
func serveFake(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "unblend")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sock")
	l, err := control.Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	s := control.NewServer(&fakeBackend{}, "1.2.3", slog.New(slog.DiscardHandler))
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
	return path
}
