package simdisk

import "unblend/log"

// Driver carries device operations from an engine to disks and their ends back, as the shard loop
// does in production.
type Driver struct {
	w        *World
	next     func() *log.Op
	complete func(log.Token, int32)
	disks    [log.Devs]*Disk
}

// Drive connects an engine to its devices; for a pool on one device both are the same disk. next
// and complete are the engine's (Ops.Next and Ops.Complete, or what wraps them).
func (w *World) Drive(next func() *log.Op, complete func(log.Token, int32),
	fast, capacity *Disk,
) *Driver {
	return &Driver{w: w, next: next, complete: complete, disks: [log.Devs]*Disk{fast, capacity}}
}

// Pump submits all operations that the engine has ready and returns how many. Without power it
// takes none. The operations end from within World.Step.
func (v *Driver) Pump() int {
	n := 0
	for !v.w.off {
		op := v.next()
		if op == nil {
			break
		}
		v.disks[op.Dev].Submit(op, v.complete)
		n++
	}
	return n
}
