package faultdisk

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// Fault makes requests fail. Requests are counted in order of arrival, from the moment that the
// fault is set, and only those that match Disk, Op and the range.
type Fault struct {
	Disk  string        `json:"disk,omitempty"` // empty: every disk
	Op    Op            `json:"op"`             // of the requests
	Off   int64         `json:"off,omitempty"`  // bytes; with Len, requests that touch the range
	Len   int64         `json:"len,omitempty"`  // bytes; 0: any range
	Nth   int           `json:"nth,omitempty"`  // the first to fail; 0 and 1 both mean the next
	Count int           `json:"count,omitempty"`
	Errno syscall.Errno `json:"errno,omitempty"` // EIO (also when 0) or ENOSPC

	Torn bool   `json:"torn,omitempty"` // Write, Trim, Zeroes: some of the sectors are stored
	Lose bool   `json:"lose,omitempty"` // Flush: no later flush covers what this one should have
	Seed uint64 `json:"seed,omitempty"` // chooses the sectors of Torn
}

// Forever as Fault.Count fails every matching request until Heal. A Count of 0 means 1.
const Forever = -1

// armed is a fault that waits for its requests.
type armed struct {
	Fault
	rng *rand.Rand
}

func arm(f Fault) (*armed, error) {
	f.Nth, f.Count = max(f.Nth, 1), max(f.Count, Forever)
	if f.Count == 0 {
		f.Count = 1
	}
	if f.Errno == 0 {
		f.Errno = syscall.EIO
	}
	switch {
	case f.Op >= opCount:
		return nil, fmt.Errorf("fault: unknown operation %d", uint8(f.Op))
	case f.Errno != syscall.EIO && f.Errno != syscall.ENOSPC:
		return nil, fmt.Errorf("fault: errno %d: want EIO or ENOSPC", int(f.Errno))
	case f.Off < 0 || f.Len < 0:
		return nil, fmt.Errorf("fault: negative range %d+%d", f.Off, f.Len)
	}
	return &armed{Fault: f, rng: rand.New(rand.NewPCG(f.Seed, 0))}, nil
}

// hits counts a request and reports whether it is to fail.
func (a *armed) hits(r *request) bool {
	if a.Op != r.op || a.Disk != "" && a.Disk != r.disk.cfg.Name {
		return false
	}
	if a.Len > 0 && (r.off >= a.Off+a.Len || r.off+r.length <= a.Off) {
		return false
	}
	if a.Nth > 1 {
		a.Nth--
		return false
	}
	if a.Count > 0 {
		a.Count--
	}
	return true
}

// Fail sets a fault. Several may be set; a request fails by the first that it hits.
func (s *Server) Fail(f Fault) error {
	a, err := arm(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.named(f.Disk); err != nil {
		return err
	}
	s.faults = append(s.faults, a)
	return nil
}

// Delay holds every later request of one kind, to one disk or with an empty name to all, for the
// given time. Delayed requests are in flight together, and a cut may tear their writes.
func (s *Server) Delay(disk string, op Op, d time.Duration) error {
	if op >= opCount || d < 0 {
		return fmt.Errorf("delay: %s by %s: want a known operation and no negative time", op, d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	disks, err := s.named(disk)
	if err != nil {
		return err
	}
	for _, t := range disks {
		t.delay[op] = d
	}
	return nil
}

// Heal removes all faults and delays. Requests already delayed stay so, and what a failed flush
// lost stays lost.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	for _, d := range s.disks {
		d.delay = [opCount]time.Duration{}
	}
}

// match returns the fault that a request hits, or nil, and forgets faults that are used up.
func (s *Server) match(r *request) *armed {
	for i, a := range s.faults {
		if !a.hits(r) {
			continue
		}
		if a.Count == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return a
	}
	return nil
}
