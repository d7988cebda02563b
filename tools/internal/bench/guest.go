package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"unblend/tools/internal/vm"
)

// order is what a machine is asked to measure; it travels in guestEnv.
type order struct {
	Settings Settings `json:"settings"`
	Cells    []Cell   `json:"cells"`
	Program  string   `json:"program"`
}

// guestEnv holds an order as JSON.
const guestEnv = "UNBLEND_BENCH_ORDER"

// GuestArg makes the program measure, in a machine, what guestEnv orders.
const GuestArg = "guest"

// Guest is the program in a machine: it makes a device that is memory and measures on it. Outcomes
// go to standard output, each as a line; the rest of the lines is for people.
func Guest(ctx context.Context) error {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(guestEnv)), &o); err != nil {
		return fmt.Errorf("%s: %w", guestEnv, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := Sh(ctx, "modprobe null_blk nr_devices=1 gb=%d memory_backed=1 submit_queues=2",
		gib(Needed(o.Settings.Total))); err != nil {
		return err
	}
	l := Local{
		Settings: o.Settings, Device: "/dev/nullb0", Program: o.Program, Self: self,
		Progress: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
		Each: func(x Outcome) error {
			line, err := json.Marshal(x)
			if err == nil {
				_, err = os.Stdout.Write(append(line, '\n'))
			}
			return err
		},
	}
	return l.Run(ctx, o.Cells)
}

// guestPath returns where a machine sees a file that it was given.
func guestPath(path string) string { return "/vm/" + filepath.Base(path) }

// gib rounds up to GiB.
func gib(n int64) int64 { return (n + 1<<30 - 1) >> 30 }

// machineMemory is what a machine needs beside the device, in GiB.
const machineMemory = 3

// inMachine has cells measured in a machine. each gets the outcomes as they come.
func (s *Session) inMachine(ctx context.Context, cells []Cell, each func(Outcome) error) error {
	o, err := json.Marshal(order{s.Settings, cells, guestPath(s.Program)})
	if err != nil {
		return err
	}
	res, err := vm.Run(ctx, vm.Config{
		Kernel: s.Settings.Kernel, Counted: s.Settings.Counted,
		Memory: fmt.Sprintf("%dG", gib(Needed(s.Settings.Total))+machineMemory),
		Files:  []string{s.Self, s.Program}, Env: []string{guestEnv + "=" + string(o)},
		Command: "exec " + vm.Quote(guestPath(s.Self)) + " " + GuestArg,
		Timeout: s.patience() * time.Duration(2+len(cells)),
		Output:  &lines{each: each, say: s.Log}, Log: s.Log,
	})
	if err == nil && res.Status != 0 {
		err = fmt.Errorf("the machine's program ended with status %d", res.Status)
	}
	return err
}

// lines sorts what a machine writes.
type lines struct {
	each func(Outcome) error
	say  io.Writer
	held []byte
}

// Write implements io.Writer. Errors are those of each, and of writing.
func (l *lines) Write(p []byte) (int, error) {
	l.held = append(l.held, p...)
	for {
		line, rest, ok := bytes.Cut(l.held, []byte{'\n'})
		if !ok {
			return len(p), nil
		}
		if err := l.line(line); err != nil {
			return 0, err
		}
		l.held = append(l.held[:0], rest...)
	}
}

func (l *lines) line(line []byte) error {
	var o Outcome
	if json.Unmarshal(line, &o) == nil && o.Schema == SchemaOutcome {
		return l.each(o)
	}
	_, err := fmt.Fprintf(l.say, "bench: %s\n", bytes.TrimPrefix(line, []byte("bench: ")))
	return err
}
