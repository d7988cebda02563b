package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"unblend/tools/internal/control"
)

// versionTime bounds the question to the daemon, which may well not run.
const versionTime = 2 * time.Second

func versionCommand() *command {
	return &command{
		name: "version", short: "print the version of the program and of the daemon",
		examples: []string{"unblend version"},
		setup:    func(*pflag.FlagSet) action { return showVersion },
	}
}

func showVersion(ctx context.Context, in *invocation) error {
	doc := control.VersionInfo{
		Schema: control.SchemaVersion, Version: version, Go: runtime.Version(),
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		doc.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	if d, err := control.NewClient(in.common.socket, versionTime).Version(ctx); err == nil {
		doc.Daemon, doc.PID = d.Daemon, d.PID
	}
	return in.answer(doc, func() string {
		s := fmt.Sprintf("unblend %s (%s, Linux %s)\n", doc.Version, doc.Go, doc.Kernel)
		if doc.Daemon != "" {
			s += fmt.Sprintf("daemon  %s (pid %d)\n", doc.Daemon, doc.PID)
		}
		return s
	})
}
