package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"unblend/tools/internal/bench"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"core"}, io.Discard)
	if err != nil || o.name != "core-6.12" || len(o.cells) != 30 || o.set.Total != machineTotal {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"-dev", "/dev/sdx", "-serve", "--memory 200M", "full"}, io.Discard)
	if err != nil || o.name != "full-native" || o.set.Kernel != "" || o.set.Total != nativeTotal ||
		o.set.Serve != "--memory 200M" {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"-size", "64MiB", "w4-qd1/raw/1", "sync/loop/4"}, io.Discard)
	want := bench.Cell{Contender: "loop", Workload: "sync", Volumes: 4}
	if err != nil || o.name != "some-6.12" || len(o.cells) != 2 || o.cells[1] != want {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{
		{},
		{"-size", "1MiB", "core"},
		{"-pairs", "0", "core"},
		{"-run", "1ms", "core"},
		{"core", "full"},
		{"w4/raw/1"},
		{"-x", "core"},
	} {
		if _, err := parse(bad, io.Discard); !errors.Is(err, errUsage) || status(err) != exitUsage {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestRefusal: a device that holds data ends with its own status before anything is built.
func TestRefusal(t *testing.T) {
	held := filepath.Join(t.TempDir(), "held")
	if err := os.WriteFile(held, []byte("a letter"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"-dev", held, "core"}, io.Discard)
	if status(err) != exitInUse {
		t.Errorf("status %d: %v", status(err), err)
	}
}
