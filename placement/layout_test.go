package placement

import (
	"testing"

	"unblend/log"
)

// A small device gets a log of small segments, and any device that is not too small gets a pool.
func TestSegmentsFitTheLog(t *testing.T) {
	for _, c := range []struct {
		device   int64
		blocks   uint32 // of a segment
		segments uint32
	}{
		{64 << 20, 256, 8},
		{100 << 20, 256, 12},
		{512 << 20, 1024, 16},
		{1 << 30, 2048, 16},
		{2 << 30, 4096, 16},
		{1 << 40, 4096, 256},
	} {
		l, err := plan([log.Devs]int64{c.device, c.device}, true, FormatConfig{})
		if err != nil || l.SegmentBlocks != c.blocks || l.Segments != c.segments {
			t.Errorf("device of %d bytes: %+v, %v; want %d segments of %d blocks", c.device, l, err,
				c.segments, c.blocks)
		}
	}
	if _, err := plan([log.Devs]int64{32 << 20, 32 << 20}, true, FormatConfig{}); err == nil {
		t.Error("a device of 32 MiB was not refused")
	}
}
