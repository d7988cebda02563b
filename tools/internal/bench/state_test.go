package bench

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStateResumes: what was measured under the same terms is known again, and nothing else is.
func TestStateResumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	set := Settings{Commit: "a", Kernel: "6.12", Pairs: 5}
	s, err := OpenState(path, set)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := Cell{"loop", "w4-qd1", 1}, Cell{"raw", "w4-qd1", 1}
	add := func(c Cell, failure string) {
		t.Helper()
		o := Outcome{Schema: SchemaOutcome, Settings: set, Cell: c, Error: failure}
		if err := s.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	add(good, "")
	add(bad, "it failed")
	if _, ok := s.Done(bad); ok || len(s.Outcomes([]Cell{bad, good})) != 2 {
		t.Error("a cell that failed counts as measured, or is not known")
	}
	again, err := OpenState(path, set)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Done(good); !ok {
		t.Error("the cell was forgotten")
	}
	if _, ok := again.Done(bad); ok {
		t.Error("the cell that failed counts as measured")
	}
	set.Commit = "b"
	if other, err := OpenState(path, set); err != nil || len(other.done) != 0 {
		t.Errorf("cells of another commit count: %v, %v", other, err)
	}
}

// TestStateTorn: a line that was cut off is measured again, and does not spoil the next.
func TestStateTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	torn := []byte(`{"schema":"unblend/bench-cell/v1","cell":{"contender":"raw`)
	if err := os.WriteFile(path, torn, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := OpenState(path, Settings{})
	if err != nil || len(s.done) != 0 {
		t.Fatalf("%v, %v", s, err)
	}
	c := Cell{"loop", "w4-qd1", 1}
	if err := s.Add(Outcome{Schema: SchemaOutcome, Cell: c}); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenState(path, Settings{}); err != nil || len(s.done) != 1 {
		t.Fatalf("%v, %v", s, err)
	}
}
