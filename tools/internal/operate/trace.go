package operate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
)

// Trace is a trace under way that prints one report, at its end.
type Trace struct {
	cmd       *exec.Cmd
	out       bytes.Buffer
	complaint *bufio.Reader
}

// interrupted is the status of a trace that was ended as ^C does.
const interrupted = 130

// Trace begins a view of the verb trace and returns when it counts.
func (p Program) Trace(ctx context.Context, view string, more ...string) (*Trace, error) {
	tr := &Trace{cmd: exec.CommandContext(ctx, p.Path,
		append([]string{"trace", view, "--json", "--socket", p.Socket()}, more...)...)}
	tr.cmd.Stdout = &tr.out
	pipe, err := tr.cmd.StderrPipe()
	if err == nil {
		err = tr.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("unblend trace: %w", err)
	}
	tr.complaint = bufio.NewReader(pipe)
	if line, err := tr.complaint.ReadString('\n'); !strings.Contains(line, "tracing") {
		return nil, fmt.Errorf("unblend trace %s: %w: %s", view, errors.Join(err, tr.cmd.Wait()), line)
	}
	return tr, nil
}

// End ends the trace and reads its report.
func (tr *Trace) End(doc any) error {
	if err := tr.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("unblend trace: %w", err)
	}
	said, err := io.ReadAll(tr.complaint)
	_ = tr.cmd.Wait() // its status is looked at
	if status := tr.cmd.ProcessState.ExitCode(); err != nil || status != interrupted {
		return errors.Join(err, &VerbError{tr.cmd.Args[1:], status, string(said)})
	}
	if err := json.Unmarshal(tr.out.Bytes(), doc); err != nil {
		return fmt.Errorf("unblend trace: %w: %s", err, tr.out.Bytes())
	}
	return nil
}
