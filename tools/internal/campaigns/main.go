// Command campaigns adds up docs/campaigns.jsonl: what all runs of each kind of campaign have seen so
// far, and how much of the engine has changed since the last of them.
//
//	go run ./tools/internal/campaigns            print the table
//	go run ./tools/internal/campaigns -update    put it into docs/CRASH.md
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const (
	figures = "docs/campaigns.jsonl"
	page    = "docs/CRASH.md"

	begin = "<!-- campaigns: made by make campaigns -->\n"
	end   = "<!-- end of campaigns -->\n"
)

func main() {
	update := flag.Bool("update", false, "put the table into "+page)
	flag.Parse()
	if err := run(*update); err != nil {
		fmt.Fprintln(os.Stderr, "campaigns:", err)
		os.Exit(1)
	}
}

func run(update bool) error {
	f, err := os.Open(figures)
	if err != nil {
		return err
	}
	defer f.Close()
	sums, err := add(f)
	if err != nil {
		return fmt.Errorf("%s: %w", figures, err)
	}
	text := table(sums, engineChanges)
	if !update {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	doc, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	out, err := between(string(doc), text)
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(out), 0o644)
}

// between puts text where the page has the marks for it.
func between(doc, text string) (string, error) {
	head, rest, ok := strings.Cut(doc, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", errors.New(page + " has no place for the table")
	}
	return head + begin + "\n" + text + "\n" + end + tail, nil
}

// engineChanges returns how many commits have changed the engine since one; "?" if that is unknown.
func engineChanges(commit string) string {
	commit = strings.TrimSuffix(commit, "+") // it had more changes
	out, err := exec.Command("git", "rev-list", "--count", commit+"..", "--", "log/*.go", "placement/*.go",
		":!*_test.go").Output()
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(out))
}
