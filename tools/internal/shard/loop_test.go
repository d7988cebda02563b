package shard

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"unblend/log"
	"unblend/placement"
	backing "unblend/tools/internal/device"
	"unblend/uring"
)

const poolSize = 64 << 20

func random(b []byte) { _, _ = rand.Read(b) }

// newPool makes a pool in a file and returns its path.
func newPool(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pool")
	d, err := backing.OpenForInit(path, backing.InitOptions{Create: poolSize})
	if err != nil {
		t.Fatal(err)
	}
	err = placement.Format(placement.Disks{d, d}, placement.FormatConfig{
		Rand: random, LogSize: 8 << 20, SegmentBlocks: 256,
	})
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// start opens the pool at path and runs a shard on it. The returned function stops both.
func start(t *testing.T, path string) (*Shards, func()) {
	t.Helper()
	d, err := backing.OpenForServe(path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := placement.Open(placement.Disks{d, d}, placement.Options{
		IndexEntries: 1 << 14, Frames: 1024, Rand: random, Lanes: 3,
		Wall: func() int64 { return time.Now().Unix() },
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(Config{
		Pool: p, Files: [log.Devs]int{d.FD(), d.FD()}, Memory: 4 << 20, LogEnd: poolSize, Shards: 3,
		MaxBlocks: [log.Devs]int{1, 1}, // so that much goes out in pieces
	})
	if errors.Is(err, uring.ErrDisabled) {
		d.Close()
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, func() {
		t.Helper()
		if err := errors.Join(s.Stop(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestControlOnAFile creates volumes through the ring and finds them after a restart, with and
// without a checkpoint.
func TestControlOnAFile(t *testing.T) {
	path, ctx := newPool(t), context.Background()
	s, stop := start(t, path)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		wg.Go(func() {
			c := placement.Control{Op: placement.CreateVolume, Name: name, Size: 1 << 30, Device: -1}
			if err := s.Control(ctx, &c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c := placement.Control{Op: placement.CreateVolume, Name: "a", Size: 1 << 30, Device: -1}
	if err := s.Control(ctx, &c); !errors.Is(err, placement.ErrExists) {
		t.Errorf("a second volume a: %v", err)
	}
	stop()

	s, stop = start(t, path)
	if names, err := names(s); err != nil || !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("volumes after a restart from the log: %q, %v", names, err)
	}
	if v, err := s.Volume("b"); err != nil || v == nil {
		t.Errorf("volume b: %v, %v", v, err)
	}
	if err := s.Control(ctx, &placement.Control{Op: placement.Shutdown}); err != nil {
		t.Error(err)
	}
	stop()

	s, stop = start(t, path)
	defer stop()
	if names, err := names(s); err != nil || !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("volumes after a restart from a checkpoint: %q, %v", names, err)
	}
	if st, err := s.Status(); err != nil || st.ReadOnly != nil {
		t.Errorf("the pool is read-only: %v, %v", st.ReadOnly, err)
	}
	c = placement.Control{Op: placement.RemoveVolume, Name: "c"}
	if err := s.Control(ctx, &c); err != nil {
		t.Error(err)
	}
	st, err := s.Stats()
	if err != nil || st.LogWrites == 0 || st.LogBytes < st.LogWrites*log.BlockSize {
		t.Errorf("after a mark: %+v, %v", st, err)
	}
}

// TestStopped: nothing that is sent after the end hangs.
func TestStopped(t *testing.T) {
	s, stop := start(t, newPool(t))
	stop()
	select {
	case <-s.Done():
	default:
		t.Error("not done after Stop")
	}
	if err := s.Do(func() { t.Error("ran after the end") }); !errors.Is(err, ErrStopped) {
		t.Errorf("Do: %v", err)
	}
	c := placement.Control{Op: placement.Checkpoint}
	if err := s.Control(context.Background(), &c); !errors.Is(err, ErrStopped) {
		t.Errorf("Control: %v", err)
	}
	if err := s.Stop(); !errors.Is(err, ErrStopped) {
		t.Errorf("a second Stop: %v", err)
	}
}

// TestControlGivesUp: a caller whose time is up returns.
func TestControlGivesUp(t *testing.T) {
	s, stop := start(t, newPool(t))
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Control(ctx, &placement.Control{Op: placement.Drain})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDoFromMany runs functions of many goroutines, each once and none beside another.
func TestDoFromMany(t *testing.T) {
	s, stop := start(t, newPool(t))
	defer stop()
	sum, running := 0, false
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				err := s.Do(func() {
					if running {
						t.Error("two at once")
					}
					running = true
					sum++
					running = false
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if sum != 1600 {
		t.Errorf("%d functions ran, want 1600", sum)
	}
}

// names lists what the shard has, in the order in which it says so.
func names(s *Shards) (list []string, err error) {
	all := func(placement.VolumeInfo) bool { return true }
	err = s.EachByName(false, all, func(v placement.VolumeInfo) error {
		list = append(list, v.Name)
		return nil
	})
	return list, err
}
