package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"unblend/tools/internal/vm"
)

// Session runs a suite: on a device of this host, or in virtual machines.
type Session struct {
	Settings Settings
	Cells    []Cell
	Program  string // path of unblend
	Self     string // path of a program that knows GuestArg and NullArg
	State    *State
	Log      io.Writer // for the person who waits

	attempt func(ctx context.Context, cells []Cell, each func(Outcome) error) error // for tests
}

// tries is how often a cell is tried that fails: emulated machines die now and then.
const tries = 2

// Run measures the cells that the state does not have yet and returns what is known of all. A cell
// that cannot be measured is part of that; an error is returned when the suite was interrupted or
// cannot be run at all.
func (s *Session) Run(ctx context.Context) (*Suite, error) {
	failed := map[Cell]int{}
	begin := time.Now()
	had := len(s.Cells) - len(s.pending(failed))
	if had > 0 {
		s.sayf("%d of %d cells are there from before", had, len(s.Cells))
	}
	for barren := 0; ; {
		todo := s.pending(failed)
		if len(todo) == 0 || ctx.Err() != nil {
			return newSuite(s.Settings, s.Cells, s.State.Outcomes(s.Cells)), ctx.Err()
		}
		got := 0
		err := s.try(ctx, todo, func(o Outcome) error {
			got++
			if o.Error != "" {
				failed[o.Cell]++
			}
			return s.took(o, had, begin)
		})
		if err == nil || ctx.Err() != nil {
			continue
		}
		var missing *vm.MissingError
		if errors.As(err, &missing) {
			return nil, err
		}
		s.sayf("%v", err)
		if got > 0 {
			barren = 0
			continue
		}
		if barren++; barren == tries && len(s.State.Outcomes(s.Cells)) == 0 {
			return nil, err // it would be the same with every cell
		}
		if failed[todo[0]]++; failed[todo[0]] == tries {
			err = s.State.Add(Outcome{Cell: todo[0], Settings: s.Settings, Error: err.Error()})
			if err != nil {
				return nil, err
			}
		}
	}
}

// sayf writes a line for the person who waits.
func (s *Session) sayf(format string, args ...any) {
	fmt.Fprintf(s.Log, "bench: "+format+"\n", args...)
}

// pending returns the cells that are still to be measured.
func (s *Session) pending(failed map[Cell]int) []Cell {
	var todo []Cell
	for _, c := range s.Cells {
		if _, ok := s.State.Done(c); !ok && failed[c] < tries {
			todo = append(todo, c)
		}
	}
	return todo
}

// took keeps an outcome and says what came of it.
func (s *Session) took(o Outcome, had int, begin time.Time) error {
	m, err := thisMachine()
	if err != nil {
		return err
	}
	if s.Settings.Kernel != "" {
		o.Host = &m
	}
	if o.Load, err = loadAverage(); err != nil {
		return err
	}
	if err := s.State.Add(o); err != nil {
		return err
	}
	if o.Error != "" {
		s.sayf("%s: FAILED: %s", o.Cell.Title(), o.Error)
		return nil
	}
	done := len(s.Cells) - len(s.pending(nil))
	left := time.Since(begin) / time.Duration(max(done-had, 1)) * time.Duration(len(s.Cells)-done)
	s.sayf("%d/%d %s: unblend %s times as fast; %.0f s, %v to go", done, len(s.Cells), o.Cell.Title(),
		ratioOf(o), o.Seconds, left.Round(time.Minute))
	return nil
}

// patience is how long a cell may take: the runs, and making what they need, on a busy machine.
func (s *Session) patience() time.Duration {
	volumes := 0
	for _, c := range s.Cells {
		volumes = max(volumes, c.Volumes)
	}
	pair := 8*s.Settings.Run + 10*time.Second*time.Duration(volumes)
	return 10*time.Minute + pair*time.Duration(s.Settings.Pairs)
}

// errStuck is returned when no outcome came within the session's patience.
var errStuck = errors.New("a cell took too long")

// try has cells measured until one fails or hangs.
func (s *Session) try(ctx context.Context, cells []Cell, each func(Outcome) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(2*s.patience(), func() { cancel(errStuck) }) // with the boot
	defer watchdog.Stop()
	awake := func(o Outcome) error {
		watchdog.Reset(s.patience())
		return each(o)
	}
	switch {
	case s.attempt != nil:
		return s.attempt(ctx, cells, awake)
	case s.Settings.Kernel != "":
		return s.inMachine(ctx, cells, awake)
	}
	l := Local{
		Settings: s.Settings, Device: s.Settings.Device, Program: s.Program, Self: s.Self,
		Progress: s.sayf, Each: awake,
	}
	return l.Run(ctx, cells)
}
