package vmtest

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/vm"
)

// TestBench runs the smallest benchmark suite there is, and what it left off once more.
func TestBench(t *testing.T) {
	t.Parallel()
	need(t)
	dir := t.TempDir()
	set := bench.Settings{
		Commit: "smoke", Kernel: cmp.Or(os.Getenv("UNBLEND_VM_KERNEL"), vm.DefaultKernel),
		Pairs: 1, Run: 300 * time.Millisecond, Total: 32 * bench.MiB,
	}
	s := &bench.Session{
		Settings: set, Program: filepath.Join(dir, "unblend"), Self: filepath.Join(dir, "benchrun"),
		Log: t.Output(),
	}
	for _, name := range []string{"w4-qd32/loop/1", "w4-qd32/thin-snap/1"} {
		c, err := bench.ParseCell(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Cells = append(s.Cells, c)
	}
	if err := bench.Build(t.Context(), s.Program, s.Self); err != nil {
		t.Fatal(err)
	}
	var err error
	state := filepath.Join(dir, "state")
	if s.State, err = bench.OpenState(state, set); err != nil {
		t.Fatal(err)
	}
	suite, err := s.Run(t.Context())
	if err != nil || len(suite.Missing) > 0 || len(suite.Ratios) != 2 {
		t.Fatalf("%+v, %v", suite, err)
	}
	for _, r := range suite.Ratios {
		if r.Pairs != 1 || !(r.Median > 0) {
			t.Errorf("%+v", r)
		}
	}
	if err := suite.Write(dir, "smoke"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "smoke.json"))
	if err != nil || !json.Valid(text) {
		t.Errorf("%v: %s", err, text)
	}
	again := &bench.Session{Settings: set, Cells: s.Cells, Log: t.Output()} // has no program to measure with
	if again.State, err = bench.OpenState(state, set); err != nil {
		t.Fatal(err)
	}
	if suite, err := again.Run(t.Context()); err != nil || len(suite.Ratios) != 2 {
		t.Errorf("%+v, %v", suite, err)
	}
}
