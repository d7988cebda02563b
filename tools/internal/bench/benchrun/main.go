// Command benchrun is the benchmark suite's program: `make bench`, `make bench-full` and, in a machine,
// what they run. See package bench.
//
//	go run ./tools/internal/bench/benchrun -kernel 6.12 core
//	go run ./tools/internal/bench/benchrun -dev /dev/sdX full
//	go run ./tools/internal/bench/benchrun -pairs 1 -run 500ms w4-qd32/loop/1
//
// Exit statuses: 0: all cells were measured; 1: some were not, or it was interrupted; 2: wrong usage; 6:
// this machine lacks something, which the message names; 7: the device is in use or holds data.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/device"
	"unblend/tools/internal/vm"
)

// Exit statuses.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitLacking = 6
	exitInUse   = 7
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(status(err))
}

// errUsage is the error of a command line that cannot be meant.
var errUsage = errors.New("wrong usage")

// run is main without the process around it.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	if len(args) > 0 && args[0] == bench.GuestArg {
		return bench.Guest(ctx)
	}
	if len(args) == 2 && args[0] == bench.NullArg {
		size, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		return bench.ServeNull(size)
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	return o.run(ctx, stderr)
}

// status is the exit status for an error.
func status(err error) int {
	var missing *vm.MissingError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &missing):
		return exitLacking
	case errors.Is(err, device.ErrInUse) || errors.Is(err, device.ErrHoldsData):
		return exitInUse
	}
	return exitFailed
}
