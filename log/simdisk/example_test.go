package simdisk_test

import (
	"fmt"

	"unblend/log"
	"unblend/log/simdisk"
)

// journal is about the smallest engine: it writes one block after the other and counts what is
// acknowledged as durable.
type journal struct {
	ops   *log.Ops
	at    int64
	acked int
}

func (j *journal) OpDone(_ *log.Op, err error) {
	if err == nil {
		j.acked++
	}
}

func (j *journal) fill() {
	for j.ops.Free() > 0 {
		op := j.ops.NewOp(j, log.Fast, log.Write, j.at)
		block := simdisk.Buffer(log.BlockSize)
		block[0] = 'x'
		op.FUA = true
		op.Bufs = append(op.Bufs, block)
		j.at += log.BlockSize
		j.ops.Submit(op)
	}
}

// A simulator is a loop over the engine's operations and the world's events. Here it cuts the
// power in the middle and counts the acknowledged blocks that the disk has lost.
func Example() {
	w := simdisk.NewWorld(1)
	d := w.NewDisk(simdisk.Config{
		Name: "disk", Size: 1 << 30, Volatile: true, Timing: simdisk.CacheFlash(),
	})
	j := &journal{ops: log.NewOps(1)}
	drv := w.Drive(j.ops.Next, j.ops.Complete, d, d)
	w.CrashAfter(1000, nil)
	for !w.Off() {
		j.fill()
		drv.Pump()
		w.Step()
	}
	w.Restart()
	lost, p := 0, simdisk.Buffer(log.BlockSize)
	for i := range j.acked {
		if err := d.Sync().ReadAt(p, int64(i)*log.BlockSize); err != nil || p[0] != 'x' {
			lost++
		}
	}
	fmt.Println(j.acked, "acknowledged,", lost, "lost")
	// Output: 999 acknowledged, 0 lost
}
