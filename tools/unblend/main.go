// Program unblend serves virtual machines' disks from one sequential log, and operates the daemon
// that does so. `unblend help` lists its verbs; the table in commands.go is where they come from.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the Makefile.
var version = "unversioned"

func main() {
	ctx := context.Background()
	if len(os.Args) < 2 || os.Args[1] != "serve" { // the daemon handles signals itself
		ctx, _ = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	}
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}))
}
