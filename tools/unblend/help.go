package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

const exitCodes = `Exit codes:
  0    done
  1    failed
  2    the call makes no sense
  3    no such volume or snapshot
  4    the daemon is not reachable, or refuses this user
  5    the pool is degraded, read-only or nearly full, or damage was found
  6    not supported here: kernel, module, format of a newer version
  7    the device or volume is in use, holds data, or has snapshots
  130  interrupted
`

func helpCommand() *command {
	return &command{
		name: "help", args: "[VERB | json [SCHEMA]]", max: 2, complete: completeVerbs,
		short: "explain a verb, or the JSON documents",
		long: `Without an argument: the list of verbs and the exit codes.

"json" lists the fields of the documents that --json prints and that the control
socket speaks, all of them or those of one SCHEMA.

Completion for bash and, with bashcompinit, for zsh:
  complete -o default -C 'unblend __complete' unblend`,
		examples: []string{"unblend help create", "unblend help json unblend/status/v1"},
		setup:    func(*pflag.FlagSet) action { return help },
	}
}

func help(_ context.Context, in *invocation) error {
	var b strings.Builder
	switch {
	case len(in.args) == 0:
		printUsage(&b)
	case in.args[0] == "json":
		if err := describeDocuments(&b, in.args[1:]); err != nil {
			return err
		}
	case len(in.args) == 2:
		return usageError(in.cmd, fmt.Sprintf("%q is too much", in.args[1]))
	default:
		c := find(in.args[0])
		if c == nil || c.hidden {
			return unknownVerb(in.args[0])
		}
		printHelp(&b, c)
	}
	return print(in.out, b.String())
}

// printUsage prints the list of verbs.
func printUsage(w io.Writer) {
	fmt.Fprint(w, "unblend puts the writes of virtual machines back in order.\n\n")
	fmt.Fprint(w, "usage: unblend VERB [ARGUMENT...] [FLAG...]\n\n")
	for _, c := range visible() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.short)
	}
	fmt.Fprintf(w, "\nunblend help VERB explains one.\n\n%s", exitCodes)
}

// printHelp prints all there is to know of one verb.
func printHelp(w io.Writer, c *command) {
	fs, _ := c.flagSet(&commonFlags{})
	fmt.Fprintf(w, "usage: %s\n\n%s.\n", c.usage(), strings.ToUpper(c.short[:1])+c.short[1:])
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", c.long)
	}
	fmt.Fprintf(w, "\nFlags:\n%s", flagTable(fs))
	if len(c.examples) > 0 {
		fmt.Fprint(w, "\nExamples:\n")
		for _, e := range c.examples {
			fmt.Fprintf(w, "  %s\n", e)
		}
	}
}

// flagTable lists flags, a line each. (FlagUsages of pflag shows each switch with its two values.)
func flagTable(fs *pflag.FlagSet) string {
	var b strings.Builder
	fs.VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if f.Value.Type() != "bool" {
			name += " " + value
		}
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&b, "  %-22s %s\n", name, usage)
	})
	return b.String()
}

// describeDocuments prints the fields of the JSON documents.
func describeDocuments(w io.Writer, only []string) error {
	found := false
	for _, d := range control.Documents {
		if len(only) > 0 && string(d.Schema) != only[0] {
			continue
		}
		found = true
		fmt.Fprintf(w, "%s: %s\n", d.Schema, d.Use)
		t := units.NewTable("  FIELD", "TYPE", "MEANING")
		for _, f := range control.Describe(d.Type) {
			doc := f.Doc
			if f.Optional {
				doc += " (optional)"
			}
			t.Row("  "+f.Path, f.Type, doc)
		}
		fmt.Fprintf(w, "%s\n", t)
	}
	if !found {
		return &control.Error{
			Code: control.CodeBadRequest, Message: fmt.Sprintf("no document %q", only[0]),
			Next: "see: unblend help json",
		}
	}
	return nil
}
