package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// SectorSize is the unit in which the kernel counts, in bytes, whatever the device's own.
const SectorSize = 512

// Window is how many writes back Counters.Recent looks.
const Window = 16

// The streams that every analysis has. Those of volumes are numbered from FirstGuest.
const (
	Merged         = iota // all guests' writes, on one disk that holds the volumes end to end
	Log                   // writes to the log
	Data                  // destage: writes to the volumes' places
	Metadata              // writes of maps, catalogue and roots
	Other                 // writes to a backing device outside of these
	FastDevice            // all writes to the fast device
	CapacityDevice        // all writes to the capacity device, where that is another one
	FirstGuest
)

// Analyzer is the programs in the kernel and what they count. One goroutine at a time may change
// what it watches.
type Analyzer struct {
	objs    blendObjects
	at      attached
	begun   bool // Attach was called
	queues  bool // a device without a queue is, or was, watched
	guests  int
	backing map[Device]bool
	half    uint32 // of the table of regions: the one that is in use
}

// Load puts the programs into the kernel, with room for that many guests. They see nothing before
// Attach. Errors wrap ErrUnsupported or ErrPermission where one of these is the cause.
func Load(guests int) (*Analyzer, error) {
	spec, err := loadBlend()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{blendMapStreams, blendMapHistograms} {
		spec.Maps[name].MaxEntries = uint32(FirstGuest + guests)
	}
	a := &Analyzer{guests: guests, backing: map[Device]bool{}}
	if err := spec.LoadAndAssign(&a.objs, nil); err != nil {
		return nil, explain(err)
	}
	return a, nil
}

// explain finds out which of the features that tracing needs is missing, if one is: the refusal of
// a whole program does not say so.
func explain(err error) error {
	for _, f := range Probe() {
		if errors.Is(f.Err, ErrUnsupported) || errors.Is(f.Err, ErrPermission) {
			return fmt.Errorf("%s (%s): %w", f.Name, f.Need, f.Err)
		}
	}
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		return fmt.Errorf("the kernel refuses the programs: %w", err)
	}
	return classify(err)
}

// Attach begins to count.
func (a *Analyzer) Attach() error {
	a.begun = true
	err := a.at.attach(pair{a.objs.RqIssue, a.objs.RqIssueSpare})
	if err == nil && a.queues {
		err = a.attachQueue()
	}
	return err
}

func (a *Analyzer) attachQueue() error {
	return a.at.attach(pair{a.objs.BioQueue, a.objs.BioQueueSpare})
}

// needs sees to it that what happens at a hook is seen. Most machines have no device without a queue,
// and are spared the cost of the programs for these.
func (a *Analyzer) needs(h Hook) error {
	if h != AtQueue || a.queues {
		return nil
	}
	a.queues = true
	if !a.begun {
		return nil
	}
	return a.attachQueue()
}

// Lost returns how many events were not counted: those that passed both a program and its spare by.
// They may have been of any device.
func (a *Analyzer) Lost() (uint64, error) { return a.at.misses(a.objs.Spared) }

// Saved returns how many events passed a program by and were counted by its spare.
func (a *Analyzer) Saved() (uint64, error) {
	_, saved, err := a.at.count(a.objs.Spared)
	return saved, err
}

// Close takes the programs out of the kernel.
func (a *Analyzer) Close() error { return errors.Join(a.at.detach(), a.objs.Close()) }
