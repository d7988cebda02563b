package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// command is one verb: an entry of the table that usage, help, completion and the tests are made
// from.
type command struct {
	name     string
	args     string // what follows the verb, as usage shows it
	short    string // what it does, in a few words
	long     string // the rest of the help
	examples []string
	min, max int         // how many arguments that are no flags
	complete completions // what those are
	hidden   bool        // not in the list
	lines    bool        // --json prints documents of a line each, as they come
	daemon   bool        // talks to the daemon, so --timeout makes sense

	// setup declares the verb's own flags and returns what to do once they are parsed.
	setup func(fs *pflag.FlagSet) action
}

// action does the work of a verb.
type action func(ctx context.Context, in *invocation) error

// completions says what a verb's arguments are, for the shell.
type completions uint8

const (
	completeNothing completions = iota
	completeVolumes
	completeSnapshots
	completeNodes // volumes and snapshots
	completePaths
	completeVerbs
)

// streams are where a verb prints. (Nothing here reads standard input.)
type streams struct{ out, err io.Writer }

// invocation is one call of a verb.
type invocation struct {
	streams
	cmd    *command
	args   []string
	common commonFlags
}

// commonFlags are those that every verb takes.
type commonFlags struct {
	json    bool
	socket  string
	timeout units.Duration
	help    bool
}

// flagSet returns the verb's flags, the common ones included, and its action.
func (c *command) flagSet(common *commonFlags) (*pflag.FlagSet, action) {
	fs := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	do := c.setup(fs)
	usage := "print one JSON document (unblend help json)"
	if c.lines {
		usage = "print JSON documents, one a line (unblend help json)"
	}
	fs.BoolVar(&common.json, "json", false, usage)
	fs.StringVar(&common.socket, "socket", control.DefaultSocket, "`PATH` of the daemon's socket")
	if c.daemon {
		fs.Var(&common.timeout, "timeout", "give up after this long (30s, 5min; 0: never)")
	}
	fs.BoolVarP(&common.help, "help", "h", false, "print this help")
	return fs, do
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	if len(args) == 0 {
		printUsage(s.err)
		return exitUsage
	}
	switch args[0] {
	case "-h", "--help":
		args = []string{"help"}
	case "--version":
		args = []string{"version"}
	}
	args = verbFirst(args)
	c := find(args[0])
	if c == nil {
		return report(s, unknownVerb(args[0]), nil)
	}
	in := &invocation{streams: s, cmd: c}
	fs, do := c.flagSet(&in.common)
	if c.name == completeVerb { // its arguments are somebody else's flags
		in.args = args[1:]
		return report(s, do(ctx, in), in)
	}
	if err := fs.Parse(args[1:]); err != nil {
		return report(s, usageError(c, flagCause(err)), in)
	}
	if in.common.help {
		printHelp(s.out, c)
		return 0
	}
	if in.args = fs.Args(); len(in.args) < c.min || len(in.args) > c.max {
		return report(s, usageError(c, wrongCount(c, in.args)), in)
	}
	return report(s, do(ctx, in), in)
}

// verbFirst moves common flags that stand before the verb behind it: where they stand makes no
// difference. Other arguments come back as they are.
func verbFirst(args []string) []string {
	var common commonFlags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SetInterspersed(false)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&common.json, "json", false, "")
	fs.StringVar(&common.socket, "socket", "", "")
	if fs.Parse(args) != nil || fs.NArg() == 0 || fs.NArg() == len(args) {
		return args
	}
	leading := args[:len(args)-fs.NArg()]
	return slices.Concat(fs.Args()[:1], leading, fs.Args()[1:])
}

// find returns the verb of that name, or nil.
func find(name string) *command {
	for _, c := range commands() {
		if c.name == name {
			return c
		}
	}
	return nil
}

func unknownVerb(name string) error {
	e := &control.Error{
		Code: control.CodeBadRequest, Next: "see: unblend help",
		Message: fmt.Sprintf("unknown verb %q", name[:min(len(name), 64)]),
	}
	if strings.HasPrefix(name, "-") {
		e.Message = fmt.Sprintf("flag %s before the verb; a verb's flags come after it", e.Message[13:])
	}
	return e
}

// usageError is a call that makes no sense.
func usageError(c *command, message string) error {
	return &control.Error{
		Code: control.CodeBadRequest, Message: c.name + ": " + message,
		Next: "usage: " + c.usage(),
	}
}

// flagCause says what is wrong with a flag in one clause.
func flagCause(err error) string {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Sprintf("--%s: %v", invalid.GetFlag().Name, errors.Unwrap(invalid))
	}
	return err.Error()
}

func wrongCount(c *command, args []string) string {
	switch {
	case len(args) < c.min:
		return "something is missing"
	case c.max == 0:
		return fmt.Sprintf("takes no arguments, not %q", args[0])
	}
	return fmt.Sprintf("%q is too much", args[c.max])
}

// usage returns the call in one line.
func (c *command) usage() string {
	return strings.TrimSpace("unblend " + c.name + " " + c.args)
}

// client returns a client for the daemon.
func (in *invocation) client() *control.Client {
	return control.NewClient(in.common.socket, in.common.timeout.Std())
}

// visible returns the verbs that the list shows.
func visible() []*command {
	return slices.DeleteFunc(commands(), func(c *command) bool { return c.hidden })
}

// canceled reports whether the user broke the call off.
func canceled(err error) bool { return errors.Is(err, context.Canceled) }
