package harddisk

import (
	"strings"
	"testing"

	"unblend/log"
)

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		size int64
		ok   bool
	}{{1 << 30, true}, {24e12, true}, {0, false}, {-4096, false}, {1<<30 + 512, false}, {24e12 + 4096, false}} {
		d, err := newTarget(Config{Size: c.size})
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "hard disk of") {
			t.Errorf("%d bytes: %v", c.size, err)
		}
		if err != nil {
			continue
		}
		if p := d.Params(); !p.Rotational || p.VolatileCache || p.FUA || p.LogicalBlock != log.BlockSize ||
			p.Size != c.size {
			t.Errorf("%+v", p)
		}
	}
	d, err := newTarget(Config{Size: 1 << 30, Volatile: true})
	if p := d.Params(); err != nil || !p.VolatileCache || !p.FUA {
		t.Errorf("with its cache on: %+v, %v", p, err)
	}
}

// TestTickWaitsForTheModel: nothing is waited for without a request; with one, the model's next event.
func TestTickWaitsForTheModel(t *testing.T) {
	d, err := newTarget(Config{Size: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if wait := d.Tick(); wait >= 0 {
		t.Errorf("an idle disk wants to be called again in %v", wait)
	}
	ended := false
	d.disk.Submit(&log.Op{Kind: log.Flush}, func(log.Token, int32) { ended = true })
	if wait := d.Tick(); ended || wait < 0 || wait > 1e9 {
		t.Errorf("ended %t, wait %v", ended, wait)
	}
	for d.Tick() >= 0 {
	}
	if !ended {
		t.Error("the flush has not ended")
	}
}
