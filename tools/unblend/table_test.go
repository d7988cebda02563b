package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
)

// call runs a verb in this process.
func call(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, complaint bytes.Buffer
	code = run(ctx, args, streams{&out, &complaint})
	return code, out.String(), complaint.String()
}

// TestTable holds every verb and flag to being documented, in lines that fit a terminal.
func TestTable(t *testing.T) {
	for _, c := range commands() {
		_, help, _ := call(context.Background(), "help", c.name)
		if c.hidden {
			help = helpOf(c)
		}
		if c.short == "" || strings.HasSuffix(c.short, ".") || c.max < c.min {
			t.Errorf("%s: short %q, %d to %d arguments", c.name, c.short, c.min, c.max)
		}
		if !c.hidden && len(c.examples) == 0 && c.name != "help" {
			t.Errorf("%s: no example", c.name)
		}
		fs, do := c.flagSet(&commonFlags{})
		if do == nil {
			t.Errorf("%s: does nothing", c.name)
		}
		fs.VisitAll(func(f *pflag.Flag) {
			listed := strings.Contains(help, "--"+f.Name)
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") || !listed {
				t.Errorf("%s: --%s is documented as %q", c.name, f.Name, f.Usage)
			}
		})
		for _, name := range []string{"json", "socket", "help"} {
			if fs.Lookup(name) == nil {
				t.Errorf("%s: no --%s", c.name, name)
			}
		}
		for line := range strings.Lines(help) {
			if len(line) > 101 {
				t.Errorf("%s: a line of %d characters in its help: %s", c.name, len(line), line)
			}
		}
	}
}

func helpOf(c *command) string {
	var b bytes.Buffer
	printHelp(&b, c)
	return b.String()
}

// TestExamples holds that every example is a call that parses.
func TestExamples(t *testing.T) {
	for _, c := range commands() {
		for _, e := range c.examples {
			words := strings.Fields(e)
			if words[0] != "unblend" || words[1] != c.name {
				t.Errorf("%s: example %q", c.name, e)
				continue
			}
			fs, _ := c.flagSet(&commonFlags{})
			if err := fs.Parse(words[2:]); err != nil || fs.NArg() < c.min || fs.NArg() > c.max {
				t.Errorf("example %q: %v, %d arguments", e, err, fs.NArg())
			}
		}
	}
}

func TestHelpJSON(t *testing.T) {
	code, all, _ := call(context.Background(), "help", "json")
	for _, d := range control.Documents {
		if !strings.Contains(all, string(d.Schema)+": ") {
			t.Errorf("%s is missing", d.Schema)
		}
	}
	_, one, _ := call(context.Background(), "help", "json", string(control.SchemaDone))
	if code != 0 || !strings.Contains(all, one) || strings.Count(one, "unblend/") != 1 {
		t.Errorf("exit code %d; of one document:\n%s", code, one)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	socket, _ := serveFake(t)
	code, out, complaint := call(ctx, "list", "--socket", socket)
	if code != control.ExitInterrupted || out != "" || complaint != "unblend: interrupted\n" {
		t.Errorf("exit code %d, %q, %q", code, out, complaint)
	}
}

// closedPipe is an output that nobody reads any more.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestUnwritableOutput(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"version"}, {"version", "--json"}} {
		if code := run(context.Background(), args, streams{closedPipe{}, io.Discard}); code != 1 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func TestSplitLine(t *testing.T) {
	for _, x := range []struct {
		line, point string
		want        []string
	}{
		{"unblend rm web", "14", []string{"rm", "web"}},
		{"unblend rm web", "10", []string{"rm"}},
		{"unblend rm ", "11", []string{"rm", ""}},
		{"unblend ", "8", []string{""}},
		{"", "0", []string{}},
		{"unblend rm", "999", []string{"rm"}},
		{"unblend rm", "junk", []string{"rm"}},
	} {
		if got := splitLine(x.line, x.point); !slices.Equal(got, x.want) {
			t.Errorf("splitLine(%q, %q) = %q, want %q", x.line, x.point, got, x.want)
		}
	}
}
