package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/daemon"
	"unblend/tools/internal/units"
)

func serveCommand() *command {
	return &command{
		name: "serve", args: "POOL", min: 1, max: 2, complete: completePaths,
		short: "serve a pool, in the foreground",
		long: `POOL is the device or the file of the pool, or either device of a pool of two: the
other is found by its label if it is a block device, and can be named as well.

The daemon recovers the pool, attaches again every volume that was attached, then
answers on the socket and tells systemd. It logs to standard error. It may be killed
at any time: guests wait until the next one serves. Without the ublk module it serves
the pool without devices, and says so.

--without-log opens the last checkpoint read-only, when the log device is lost.`,
		examples: []string{
			"unblend serve /var/lib/unblend/pool",
			"unblend serve /dev/nvme0n1p3 --memory 200M --socket-group kvm",
			"unblend serve /dev/sdb --without-log",
		},
		setup: func(fs *pflag.FlagSet) action {
			c := serveFlags(fs)
			return func(ctx context.Context, in *invocation) error {
				cfg, err := c.config(in)
				if err != nil {
					return err
				}
				slog.SetDefault(slog.New(logHandler(in)))
				return daemon.Run(ctx, cfg)
			}
		},
	}
}

// serveOptions are the flags of serve as they are typed.
type serveOptions struct {
	cfg       control.ServeConfig
	memory    units.Size
	wait      units.Duration
	low, high units.Percent
	cpus      string
}

// serveFlags declares the flags of serve.
func serveFlags(fs *pflag.FlagSet) *serveOptions {
	o := &serveOptions{
		memory: control.DefaultMemory, low: control.DefaultLow, high: control.DefaultHigh,
		wait: units.Duration(control.DefaultWait),
	}
	fs.StringVar(&o.cfg.SocketGroup, "socket-group", "",
		"`GROUP` that may use the socket beside root")
	fs.BoolVar(&o.cfg.WithoutLog, "without-log", false,
		"open the last checkpoint read-only: the log device is lost")
	fs.Var(&o.memory, "memory", "what the daemon may take in all")
	fs.IntVar(&o.cfg.LogInFlight, "log-inflight", control.DefaultLogInFlight,
		"`N` log writes under way at most, of each shard")
	fs.IntVar(&o.cfg.Shards, "shards", 0,
		"`N` threads that serve; 0: one on a hard disk, else by the CPUs")
	fs.Var(&o.low, "low", "fullness of the log at which data moves out")
	fs.Var(&o.high, "high", "fullness of the log at which writers are slowed")
	fs.StringVar(&o.cpus, "cpu", "", "`LIST` of CPUs to run on, such as 2 or 2-3,6; shards divide it")
	fs.StringVar(&o.cfg.OnFull, "on-full", control.OnFullWait,
		"`WHAT` writes do when the pool is full, wait or fail")
	fs.BoolVar(&o.cfg.NoReplace, "no-replacement", false,
		"leave in pieces what became scattered, also when guests are idle")
	fs.BoolVar(&o.cfg.Profiles, "pprof", false,
		"let root take Go profiles over the socket, below /debug/pprof")
	fs.Var(&o.wait, "wait", "for what a killed daemon's last requests hold")
	fs.StringVar(&o.cfg.LinkDir, "link-dir", control.DefaultLinkDir,
		"`DIR` for the links to the volumes' devices")
	return o
}

// config returns what the daemon is told.
func (o *serveOptions) config(in *invocation) (control.ServeConfig, error) {
	c := o.cfg
	c.Paths, c.Socket, c.Version = in.args, in.common.socket, version
	c.Memory, c.Wait = int64(o.memory), max(o.wait.Std(), 1) // 0 would be the default
	c.Low, c.High, c.DropPrivileges = int(o.low), int(o.high), true
	var err error
	if c.CPUs, err = units.ParseCPUs(o.cpus); err != nil {
		return c, usageError(in.cmd, "--cpu "+strconv.Quote(o.cpus)+": "+err.Error())
	}
	return c, c.Validate()
}

// logHandler returns where the daemon logs to: standard error, one line each. Journald stamps the
// time itself.
func logHandler(in *invocation) slog.Handler {
	opt := &slog.HandlerOptions{}
	if os.Getenv("JOURNAL_STREAM") != "" {
		opt.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		}
	}
	if in.common.json {
		return slog.NewJSONHandler(in.err, opt)
	}
	return slog.NewTextHandler(in.err, opt)
}
