package perf

import (
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
	"unblend/placement"
)

// The load: what the kernel makes of requests of 1 MiB, four of them under way.
const (
	pieceSize  = placement.MaxIO
	pieceDepth = 4 << 20 / pieceSize
)

// longWriters are the devices that long writes go to, and the one that bounds them.
var longWriters = []struct {
	name      string
	fast, cap simdisk.Timing // cap nil: one device
	raw       simdisk.Timing
}{
	{"one flash device", simdisk.P3700(), nil, simdisk.P3700()},
	{"two flash devices", simdisk.P3700(), simdisk.P3700(), simdisk.P3700()},
	{"one hard disk", simdisk.UltrastarHC580(), nil, simdisk.UltrastarHC580()},
	{"two hard disks", simdisk.UltrastarHC580(), simdisk.UltrastarHC580(), simdisk.UltrastarHC580()},
	{"log on flash, data on a hard disk", simdisk.P3700(), simdisk.UltrastarHC580(), simdisk.UltrastarHC580()},
}

// TestSustainedSequentialWrites measures, in virtual time, what a guest gets that writes 1 MiB after
// the other for longer than the log lasts: of the raw device, of a pool on one such device, which it
// writes twice and reads once, and of a pool with devices of their own for log and data.
func TestSustainedSequentialWrites(t *testing.T) {
	for _, c := range longWriters {
		raw, pool := rawSequential(c.raw), sequentialPool(t, c.fast, c.cap)
		t.Logf("%s: the raw device takes %.0f MB/s, the pool %.0f: %.2f", c.name, raw, pool, pool/raw)
		if pool < raw/10 {
			t.Errorf("%s: the pool takes less than a tenth", c.name)
		}
	}
}

// rawSequential returns MB/s of durable writes.
func rawSequential(timing simdisk.Timing) float64 {
	return pieceSize / 1e6 * rawRate(timing, 16<<30, pieceDepth, pieceSize, func(i int) int64 {
		return int64(i) * pieceSize
	})
}

// sequentialPool returns MB/s of the second half of a volume four times as large as the log.
func sequentialPool(t *testing.T, fast, capacity simdisk.Timing) float64 {
	t.Helper()
	cfg := SimConfig{
		Fast: fast, Capacity: capacity, FastSize: 16 << 30, LogSize: 256 << 20,
		Options: placement.Options{NoReplacement: true},
	}
	if capacity != nil {
		cfg.CapacitySize = 16 << 30
	}
	s, err := NewSim(cfg)
	must(t, err)
	vols, err := s.Create(1, 4*cfg.LogSize)
	must(t, err)
	reqs := make([]placement.Request, pieceDepth)
	mem := simdisk.Buffer(pieceDepth * pieceSize)
	for i := 0; i < len(mem); i += log.BlockSize {
		pattern(mem[i:i+log.BlockSize], uint32(i))
	}
	next, half, size := int64(0), int64(0), vols[0].Size()
	must(t, s.Keep(reqs, func(i int) bool {
		if next == size/2 {
			half = s.World.Now()
		}
		if next == size {
			return false
		}
		r := &reqs[i]
		r.Vol, r.Kind, r.Off, r.Len = vols[0], placement.Write, next, pieceSize
		r.Buf = mem[i*pieceSize:][:pieceSize:pieceSize]
		next += pieceSize
		return true
	}))
	return float64(size/2) / 1e6 / (float64(s.World.Now()-half) / 1e9)
}
