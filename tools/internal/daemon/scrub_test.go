package daemon

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
)

// damagedPool fills a pool in a file and changes a byte of the first block of data. It returns where
// that is, in bytes.
func damagedPool(t *testing.T, cfg control.ServeConfig) int64 {
	t.Helper()
	e, _, _ := waitingPool(t, cfg)
	l := &placement.VolumeLayout{}
	for !l.Done {
		e.p.Control(&placement.Control{Op: placement.LayoutVolume, Name: "a", Layout: l})
		for now := int64(1e13); e.p.NextControl() == nil; now += 1e8 {
			e.turn(now)
		}
	}
	if err := e.b.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(cfg.Paths[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(l.First) * log.BlockSize
	b := []byte{0}
	if _, err = f.ReadAt(b, at+100); err == nil {
		b[0] ^= 1
		_, err = f.WriteAt(b, at+100)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return at
}

// TestScrubVerb has a daemon find a damaged block, refuse a second scrub meanwhile, and stop one.
func TestScrubVerb(t *testing.T) {
	cfg, ctx := newPool(t), context.Background()
	at := damagedPool(t, cfg)
	c, _ := start(t, cfg)
	if doc, err := c.Scrub(ctx); err != nil || doc.Scrub.State != control.ScrubNone {
		t.Errorf("before the first: %+v, %v", doc, err)
	}
	_, err := c.StopScrub(ctx)
	if e := control.ErrorOf(err); e == nil || e.ExitCode() != 1 || e.Next == "" {
		t.Errorf("nothing to stop: %v", err)
	}
	slow, err := c.StartScrub(ctx, control.ScrubRequest{Rate: 1 << 20})
	if err != nil || slow.Scrub.State != control.ScrubRunning || slow.Scrub.Rate != 1<<20 {
		t.Errorf("a slow one: %+v, %v", slow, err)
	}
	_, err = c.StartScrub(ctx, control.ScrubRequest{})
	if e := control.ErrorOf(err); e == nil || e.ExitCode() != 1 || !strings.Contains(e.Error(), "--stop") {
		t.Errorf("a second one: %v", err)
	}
	if doc, err := c.StopScrub(ctx); err != nil || doc.Scrub.State != control.ScrubStopped ||
		doc.Scrub.Reason == "" || doc.Scrub.Ended.IsZero() {
		t.Errorf("stopped: %+v, %v", doc, err)
	}
	if _, err := c.StartScrub(ctx, control.ScrubRequest{Rate: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	var doc control.ScrubResult
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if doc, err = c.Scrub(ctx); err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", doc, err)
		}
		if doc.Scrub.State != control.ScrubRunning {
			break
		}
	}
	s := doc.Scrub
	if s.State != control.ScrubDone || s.BadBlocks != 1 || s.Damage() != 1 || s.Blocks < 1000 ||
		s.Done != s.Total || len(s.Found) != 1 {
		t.Fatalf("%+v", s)
	}
	if f := s.Found[0]; f.Volume != "a" || f.At != at || f.Role != control.RoleBoth || f.Message == "" {
		t.Errorf("found %+v, want volume a at %d", f, at)
	}
	st, err := c.Status(ctx)
	if err != nil || st.State != control.PoolDegraded || !warned(st, "damage", `volume "a"`) ||
		st.Scrub.BadBlocks != 1 || st.Damage.ReadErrors < 1 {
		t.Errorf("status: %+v, %v", st, err)
	}
}
