package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
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
	links   []link.Link
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
	var err error
	a.links, err = attach(a.programs())
	return err
}

// programs returns those that are attached.
func (a *Analyzer) programs() []*ebpf.Program {
	return []*ebpf.Program{a.objs.RqIssue, a.objs.BioQueue}
}

// attach attaches programs to their tracepoints. The links have to be closed after an error, too.
func attach(programs []*ebpf.Program) (links []link.Link, err error) {
	for _, p := range programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return links, explain(err)
		}
		links = append(links, l)
	}
	return links, nil
}

// Lost returns how many events were not counted: one that interrupts the analysis of another on
// the same CPU is not analyzed.
func (a *Analyzer) Lost() (uint64, error) { return misses(a.programs()) }

// misses returns how often programs did not run because one ran on that CPU already.
func misses(programs []*ebpf.Program) (lost uint64, err error) {
	for _, p := range programs {
		s, err := p.Stats()
		if err != nil {
			return 0, classify(err)
		}
		lost += s.RecursionMisses
	}
	return lost, nil
}

// Close takes the programs out of the kernel.
func (a *Analyzer) Close() error { return errors.Join(detach(a.links), a.objs.Close()) }

func detach(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
