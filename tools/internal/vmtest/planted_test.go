package vmtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"unblend/tools/internal/load"
)

// TestPlantedReplay shows that what TestKill looks at would notice a daemon that answers the requests of
// its dead predecessor, which the kernel hands out again, without doing them.
func TestPlantedReplay(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "")
		bin, err := build("unblend-planted", "unblend/tools/unblend", "-tags=plant")
		if err != nil {
			t.Fatalf("build the program with planted bugs: %v", err)
		}
		cfg.Files = append(cfg.Files, bin)
		run(t, cfg)
		return
	}
	g := newGuest(t)
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	disk := g.openDisk(g.create("web1", "64M"), 1)
	w := load.NewWriter(disk, 16, load.Mixed(disk.Size(), 64<<10), 1)
	ctx, stop := context.WithCancel(g.ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx, 0) }()
	g.progress([]*load.Writer{w})
	g.prog.Path = "/vm/unblend-planted"
	t.Setenv("UNBLEND_PLANT", "replayed-write-not-done")
	d.Kill()
	d = g.serve(p)
	time.Sleep(time.Second) // what was handed out again is answered by now
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_, err := disk.Verify(g.ctx)
	if wrong := (*load.MismatchError)(nil); !errors.As(err, &wrong) {
		t.Errorf("writes that were answered and not done went unnoticed: %v", err)
	}
	t.Logf("noticed: %.80v", err)
	disk.Close()
	g.stop(d)
}
