package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The scripts in testdata are the program's behavior as a user sees it:
//
//	# a comment, or an empty line
//	$ unblend list            a call; words may be quoted with '
//	> NAME  SIZE              a line of standard output
//	! unblend: no daemon      a line of standard error
//	= 4                       the exit code, if it is not 0
//
// Calls that begin with "sh " are for the shell; words such as A=b before "unblend" set its
// environment. $DIR is a directory of the test's own, $SOCK the socket of a daemon whose back end is
// made up (backend_test.go), $DEV where the files are that stand for its devices. What differs from run
// to run is replaced (see scrub). `go test ./tools/unblend -update` writes the scripts anew.
var update = flag.Bool("update", false, "write the scripts' outcome into testdata")

// envMain makes the test binary the program itself.
const envMain = "UNBLEND_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		version = "1.2.3"
		main()
	}
	os.Exit(m.Run())
}

func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) { runScript(t, path) })
	}
}

func runScript(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket, dev := serveFake(t)
	env := map[string]string{"$DIR": dir, "$SOCK": socket, "$DEV": dev}
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		switch call, isCall := strings.CutPrefix(line, "$ "); {
		case isCall:
			got.WriteString(line)
			got.WriteString(perform(t, strings.TrimSpace(call), dir, env))
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
			got.WriteString(line)
		}
	}
	if got.String() == string(text) {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s:\n%s", path, firstDifference(got.String(), string(text)))
}

// perform makes one call and returns its outcome as the script has it.
func perform(t *testing.T, call, dir string, env map[string]string) string {
	t.Helper()
	for name, value := range env {
		call = strings.ReplaceAll(call, name, value)
	}
	vars, words := split(call)
	cmd := exec.Command("/proc/self/exe", words[1:]...)
	switch words[0] {
	case "sh":
		cmd = exec.Command("sh", "-c", strings.TrimPrefix(call, "sh "))
	case "unblend":
		cmd.Args[0] = "unblend"
		cmd.Env = append(append(os.Environ(), envMain+"=1"), vars...)
	default:
		t.Fatalf("a call of %q", words[0])
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, dir
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	out := prefixed("> ", stdout.String()) + prefixed("! ", stderr.String())
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		out += fmt.Sprintf("= %d\n", code)
	}
	for name, value := range env {
		out = strings.ReplaceAll(out, value, name)
	}
	return scrub(out)
}

// split cuts a call into the settings and the words behind them; ' quotes whole words.
func split(call string) (vars, words []string) {
	for i, part := range strings.Split(call, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	for strings.Contains(words[0], "=") {
		vars, words = append(vars, words[0]), words[1:]
	}
	return vars, words
}

func prefixed(prefix, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(prefix+line, " \n") + "\n")
	}
	return b.String()
}

// scrub replaces what no two runs or machines have in common.
func scrub(s string) string {
	for pattern, with := range map[string]string{
		`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`: "UUID",
		`\(pid \d+\)`:                            "(pid N)",
		`"pid": \d+`:                             `"pid": N`,
		`go1\.[0-9.a-z]+`:                        "GO",
		`Linux [0-9][^\s)]*`:                     "LINUX",
		`"kernel": "[^"]*"`:                      `"kernel": "LINUX"`,
		`"created": "20[^"]*"`:                   `"created": "TIME"`,
		`"number": "[^"]*"`:                      `"number": "NUMBER"`,
		`"(rotational|volatile_cache|fua)": \w+`: `"$1": QUEUE`,
		`"seconds": [0-9.e-]+`:                   `"seconds": N`,
		`, \d+(\.\d+)? [mun]?s$`:                 ", N s",
		`0x[0-9a-f]{1,8}\b`:                      "0xCRC",
		`^! time=.*\n`:                           "", // the daemon's log
	} {
		s = regexp.MustCompile("(?m)"+pattern).ReplaceAllString(s, with)
	}
	return s
}

// firstDifference shows the first lines that differ.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := 0; ; i++ {
		switch {
		case i >= len(g):
			return fmt.Sprintf("line %d: missing: %s", i+1, w[i])
		case i >= len(w):
			return fmt.Sprintf("line %d: too much: %s", i+1, g[i])
		case g[i] != w[i]:
			return fmt.Sprintf("line %d:\n got: %s\nwant: %s", i+1, g[i], w[i])
		}
	}
}
