package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/ublk"
	"unblend/uring"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// newPool makes a pool in a file, and returns how to serve it.
func newPool(t *testing.T) control.ServeConfig {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "pool")
	d, err := device.OpenForInit(path, device.InitOptions{Create: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	err = placement.Format(placement.Disks{d, d}, placement.FormatConfig{
		LogSize: 8 << 20, SegmentBlocks: 256, Created: 1_700_000_000,
		Rand: func(b []byte) { _, _ = rand.Read(b) },
	})
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	return control.ServeConfig{
		Paths: []string{path}, Socket: filepath.Join(dir, "socket"), Memory: control.MinMemory,
		LinkDir: filepath.Join(dir, "links"), Wait: 50 * time.Millisecond, Version: "test",
	}
}

// start runs a daemon until stop is called, which returns what Run did.
func start(t *testing.T, cfg control.ServeConfig) (*control.Client, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	c := control.NewClient(cfg.Socket, 30*time.Second)
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		_, err := c.Version(ctx)
		if err == nil {
			break
		}
		select {
		case err := <-ended:
			cancel()
			if errors.Is(err, uring.ErrDisabled) {
				t.Skip(err)
			}
			t.Fatalf("the daemon ended: %v", err)
		default:
		}
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("no daemon: %v", err)
		}
	}
	stopped := false
	stop := func() error {
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return c, stop
}

// noDriver skips a test that wants to see what happens without the driver.
func noDriver(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(ublk.ControlPath); err == nil {
		t.Skip("this machine has ublk")
	}
}

// warned reports whether a status has a warning with a code that says what is wanted.
func warned(st control.Status, code, says string) bool {
	return slices.ContainsFunc(st.Warnings, func(w control.Warning) bool {
		return w.Code == code && strings.Contains(w.Message, says)
	})
}

func TestServeWithoutDriver(t *testing.T) {
	noDriver(t)
	cfg, ctx := newPool(t), context.Background()
	c, stop := start(t, cfg)
	_, err := c.Create(ctx, control.CreateRequest{Name: "a", Size: 1 << 30})
	if e := control.ErrorOf(err); e == nil || e.Code != control.CodeUnsupported {
		t.Errorf("create with a device: %v", err)
	}
	r, err := c.Create(ctx, control.CreateRequest{Name: "a", Size: 1 << 30, NoAttach: true})
	if err != nil || r.Volume.State != control.VolumeDetached || r.Volume.QueueDepth != defaultDepth {
		t.Errorf("%+v, %v", r.Volume, err)
	}
	_, err = c.Attach(ctx, control.AttachRequest{Name: "a"})
	if e := control.ErrorOf(err); e == nil || e.Code != control.CodeUnsupported {
		t.Errorf("attach: %v", err)
	}
	if _, err := c.Detach(ctx, control.DetachRequest{Name: "a"}); err != nil {
		t.Errorf("detach of a detached volume: %v", err)
	}
	st, err := c.Status(ctx)
	if err != nil || st.State != control.PoolOK || st.Daemon.Ublk || st.Volumes.Total != 1 ||
		!warned(st, "no-ublk", "ublk_drv") || st.Pool.Created.Unix() != 1_700_000_000 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := stop(); err != nil {
		t.Errorf("end: %v", err)
	}
	if _, err := os.Stat(cfg.LinkDir); err == nil {
		t.Error("the directory of links is left behind")
	}

	c, _ = start(t, cfg)
	list, err := c.List(ctx, control.ListRequest{})
	if err != nil || len(list.Volumes) != 1 || list.Volumes[0].Name != "a" {
		t.Errorf("after a restart: %+v, %v", list, err)
	}
	if _, err := c.Checkpoint(ctx, control.CheckpointRequest{Drain: true}); err != nil {
		t.Error(err)
	}
	if _, err := c.Remove(ctx, control.RemoveRequest{Name: "a"}); err != nil {
		t.Error(err)
	}
	_, err = c.Remove(ctx, control.RemoveRequest{Name: "a"})
	if e := control.ErrorOf(err); e == nil || e.Code != control.CodeNotFound {
		t.Errorf("a second rm: %v", err)
	}
}

// TestOneDaemon: what another daemon has is refused as in use, and quickly.
func TestOneDaemon(t *testing.T) {
	cfg := newPool(t)
	start(t, cfg)
	dir := t.TempDir()
	for name, change := range map[string]func(*control.ServeConfig){
		"socket": func(c *control.ServeConfig) { c.LinkDir = filepath.Join(dir, "l") },
		"links":  func(c *control.ServeConfig) { c.Socket = filepath.Join(dir, "s") },
		"pool": func(c *control.ServeConfig) {
			c.Socket, c.LinkDir = filepath.Join(dir, "s"), filepath.Join(dir, "l")
		},
	} {
		other := cfg
		change(&other)
		err := Run(context.Background(), other)
		if e := control.ErrorOf(err); e == nil || e.ExitCode() != 7 {
			t.Errorf("%s: %v, want exit code 7", name, err)
		}
	}
}

// TestShutdownVerb ends the daemon by a request.
func TestShutdownVerb(t *testing.T) {
	cfg := newPool(t)
	ended := make(chan error, 1)
	go func() { ended <- Run(context.Background(), cfg) }()
	c := control.NewClient(cfg.Socket, 30*time.Second)
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		if _, err := c.Shutdown(context.Background(), control.ShutdownRequest{}); err == nil {
			break
		}
		if len(ended) > 0 {
			break
		}
	}
	select {
	case err := <-ended:
		if errors.Is(err, uring.ErrDisabled) {
			t.Skip(err)
		}
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it does not end")
	}
}

// TestBadPaths: what is no pool is refused with a reason, and left as it was.
func TestBadPaths(t *testing.T) {
	good := newPool(t)
	zeros := filepath.Join(t.TempDir(), "zeros")
	if err := os.WriteFile(zeros, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		exit  int
		paths []string
		more  func(*control.ServeConfig)
	}{
		{"nothing there", 1, []string{"/nowhere"}, nil},
		{"no pool", 1, []string{zeros}, nil},
		{"twice the same", 2, []string{good.Paths[0], good.Paths[0]}, nil},
		{"pool and another", 1, []string{good.Paths[0], zeros}, nil},
		{"no path", 2, nil, nil},
		{"one device without log", 2, good.Paths, func(c *control.ServeConfig) { c.WithoutLog = true }},
		{"too little memory", 2, good.Paths, func(c *control.ServeConfig) { c.Memory = 1 << 20 }},
	} {
		cfg := good
		cfg.Paths = c.paths
		if c.more != nil {
			c.more(&cfg)
		}
		err := Run(context.Background(), cfg)
		if e := control.ErrorOf(err); e == nil || e.ExitCode() != c.exit {
			t.Errorf("%s: %v, want exit code %d", c.name, err, c.exit)
		}
	}
	start(t, good)
}
