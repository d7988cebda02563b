package bpf

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// pair is a program and its spare, which takes the events that pass the program by because it runs on
// their processor already.
type pair struct{ first, spare *ebpf.Program }

// attached is pairs that are at work, and what they have lost.
type attached struct {
	pairs []pair
	links []link.Link
	lost  uint64
}

// attach attaches pairs to their tracepoints. The kernel runs programs in the order in which they came.
func (a *attached) attach(pairs ...pair) error {
	for _, p := range pairs {
		a.pairs = append(a.pairs, p)
		for _, prog := range []*ebpf.Program{p.first, p.spare} {
			l, err := link.AttachTracing(link.TracingOptions{Program: prog})
			if err != nil {
				return explain(err)
			}
			a.links = append(a.links, l)
		}
	}
	return nil
}

// detach ends all, also after an error of attach: spares first, which would take everything.
func (a *attached) detach() error {
	var errs []error
	for i := len(a.links) - 1; i >= 0; i-- {
		errs = append(errs, a.links[i].Close())
	}
	a.links = nil
	return errors.Join(errs...)
}

// spared is what both objects count alike.
type spared struct{ Left, Saved uint64 }

// count returns how many events passed the first programs by, and how many of them the spares took.
func (a *attached) count(counters *ebpf.Map) (passed, saved uint64, err error) {
	for _, p := range a.pairs {
		s, err := p.first.Stats()
		if err != nil {
			return 0, 0, classify(err)
		}
		passed += s.RecursionMisses
	}
	// Read later, so that what is saved meanwhile does not look lost.
	var perCPU []spared
	if err := counters.Lookup(uint32(0), &perCPU); err != nil {
		return 0, 0, err
	}
	for _, c := range perCPU {
		passed += c.Left
		saved += c.Saved
	}
	return passed, saved, nil
}

// misses returns how many events neither a program nor its spare took. What was lost once stays lost.
func (a *attached) misses(counters *ebpf.Map) (uint64, error) {
	passed, saved, err := a.count(counters)
	if passed > saved {
		a.lost = max(a.lost, passed-saved)
	}
	return a.lost, err
}
