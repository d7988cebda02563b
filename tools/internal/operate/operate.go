// Package operate does with the program what an operator does: it runs verbs, starts the daemon as
// systemd would, kills it, and starts it again. The demo, the benchmarks and the tests on real
// kernels use it, so that they see what a user sees.
package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"unblend/tools/internal/control"
)

// Program is an installed unblend, and the directory in which its daemon's socket, log and links
// are, so that two of them do not meet.
type Program struct {
	Path string // of the program
	Dir  string // exists
}

// Socket returns the path of the control socket.
func (p Program) Socket() string { return filepath.Join(p.Dir, "socket") }

// Log returns the path of the file to which daemons write what they have to say.
func (p Program) Log() string { return filepath.Join(p.Dir, "daemon.log") }

// VerbError is a verb that failed.
type VerbError struct {
	Args   []string
	Status int    // exit status; -1: killed
	Stderr string // what it said
}

func (e *VerbError) Error() string {
	return fmt.Sprintf("unblend %s: status %d: %s", strings.Join(e.Args, " "), e.Status,
		strings.TrimSpace(e.Stderr))
}

// Run runs a verb to its end and returns what it printed. A status other than 0 is a *VerbError.
func (p Program) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.Path, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.String(), &VerbError{args, exit.ExitCode(), complaint.String()}
	}
	if err != nil {
		return "", fmt.Errorf("unblend: %w", err)
	}
	return out.String(), nil
}

// Ask runs a verb that talks to the daemon.
func (p Program) Ask(ctx context.Context, verb string, args ...string) (string, error) {
	return p.Run(ctx, append([]string{verb, "--socket", p.Socket()}, args...)...)
}

// Create makes a volume and returns the path of its device, the first word that is printed.
func (p Program) Create(ctx context.Context, name, size string, more ...string) (string, error) {
	out, err := p.Ask(ctx, "create", append([]string{name, "--size", size}, more...)...)
	if err != nil {
		return "", err
	}
	words := strings.Fields(out)
	if len(words) == 0 {
		return "", fmt.Errorf("unblend create %s: it printed nothing", name)
	}
	return words[0], nil
}

// statusWorse is the status with which "status" says that the pool is not as it should be.
const statusWorse = 5

// Status asks the daemon how the pool is, and returns what it says of a degraded one, too.
func (p Program) Status(ctx context.Context) (control.Status, error) {
	var doc control.Status
	out, err := p.Ask(ctx, "status", "--json")
	if failed, ok := err.(*VerbError); ok && failed.Status == statusWorse && out != "" {
		err = nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &doc)
	}
	return doc, err
}
