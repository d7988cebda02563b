package bpf

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// StepKind says what happens to a request, or to what it is made of.
type StepKind uint32

// The steps, as in requests.bpf.c.
const (
	BioQueued StepKind = iota
	BioMerged
	BioDone
	RequestIssued
	RequestDone
)

// Step is one step of a request's way, as the programs see it.
type Step struct {
	Kind    StepKind
	Time    time.Duration
	ID      uint64        // of the bio or request
	First   uint64        // RequestIssued: the bio it begins with
	Made    time.Duration // RequestIssued: when the request was made; 0: unknown
	Device  Device
	Op      Op
	Sector  uint64
	Sectors uint32
	Failed  bool
}

// Replay lets a request take a step as if the kernel had come by with it.
func (r *Requests) Replay(s Step) error {
	status, err := r.objs.ReplayStep.Run(&ebpf.RunOptions{Context: requestsStep{
		Time: uint64(s.Time), Id: s.ID, First: s.First, Made: uint64(s.Made), Sector: s.Sector,
		Sectors: s.Sectors, Dev: uint32(s.Device), Op: uint32(s.Op), Kind: uint32(s.Kind),
		Failed: uint32(boolInt(s.Failed)),
	}})
	if err == nil && status != 0 {
		err = fmt.Errorf("replay: status %d", status)
	}
	return err
}
