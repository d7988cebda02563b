package perf

import (
	"testing"
	"time"

	"unblend/log/simdisk"
	"unblend/placement"
)

// TestOperationsPerWrite counts what a guest's write costs the log device: four volumes, 4 KiB
// random writes, 32 under way on each.
func TestOperationsPerWrite(t *testing.T) {
	s, err := NewSim(SimConfig{
		Fast: simdisk.P3700(), Capacity: simdisk.P3700(),
		FastSize: 1 << 30, CapacitySize: 4 << 30, LogSize: 512 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	vols, err := s.Create(4, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	before, start := s.Fast.Stats(), s.World.Now()
	const writes = 20_000
	if err := s.Load(vols, placement.Write, 32, writes); err != nil {
		t.Fatal(err)
	}
	after := s.Fast.Stats()
	n := after.Writes - before.Writes
	seq := after.SequentialWrites - before.SequentialWrites
	seconds := float64(s.World.Now()-start) / 1e9
	t.Logf("%d guest writes, %d log writes: %.1f per log write; %.1f %% sequential; %.2f bytes "+
		"per byte; %.0f IOPS of virtual time", writes, n, float64(writes)/float64(n),
		100*float64(seq)/float64(n), float64(after.WrittenBytes-before.WrittenBytes)/(writes*4096),
		writes/seconds)
	if writes/n < 8 {
		t.Errorf("fewer than 8 guest writes in a log write")
	}
}

// TestRestartTime fills a log with 4 KiB random writes, kills the pool and measures how long the
// restart takes, until the first read is answered, in virtual time. Without -long the log is a
// sixteenth of the default.
func TestRestartTime(t *testing.T) {
	size := int64(4 << 30)
	if !*long {
		size /= 16
	}
	for _, m := range []struct {
		name   string
		timing simdisk.Timing
	}{{"flash", simdisk.P3700()}, {"hard disk", simdisk.UltrastarHC580()}} {
		t.Run(m.name, func(t *testing.T) { restart(t, m.timing, size) })
	}
}

func restart(t *testing.T, timing simdisk.Timing, logSize int64) {
	s, err := NewSim(SimConfig{
		Fast: timing, Capacity: timing, FastSize: 2*logSize + 1<<30, CapacitySize: 64 << 30,
		LogSize: logSize, Options: placement.Options{Low: 990, High: 995},
	})
	if err != nil {
		t.Fatal(err)
	}
	vols, err := s.Create(4, 8<<30)
	if err != nil {
		t.Fatal(err)
	}
	n := int(logSize / 4096 * 9 / 10)
	if err := s.Load(vols, placement.Write, 32, n); err != nil {
		t.Fatal(err)
	}
	fill := s.Pool.Status().Pressure
	s.World.Crash(simdisk.KeepAll)
	s.World.Restart()
	start, wall := s.World.Now(), time.Now()
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	recovered, took := s.World.Now()-start, time.Since(wall)
	if err := s.Load([]*placement.Volume{s.Pool.Volume("v0")}, placement.Read, 1, 1); err != nil {
		t.Fatal(err)
	}
	t.Logf("log of %d MiB, %.1f %% full, %d blocks: recovery %.2f s, first read after %.2f s of "+
		"virtual time; %.2f s of this machine's", logSize>>20, float64(fill)/10,
		s.Pool.Status().IndexUsed, float64(recovered)/1e9, float64(s.World.Now()-start)/1e9,
		took.Seconds())
}
