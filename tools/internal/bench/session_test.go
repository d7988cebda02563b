package bench

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// three cells are measured by the sessions of these tests.
var three = []Cell{{"raw", "w4-qd1", 1}, {"loop", "w4-qd1", 1}, {"thin", "w4-qd1", 1}}

// newSession returns a session whose attempts are those of a test.
func newSession(
	t *testing.T, attempt func(cells []Cell, each func(Outcome) error) error,
) *Session {
	t.Helper()
	s := &Session{Cells: three, Log: io.Discard}
	var err error
	if s.State, err = OpenState(filepath.Join(t.TempDir(), "state"), s.Settings); err != nil {
		t.Fatal(err)
	}
	s.attempt = func(_ context.Context, cells []Cell, each func(Outcome) error) error {
		return attempt(cells, each)
	}
	return s
}

// measured is an outcome of two pairs.
func measured(c Cell) Outcome {
	return Outcome{Schema: SchemaOutcome, Cell: c, Runs: []Run{
		{Pair: 1, Figures: Figures{IOPS: 100}},
		{Pair: 1, Ours: true, Figures: Figures{IOPS: 50}},
		{Pair: 2, Ours: true, Figures: Figures{IOPS: 30}},
		{Pair: 2, Figures: Figures{IOPS: 100}},
	}}
}

// TestSessionGoesOn: a machine that dies costs what it had not measured yet.
func TestSessionGoesOn(t *testing.T) {
	var asked [][]Cell
	s := newSession(t, func(cells []Cell, each func(Outcome) error) error {
		asked = append(asked, cells)
		err := each(measured(cells[0]))
		if len(cells) > 1 {
			err = errors.Join(err, errors.New("the machine died"))
		}
		return err
	})
	suite, err := s.Run(t.Context())
	if err != nil || len(suite.Ratios) != 3 || len(suite.Missing) != 0 {
		t.Fatalf("%+v, %v", suite, err)
	}
	if len(asked) != 3 || len(asked[1]) != 2 || asked[1][0] != three[1] {
		t.Errorf("asked for %v", asked)
	}
	// Once more: nothing is left to do.
	again := &Session{Cells: three, Log: io.Discard, attempt: s.attempt}
	if again.State, err = OpenState(s.State.path, s.Settings); err != nil {
		t.Fatal(err)
	}
	if suite, err := again.Run(t.Context()); err != nil || len(suite.Ratios) != 3 || len(asked) != 3 {
		t.Errorf("%+v, %v, asked %d times", suite, err, len(asked))
	}
}

// TestSessionNamesFailures: a cell that fails, and one in which the machine dies, are tried twice and
// reported; the others are measured.
func TestSessionNamesFailures(t *testing.T) {
	calls := map[Cell]int{}
	s := newSession(t, func(cells []Cell, each func(Outcome) error) error {
		for _, c := range cells {
			calls[c]++
			switch c {
			case three[1]:
				return errors.Join(each(Outcome{Cell: c, Error: "no such thing"}), errFailed)
			case three[2]:
				return errors.New("the machine died")
			}
			if err := each(measured(c)); err != nil {
				return err
			}
		}
		return nil
	})
	suite, err := s.Run(t.Context())
	if err != nil || len(suite.Ratios) != 1 || len(suite.Missing) != 2 {
		t.Fatalf("%+v, %v", suite, err)
	}
	if calls[three[1]] != tries || calls[three[2]] != tries {
		t.Errorf("tried %v", calls)
	}
	text := suite.Markdown("x")
	for _, want := range []string{"no such thing", "the machine died", "**0.40** (0.30 - 0.50)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

// TestSessionGivesUp: where nothing can be measured at all, the error says why.
func TestSessionGivesUp(t *testing.T) {
	lacking := errors.New("fio is not installed")
	s := newSession(t, func([]Cell, func(Outcome) error) error { return lacking })
	if suite, err := s.Run(t.Context()); !errors.Is(err, lacking) || suite != nil {
		t.Errorf("%v, %v", suite, err)
	}
}

// TestSessionInterrupted: what is there by then is reported.
func TestSessionInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := newSession(t, func(cells []Cell, each func(Outcome) error) error {
		err := each(measured(cells[0]))
		stop()
		return errors.Join(err, context.Canceled)
	})
	suite, err := s.Run(ctx)
	if !errors.Is(err, context.Canceled) || len(suite.Ratios) != 1 || len(suite.Missing) != 2 {
		t.Errorf("%+v, %v", suite, err)
	}
}
