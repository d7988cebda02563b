package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"unblend/tools/internal/vm"
)

func TestCommandQuotes(t *testing.T) {
	for want, words := range map[string][]string{
		"echo $HOME; exit 3":     {"echo $HOME; exit 3"},
		`'echo' 'it'\''s' 'a b'`: {"echo", "it's", "a b"},
	} {
		if got := command(words); got != want {
			t.Errorf("%q: %s, want %s", words, got, want)
		}
	}
}

func TestErrorStatus(t *testing.T) {
	for want, err := range map[int]error{
		exitLacking: fmt.Errorf("wrapped: %w", &vm.MissingError{Reason: "no archive"}),
		exitTimeout: fmt.Errorf("wrapped: %w", vm.ErrTimeout),
		exitMachine: errors.New("anything else"),
	} {
		if got := errorStatus(err); got != want {
			t.Errorf("%v: status %d, want %d", err, got, want)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"-nonsense"}, {"-drive", "log", "--", "true"}} {
		var stderr strings.Builder
		status := run(context.Background(), args, &stderr, &stderr)
		if status != exitUsage || !strings.Contains(stderr.String(), "usage: vmrun") {
			t.Errorf("%q: status %d, %q", args, status, stderr.String())
		}
	}
}

func TestFlagsReachTheMachine(t *testing.T) {
	o, words, err := parse([]string{
		"-kernel", "7.3", "-drive", "log=/a=b", "-nvme", "data=/c", "-env", "A=1", "--", "x", "-y",
	}, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	want := []vm.Drive{
		{Name: "log", Path: "/a=b", Bus: vm.Virtio}, {Name: "data", Path: "/c", Bus: vm.NVMe},
	}
	if fmt.Sprint(o.cfg.Drives) != fmt.Sprint(want) || o.cfg.Kernel != "7.3" ||
		fmt.Sprint(o.cfg.Env) != "[A=1]" || fmt.Sprint(words) != "[x -y]" {
		t.Errorf("%+v, %q", o.cfg, words)
	}
}
