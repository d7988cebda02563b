package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
)

// engine drives a pool on real devices by synchronous operations, without the driver.
type engine struct {
	t *testing.T
	p *placement.Pool
	b *device.Pool
	v *placement.Volume
}

// turn runs the pool once and performs what it asks for.
func (e *engine) turn(now int64) {
	e.t.Helper()
	e.p.Tick(now)
	for more := true; more; {
		more = e.p.Run()
		for op := e.p.NextOp(); op != nil; op = e.p.NextOp() {
			more = true
			res := int32(op.Len())
			if err := e.perform(op); err != nil {
				e.t.Fatal(err)
			}
			e.p.Complete(op.Token, res)
		}
	}
}

func (e *engine) perform(op *log.Op) error {
	d := e.b.Devices[op.Dev]
	off := op.Off
	for _, mem := range op.Bufs {
		do := d.ReadAt
		if op.Kind == log.Write {
			do = d.WriteAt
		}
		if err := do(mem, off); err != nil {
			return err
		}
		off += int64(len(mem))
	}
	if op.Kind == log.Flush || op.FUA {
		return d.Flush()
	}
	return nil
}

// block returns the content of the guest's write number i.
func block(i int) []byte {
	b := make([]byte, placement.MaxIO)
	for j := range b {
		b[j] = byte(i%251 + 1)
	}
	return b
}

func (e *engine) submit(i int) {
	b := block(i)
	e.p.Submit(&placement.Request{
		Kind: placement.Write, Vol: e.v, Off: int64(i * len(b)), Len: int64(len(b)), Buf: b,
	})
}

// waitingPool makes a pool in a file and fills it until writes wait. It returns how many it was given
// and how many of those ended.
func waitingPool(t *testing.T, cfg control.ServeConfig) (e *engine, given, done int) {
	t.Helper()
	b, err := device.OpenPool(cfg.Paths, device.PoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{backing: b, cfg: cfg}
	complete(&d.cfg)
	p, err := placement.Open(b.Disks(), d.options())
	if err != nil {
		t.Fatal(err)
	}
	e = &engine{t: t, p: p, b: b}
	c := &placement.Control{
		Op: placement.CreateVolume, Name: "a", Size: 1 << 30, QueueDepth: 8, Device: -1,
	}
	p.Control(c)
	now := int64(1)
	for p.NextControl() == nil {
		now += 1e6
		e.turn(now)
	}
	for e.v = c.Vol; given < done+8; {
		for given < done+8 {
			e.submit(given)
			given++
		}
		before := done
		for range 200 { // 20 s: what can be moved is moved, and what can be freed is free
			now += 1e8
			e.turn(now)
			for p.NextDone() != nil {
				done++
			}
		}
		if done == before {
			break
		}
	}
	if st := p.Status(); st.Stalled != 1 || done == 0 {
		t.Fatalf("%d of %d writes ended: %+v", done, given, st)
	}
	return e, given, done
}

// TestGrowLetsWritersGoOn fills a pool in a file until writes wait, enlarges the file and the pool, and
// the writes end; a daemon finds the larger pool.
func TestGrowLetsWritersGoOn(t *testing.T) {
	cfg := newPool(t)
	e, given, done := waitingPool(t, cfg)
	const size = 96 << 20
	dev := e.b.Devices[log.Capacity]
	if err := dev.Extend(size, false); err != nil {
		t.Fatal(err)
	}
	dev.Resized(size)
	e.p.Control(&placement.Control{Op: placement.GrowPool, Sizes: [log.Devs]int64{size, size}})
	now := int64(1e12)
	for i := 0; done < given; i++ {
		if i == 1000 {
			t.Fatalf("%d of %d writes ended: %+v", done, given, e.p.Status())
		}
		now += 1e8
		e.turn(now)
		for q := e.p.NextDone(); q != nil; q = e.p.NextDone() {
			if done++; q.Err != 0 {
				t.Errorf("write: %v", q.Err)
			}
		}
	}
	c := e.p.NextControl()
	if c == nil || c.Err != nil {
		t.Errorf("grow: %+v", c)
	}
	if err := e.b.Close(); err != nil { // as if the process had been killed
		t.Fatal(err)
	}
	client, _ := start(t, cfg)
	st, err := client.Status(context.Background())
	if err != nil || st.Devices[0].Size != size || st.Space.Size < 80<<20 {
		t.Errorf("after a restart: %+v, %v", st, err)
	}
}

// TestGrowVerb asks a daemon for more space, in all ways, and for what cannot be.
func TestGrowVerb(t *testing.T) {
	cfg, ctx := newPool(t), context.Background()
	path := cfg.Paths[0]
	e, _, _ := waitingPool(t, cfg)
	if err := e.b.Close(); err != nil {
		t.Fatal(err)
	}
	c, stop := start(t, cfg)
	st, err := c.Status(ctx)
	if err != nil || !warned(st, codeSpace, "of the space") {
		t.Errorf("full: %+v, %v", st, err)
	}
	same, err := c.Grow(ctx, control.GrowRequest{Pool: path})
	if err != nil || same.Grown || same.DataSize != st.Space.Size || same.Devices[0].Size != 64<<20 {
		t.Errorf("nothing to add: %+v, %v", same, err)
	}
	g, err := c.Grow(ctx, control.GrowRequest{Size: 128 << 20})
	if err != nil || !g.Grown || g.DataBefore != same.DataSize || g.DataSize < g.DataBefore+60<<20 ||
		g.MetadataSize <= g.MetadataBefore || len(g.Devices) != 1 || g.Devices[0].Role != control.RoleBoth ||
		g.Devices[0].Before != 64<<20 || g.Devices[0].Size != 128<<20 {
		t.Errorf("with a size: %+v, %v", g, err)
	}
	if err := os.Truncate(path, 160<<20); err != nil { // by hand
		t.Fatal(err)
	}
	g, err = c.Grow(ctx, control.GrowRequest{})
	if err != nil || !g.Grown || g.Devices[0].Before != 128<<20 || g.Devices[0].Size != 160<<20 {
		t.Errorf("a file that was enlarged: %+v, %v", g, err)
	}
	g, err = c.Grow(ctx, control.GrowRequest{Size: 1 << 30, Sparse: true})
	if err != nil || !g.Grown {
		t.Errorf("sparse: %+v, %v", g, err)
	}
	if st, err = c.Status(ctx); err != nil || st.State != control.PoolOK || warned(st, codeSpace, "") ||
		st.Devices[0].Size != 1<<30 || st.Space.Size != g.DataSize {
		t.Errorf("then: %+v, %v", st, err)
	}
	growRefusals(t, c, path)
	if err := stop(); err != nil {
		t.Error(err)
	}
	c, _ = start(t, cfg)
	if again, err := c.Status(ctx); err != nil || again.Space.Size != g.DataSize {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
}

func growRefusals(t *testing.T, c *control.Client, path string) {
	t.Helper()
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		r    control.GrowRequest
		exit int
		says string
	}{
		{control.GrowRequest{Size: 1 << 29}, 2, "can only grow"},
		{control.GrowRequest{Size: 1<<30 + 4096}, 2, "add at least 1 MiB"},
		{control.GrowRequest{Size: 9 << 30}, 1, "make a new pool"},
		{control.GrowRequest{Pool: other}, 2, "does not belong to the pool"},
		{control.GrowRequest{Pool: other + "s"}, 1, "no such"},
		{control.GrowRequest{Size: 4095}, 2, "multiple of 4 KiB"},
	} {
		_, err := c.Grow(context.Background(), x.r)
		if e := control.ErrorOf(err); e == nil || e.ExitCode() != x.exit ||
			!strings.Contains(e.Error(), x.says) {
			t.Errorf("%+v: %v, want exit code %d and %q", x.r, err, x.exit, x.says)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 1<<30 {
		t.Errorf("a refusal changed the file: %v, %v", st, err)
	}
	if err := os.Truncate(path, 1<<30-4096); err != nil {
		t.Fatal(err)
	}
	_, err := c.Grow(context.Background(), control.GrowRequest{})
	if e := control.ErrorOf(err); e == nil || e.ExitCode() != 5 ||
		!strings.Contains(e.Error(), "smaller than its label says") {
		t.Errorf("a file that shrank: %v", err)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
}
