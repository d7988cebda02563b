package main

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
)

const (
	completeVerb = "__complete"
	// completeTime bounds the question for the names of volumes: a shell waits for it.
	completeTime = time.Second
)

func completeCommand() *command {
	return &command{
		name: completeVerb, args: "[WORD...]", max: 1 << 16, hidden: true,
		short: "print what the last word could become",
		long: `For shells. The words are those of the call so far, without "unblend", the last
one unfinished; where COMP_LINE and COMP_POINT are set, as bash does, they count.`,
		setup: func(*pflag.FlagSet) action { return complete },
	}
}

func complete(ctx context.Context, in *invocation) error {
	words := in.args
	if line, set := os.LookupEnv("COMP_LINE"); set {
		words = splitLine(line, os.Getenv("COMP_POINT"))
	}
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	before := len(last) - len(unbroken(last, in.args))
	var b strings.Builder
	for _, c := range candidates(ctx, words) {
		if strings.HasPrefix(c, last) {
			b.WriteString(c[before:] + "\n")
		}
	}
	return print(in.out, b.String())
}

// unbroken returns what of the last word the shell is going to replace. Bash ends words at "@", ":"
// and "=" as well; it says what is left of the word in the second of the three arguments that it
// calls with.
func unbroken(last string, args []string) string {
	if len(args) == 3 && strings.HasSuffix(last, args[1]) {
		return args[1]
	}
	return last
}

// splitLine cuts a command line at the cursor and returns its words but the first. Quotes are not
// looked at: no verb, flag or name needs them.
func splitLine(line, point string) []string {
	if n, err := strconv.Atoi(point); err == nil && n >= 0 && n <= len(line) {
		line = line[:n]
	}
	words := strings.Fields(line)
	if strings.HasSuffix(line, " ") || len(words) == 0 {
		words = append(words, "")
	}
	return words[1:]
}

// candidates lists what the last of the words could be.
func candidates(ctx context.Context, words []string) []string {
	if len(words) == 1 {
		return verbNames()
	}
	c := find(words[0])
	if c == nil || c.name == completeVerb {
		return nil
	}
	var common commonFlags
	fs, _ := c.flagSet(&common)
	if strings.HasPrefix(words[len(words)-1], "-") {
		return flagNames(fs)
	}
	_ = fs.Parse(words[1 : len(words)-1]) // as far as it goes: --socket counts
	switch c.complete {
	case completeVerbs:
		return append(verbNames(), "json")
	case completeVolumes, completeSnapshots, completeNodes:
		return nodeNames(ctx, common.socket, c.complete)
	}
	return nil // the shell offers files
}

func verbNames() []string {
	var names []string
	for _, c := range visible() {
		names = append(names, c.name)
	}
	return names
}

func flagNames(fs *pflag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	slices.Sort(names)
	return names
}

// nodeNames asks the daemon for the names of volumes, snapshots or both. Without an answer there is
// nothing to offer.
func nodeNames(ctx context.Context, socket string, which completions) []string {
	r := control.ListRequest{Snapshots: which != completeVolumes}
	l, err := control.NewClient(socket, completeTime).List(ctx, r)
	if err != nil {
		return nil
	}
	var names []string
	for _, v := range l.Volumes {
		if v.Snapshot || which != completeSnapshots {
			names = append(names, v.Name)
		}
	}
	return names
}
