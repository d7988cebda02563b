// Command demo shows the main job in one or two minutes: a pool in one file, four volumes, four
// different write loads at once, what the guests sent beside what reached the disk, kill -9 of the
// daemon in the middle, every byte verified, the pool checked. `make demo` runs it in a virtual
// machine, `make demo HOST=1` on this machine. Its exit status is 0 only if all of that was right.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// options are the flags.
type options struct {
	unblend string
	host    bool
	dir     string
	load    time.Duration
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.StringVar(&o.unblend, "unblend", "bin/unblend", "the program to show")
	f.BoolVar(&o.host, "host", false, "use this machine, not a virtual one")
	f.StringVar(&o.dir, "dir", "/var/tmp", "with -host: where the pool's file goes")
	f.DurationVar(&o.load, "load", 30*time.Second, "how long the guests write")
	err := f.Parse(args)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	return o, err
}

// run is main without the process around it; it returns the exit status.
func run(ctx context.Context, args []string) int {
	o, err := parse(args)
	if err != nil {
		return 2
	}
	if !o.host && os.Getenv("UNBLEND_VM_GUEST") == "" {
		fmt.Fprintln(os.Stderr, "demo: this is no virtual machine of the project: run it with "+
			"`make demo`, or here with `make demo HOST=1`")
		return 2
	}
	d := &demo{opt: o, begin: time.Now()}
	err = d.run(ctx)
	if err != nil {
		fmt.Printf("\nFAILED: %v\n", err)
		if d.prog.Dir != "" {
			fmt.Printf("The daemon's last words:\n%s\n", d.prog.LogEnd())
		}
	}
	if cleanup := d.cleanup(); cleanup != nil {
		fmt.Printf("\nFAILED to clean up: %v\n", cleanup)
		return 1
	}
	if err != nil {
		return 1
	}
	fmt.Printf("\nDone in %.0f s: 0 errors, every byte as it was written.\n",
		time.Since(d.begin).Seconds())
	return 0
}
