package ublk

import (
	"testing"
	"time"
)

// delayed is a null target that answers each request some time after it came, in order.
type delayed struct {
	*Null
	delay time.Duration
	held  []*Request
	due   []time.Time
}

func (d *delayed) Begin(r *Request) {
	d.held, d.due = append(d.held, r), append(d.due, time.Now().Add(d.delay))
}

// Tick implements Timed.
func (d *delayed) Tick() time.Duration {
	for len(d.held) > 0 {
		if left := time.Until(d.due[0]); left > 0 {
			return left
		}
		d.Null.Begin(d.held[0])
		d.held, d.due = d.held[1:], d.due[1:]
	}
	return -1
}

func TestTimedTargetIsCalledWhenItWants(t *testing.T) {
	c := control(t)
	d := &delayed{Null: newNull(t, 64<<20), delay: 30 * time.Millisecond}
	s := serve(t, c, ServeConfig{Device: DeviceConfig{Depth: 16}, PoolSize: 1 << 20}, d)
	disk, b := openDisk(t, s.Path()), aligned(t, 4096)
	for i := range 5 {
		begin := time.Now()
		disk.read(b, int64(i)*4096)
		if took := time.Since(begin); took < d.delay {
			t.Errorf("read %d took %v, want at least %v", i, took, d.delay)
		}
	}
	disk.close()
}
