package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Op is what a request does, in the kernel's numbers.
type Op uint32

// The operations that count.
const (
	OpRead        Op = 0
	OpWrite       Op = 1
	OpDiscard     Op = 3 // Requests alone
	OpWriteZeroes Op = 9 // likewise
)

// Event is a request as the programs see it.
type Event struct {
	Device  Device
	Hook    Hook
	Op      Op
	Sector  uint64 // from the start of the whole disk
	Sectors uint32
}

// Replay hands an event to the analysis as if the kernel had come by with it: what streams give
// whose outcome is known can be tested so.
func (a *Analyzer) Replay(e Event) error {
	status, err := a.objs.Replay.Run(&ebpf.RunOptions{Context: eventContext(e)})
	if err == nil && status != 0 {
		err = fmt.Errorf("replay: status %d", status)
	}
	return err
}

// eventContext returns an event as the programs that replay take it.
func eventContext(e Event) blendEvent {
	return blendEvent{
		Sector: e.Sector, Sectors: e.Sectors, Dev: uint32(e.Device), Op: uint32(e.Op),
		At: uint32(e.Hook),
	}
}
