package harddisk

import (
	"fmt"
	"math/rand/v2"

	"unblend/log"
	"unblend/log/simdisk"
)

// Load is what a host asks of a disk: Depth requests of Bytes each under way, one after the other or at
// random places all over it.
type Load struct {
	Kind   log.Kind // log.Read or log.Write
	Random bool
	Bytes  int64
	Depth  int
}

// Published is a load of which the drive's maker says, or it follows from what he says, how many
// requests it answers per second: see simdisk.UltrastarHC580. He gives random figures for reads; writes
// that end on the platter take as long.
type Published struct {
	Load
	Name string
	Rate float64
}

// published are the figures of the disk at its full size.
var published = []Published{
	{Load{log.Read, true, 4 << 10, 1}, "4 KiB random read, QD 1", 81},
	{Load{log.Read, true, 4 << 10, 32}, "4 KiB random read, QD 32", 212},
	{Load{log.Write, true, 4 << 10, 1}, "4 KiB random write, QD 1", 81},
	{Load{log.Write, true, 4 << 10, 32}, "4 KiB random write, QD 32", 212},
	{Load{log.Read, false, 1 << 20, 4}, "1 MiB sequential read, outer edge, QD 4", 298e6 / (1 << 20)},
	{Load{log.Write, false, 1 << 20, 4}, "1 MiB sequential write, outer edge, QD 4", 298e6 / (1 << 20)},
}

// Full returns the disk at its full size, and what is published of it.
func Full() (Config, []Published) {
	return Config{Size: simdisk.UltrastarHC580().Capacity}, published
}

// Simulated returns how many requests of a load the disk answers per second of virtual time, over n of
// them.
func (cfg Config) Simulated(l Load, n int) (float64, error) {
	t, err := newTarget(cfg)
	if err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	mem := simdisk.Buffer(int(l.Bytes) * l.Depth)
	begun, ended := int64(0), 0
	var start func(slot log.Token, _ int32)
	next := func(slot log.Token) {
		at := begun % (cfg.Size / l.Bytes)
		if l.Random {
			at = rng.Int64N(cfg.Size / l.Bytes)
		}
		begun++
		t.disk.Submit(&log.Op{
			Token: slot, Kind: l.Kind, Off: at * l.Bytes,
			Bufs: [][]byte{mem[int64(slot)*l.Bytes:][:l.Bytes:l.Bytes]},
		}, start)
	}
	start = func(slot log.Token, _ int32) {
		ended++
		next(slot)
	}
	for slot := range l.Depth {
		next(log.Token(slot))
	}
	for ended < n && t.world.Step() {
	}
	return float64(ended) / (float64(t.world.Now()) / 1e9), nil
}

// FioArgs returns the arguments with which fio makes the load. What it writes repeats itself, which takes
// little memory.
func (l Load) FioArgs() []string {
	rw := map[log.Kind]string{log.Read: "read", log.Write: "write"}[l.Kind]
	if l.Random {
		rw = "rand" + rw
	}
	return []string{
		"--rw=" + rw, fmt.Sprintf("--bs=%d", l.Bytes), fmt.Sprintf("--iodepth=%d", l.Depth), "--norandommap",
		"--random_generator=tausworthe64", "--buffer_pattern=0x756e626c",
	}
}
