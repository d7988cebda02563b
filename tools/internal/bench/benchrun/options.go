package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/units"
	"unblend/tools/internal/vm"
)

// options are the command line.
type options struct {
	set   bench.Settings
	cells []bench.Cell
	out   string // directory of the report
	name  string // of its files
	state string
}

// The bytes that a cell's volumes have together: in a machine, whose device is memory, and natively.
const (
	machineTotal = 128 * bench.MiB
	nativeTotal  = 2048 * bench.MiB
)

// The lengths of a run.
const (
	machineRun = 2 * time.Second // with these the core takes less than 40 minutes
	nativeRun  = 5 * time.Second
)

// parse reads the command line. Errors are errUsage, or flag.ErrHelp.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	var size units.Size
	f := flag.NewFlagSet("benchrun", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintln(stderr, "usage: benchrun [flags] core|full|WORKLOAD/CONTENDER/VOLUMES...")
		f.PrintDefaults()
	}
	f.StringVar(&o.set.Kernel, "kernel", vm.DefaultKernel,
		"of the machine: 6.12, backports, or a series like 7.3")
	f.StringVar(&o.set.Device, "dev", "", "measure natively on this spare `DEVICE`, which is overwritten")
	f.IntVar(&o.set.Pairs, "pairs", 5, "pairs of runs of each cell")
	f.DurationVar(&o.set.Run, "run", 0, "length of a run (default 2s, natively 5s)")
	f.Var(&size, "size", "what the volumes of a cell have together (default 128MiB, natively 2GiB)")
	f.StringVar(&o.set.Serve, "serve", "", "more `ARGUMENTS` of unblend serve")
	f.BoolVar(&o.set.Counted, "counted", os.Getenv("UNBLEND_COUNTED") != "",
		"the machine's clock counts instructions: slow, and free of the host's noise")
	f.StringVar(&o.out, "out", "docs/bench", "`DIRECTORY` of the report")
	f.StringVar(&o.state, "state", "bin/bench.jsonl", "`FILE` that keeps what is measured")
	if err := f.Parse(args); err != nil {
		if err != flag.ErrHelp {
			err = fmt.Errorf("%w: %w", errUsage, err)
		}
		return nil, err
	}
	o.set.Total = int64(size)
	if err := o.complete(f.Args()); err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return o, nil
}

// complete fills in what follows from the rest.
func (o *options) complete(what []string) error {
	natively := o.set.Device != ""
	if natively {
		o.set.Kernel = ""
	}
	switch {
	case o.set.Total == 0 && natively:
		o.set.Total = nativeTotal
	case o.set.Total == 0:
		o.set.Total = machineTotal
	}
	switch {
	case o.set.Run == 0 && natively:
		o.set.Run = nativeRun
	case o.set.Run == 0:
		o.set.Run = machineRun
	}
	if o.set.Total < 32*bench.MiB {
		return fmt.Errorf("-size: want at least 32MiB")
	}
	if o.set.Pairs < 1 || o.set.Run < 100*time.Millisecond {
		return fmt.Errorf("want at least one pair and runs of 100ms")
	}
	set := "some"
	switch {
	case len(what) == 0:
		return fmt.Errorf("say what: core, full, or cells such as w4-qd32/loop/1")
	case what[0] == "core" || what[0] == "full":
		if len(what) > 1 {
			return fmt.Errorf("%s stands alone", what[0])
		}
		set = what[0]
		o.cells = bench.Core()
		if set == "full" {
			o.cells = bench.Full()
		}
	default:
		for _, s := range what {
			c, err := bench.ParseCell(s)
			if err != nil {
				return err
			}
			o.cells = append(o.cells, c)
		}
	}
	where := o.set.Kernel
	if natively {
		where = "native"
	}
	o.name = set + "-" + where
	return nil
}

// run runs the suite and writes its report.
func (o *options) run(ctx context.Context, stderr io.Writer) error {
	var err error
	if o.set.Commit, err = bench.Commit(ctx); err != nil {
		return err
	}
	if o.set.Device != "" {
		if o.set.Device, err = bench.CheckSpare(o.set.Device, o.set.Total); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "unblend-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &bench.Session{
		Settings: o.set, Cells: o.cells, Log: stderr,
		Program: filepath.Join(dir, "unblend"), Self: filepath.Join(dir, "benchrun"),
	}
	if err := bench.Build(ctx, s.Program, s.Self); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.state), 0o755); err != nil {
		return err
	}
	if s.State, err = bench.OpenState(o.state, o.set); err != nil {
		return err
	}
	suite, err := s.Run(ctx)
	if suite == nil {
		return err
	}
	if failed := suite.Write(o.out, o.name); failed != nil {
		return failed
	}
	fmt.Fprintf(stderr, "bench: wrote %s\n", filepath.Join(o.out, o.name+".md"))
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted; the same command goes on: %w", err)
	}
	if err == nil && len(suite.Missing) > 0 {
		var names []string
		for _, m := range suite.Missing {
			names = append(names, m.Cell.String())
		}
		err = fmt.Errorf("not measured: %s; the same command tries them again", strings.Join(names, " "))
	}
	return err
}
