package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// sourceVariable names a Debian archive when the machine's apt knows none (or a closer one).
const sourceVariable = "UNBLEND_VM_SOURCE"

// debianKeyring holds the keys that sign Debian's archive.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// archive runs apt on one suite of Debian's archive, with lists, state and cache of its own: the
// machine's are neither used nor changed. Its settings, a proxy for one, stay in force.
type archive struct {
	suite string
	opts  []string
}

// openArchive prepares the archive's files in dir and fetches the suite's package list.
func openArchive(ctx context.Context, dir, suite string) (*archive, error) {
	source, err := debianSource()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	list := filepath.Join(dir, "sources.list")
	line := fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", debianKeyring, source, suite)
	if err := os.WriteFile(list, []byte(line), 0o644); err != nil {
		return nil, err
	}
	a := &archive{suite: suite}
	for _, o := range []string{
		"Dir::Etc::sourcelist=" + list,
		"Dir::Etc::sourceparts=/dev/null",
		"Dir::State=" + filepath.Join(dir, "state"),
		"Dir::State::lists=" + filepath.Join(dir, "lists"),
		"Dir::State::status=/dev/null",
		"Dir::Cache=" + filepath.Join(dir, "cache"),
		"APT::Architecture=amd64",
		"APT::Architectures=amd64",
		"APT::Sandbox::User=root", // the unprivileged user of apt cannot write here
	} {
		a.opts = append(a.opts, "-o", o)
	}
	_, err = a.run(ctx, ".", "apt-get", "update", "--error-on=any")
	return a, err
}

// search returns the names of the packages that match an extended regular expression.
func (a *archive) search(ctx context.Context, expression string) ([]string, error) {
	out, err := a.run(ctx, ".", "apt-cache", "search", "--names-only", expression)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	return names, nil
}

// download fetches packages into dir.
func (a *archive) download(ctx context.Context, dir string, packages []string) error {
	_, err := a.run(ctx, dir, "apt-get", append([]string{"download"}, packages...)...)
	return err
}

// run runs an apt program in dir and returns what it printed.
func (a *archive) run(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, append(slices.Clone(a.opts), args...)...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s (%s): %w: %s",
			program, args[0], a.suite, err, lastLines(stderr.String(), 5))
	}
	return string(out), nil
}

// debianSource returns the address of the Debian archive that this machine's apt uses.
func debianSource() (string, error) {
	if s := os.Getenv(sourceVariable); s != "" {
		return s, nil
	}
	files, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return "", err
	}
	for _, f := range append(files, "/etc/apt/sources.list") {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("apt source: %w", err)
		}
		if s := sourceIn(string(text)); s != "" {
			return s, nil
		}
	}
	return "", &MissingError{Reason: "no Debian archive in /etc/apt: set " + sourceVariable +
		" to the address of one, http://HOST/debian"}
}

// debianAddress matches the address of an archive whose path ends in /debian, in both formats of
// apt's sources.
var debianAddress = regexp.MustCompile(`\bhttps?://\S+/debian/?(\s|$)`)

// sourceIn returns the Debian archive that one file of apt's sources names, or nothing.
func sourceIn(text string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if strings.HasPrefix(line, "deb ") || strings.HasPrefix(line, "URIs:") {
			if s := debianAddress.FindString(line); s != "" {
				return strings.TrimSpace(s)
			}
		}
	}
	return ""
}

// lastLines returns the last n lines of text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
