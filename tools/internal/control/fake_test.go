package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/placement"
)

// fake is a Backend that keeps volumes in memory.
type fake struct {
	mu      sync.Mutex // guards all below
	volumes map[string]Volume
	calls   []string
	block   chan struct{} // Status waits for it, if set
	listErr error         // List ends with it after listMax volumes
	listMax int
}

func newFake() *fake { return &fake{volumes: map[string]Volume{}} }

func (f *fake) note(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) Create(_ context.Context, r CreateRequest) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("create %s %d %d %v", r.Name, r.Size, r.QueueDepth, r.NoAttach)
	if _, there := f.volumes[r.Name]; there {
		return Volume{}, fmt.Errorf("volume %q: %w", r.Name, placement.ErrExists)
	}
	v := Volume{
		Name: r.Name, Size: r.Size, State: VolumeAttached, Link: "/dev/unblend/" + r.Name,
		Device: "/dev/ublkb0", Created: UTC(1_700_000_000),
	}
	f.volumes[r.Name] = v
	return v, nil
}

func (f *fake) find(name string) (Volume, error) {
	v, there := f.volumes[name]
	if !there {
		return v, fmt.Errorf("volume %q: %w", name, placement.ErrNoVolume)
	}
	return v, nil
}

func (f *fake) Remove(_ context.Context, r RemoveRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("rm %s %v", strings.Join(r.All(), ","), r.Force)
	for _, name := range r.All() {
		if _, err := f.find(name); err != nil {
			return err
		}
		if !r.Force && name == "busy" {
			return &Error{
				Code: CodeInUse, Message: `volume "busy" is open by qemu (pid 4121, vm busy)`,
				Next: "stop the VM or: unblend rm --force busy",
			}
		}
	}
	for _, name := range r.All() {
		delete(f.volumes, name)
	}
	return nil
}

func (f *fake) Snapshot(_ context.Context, r SnapshotRequest) (made []Volume, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("snapshot %s %s", strings.Join(r.Volumes, ","), r.Name)
	for _, name := range r.Volumes {
		v, err := f.find(name)
		if err != nil {
			return nil, err
		}
		v.Name, v.Snapshot = name+"@"+r.Name, true
		f.volumes[v.Name] = v
		made = append(made, v)
	}
	return made, nil
}

func (f *fake) Diff(_ context.Context, r DiffRequest) (DiffPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("diff %s %s %d %d %d", r.From, r.To, r.FromID, r.ToID, r.Offset)
	v, err := f.find(r.To)
	return DiffPage{ToID: v.ID, Size: v.Size, Next: v.Size}, err
}

func (f *fake) Clone(_ context.Context, r CloneRequest) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("clone %s %s %d %d %d %d %v", r.Source, r.Name, r.Count, r.First, r.Width, r.QueueDepth,
		r.Attach)
	v, err := f.find(r.Source)
	v.Name, v.Origin, v.Snapshot = r.CloneName(0), r.Source, false
	return v, err
}

func (f *fake) Rollback(_ context.Context, r RollbackRequest) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("rollback %s", r.Name)
	return f.find(VolumeOf(r.Name))
}

func (f *fake) Rename(_ context.Context, r RenameRequest) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("rename %s %s", r.Name, r.To)
	v, err := f.find(r.Name)
	v.Name = r.To
	return v, err
}

func (f *fake) Resize(_ context.Context, r ResizeRequest) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("resize %s %d", r.Name, r.Size)
	v, err := f.find(r.Name)
	v.Size, v.DeviceSize = r.Size, v.Size
	return v, err
}

func (f *fake) Grow(_ context.Context, r GrowRequest) (GrowResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("grow %s %d %v", r.Pool, r.Size, r.Sparse)
	return GrowResult{Grown: true, DataBefore: 1 << 30, DataSize: r.Size}, nil
}

func (f *fake) StartScrub(_ context.Context, r ScrubRequest) (ScrubStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("scrub %d", r.Rate)
	return ScrubStatus{State: ScrubRunning, Rate: r.Rate}, nil
}

func (f *fake) StopScrub(context.Context) (ScrubStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("scrub stop")
	return ScrubStatus{State: ScrubStopped}, nil
}

func (f *fake) Scrub(context.Context) (ScrubStatus, error) {
	return ScrubStatus{State: ScrubDone, BadBlocks: 1, BadCopies: 2, Repaired: 2}, nil
}

func (f *fake) Layout(_ context.Context, r LayoutRequest) (Layout, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("layout %s %v", r.Name, r.Picture)
	v, err := f.find(r.Name)
	return Layout{Name: v.Name, Size: v.Size, Lengths: []LayoutLength{}}, err
}

func (f *fake) Flow(context.Context) (Flow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("flow")
	return Flow{Volumes: []VolumeFlow{{Name: "web1"}}, Written: DeviceTraffic{Log: 7}}, nil
}

func (f *fake) Attach(_ context.Context, r AttachRequest) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("attach %s %d %v", r.Name, r.QueueDepth, r.ReadOnly)
	return f.find(r.Name)
}

func (f *fake) Detach(_ context.Context, r DetachRequest) (Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("detach %s %v", r.Name, r.Force)
	return f.find(r.Name)
}

func (f *fake) List(_ context.Context, r ListRequest, yield func(Volume) error) error {
	f.mu.Lock()
	var all []Volume
	for _, v := range f.volumes {
		if r.All || !v.Hidden && (r.Snapshots || !v.Snapshot) {
			all = append(all, v)
		}
	}
	err, most := f.listErr, f.listMax
	f.mu.Unlock()
	SortVolumes(all)
	for i, v := range all {
		if err != nil && i == most {
			return err
		}
		if err := yield(v); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) Status(ctx context.Context) (Status, error) {
	if f.block != nil {
		select {
		case <-f.block:
		case <-ctx.Done():
			return Status{}, ctx.Err()
		}
	}
	return Status{State: PoolOK, Time: UTC(1_700_000_000)}, nil
}

func (f *fake) Checkpoint(_ context.Context, r CheckpointRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("checkpoint %v", r.Drain)
	return nil
}

func (f *fake) Shutdown(_ context.Context, r ShutdownRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("shutdown %v", r.Force)
	return nil
}

// serve starts a server for b on a new socket; adjust may change it first.
func serve(t *testing.T, b Backend, adjust func(*Server)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b, "1.2.3", slog.New(slog.DiscardHandler))
	if adjust != nil {
		adjust(s)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return path
}

// exchange sends raw bytes and returns all that comes back until the connection ends.
func exchange(t *testing.T, path, request string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil && !strings.Contains(err.Error(), "pipe") {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil && len(b) == 0 {
		t.Fatalf("no answer to %.60q: %v", request, err)
	}
	return string(b)
}

// post returns the raw request of a verb.
func post(verb, body string) string {
	return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+
		"Content-Length: %d\r\n\r\n%s", verb, len(body), body)
}
