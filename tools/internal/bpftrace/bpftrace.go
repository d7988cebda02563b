// Package bpftrace has bpftrace count the writes to a range of a disk, and how many of them start
// where the one before them ended. It is the witness that tests and benchmarks hold the project's
// own figures against: nothing of it is the project's. It needs root, and bpftrace.
package bpftrace

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"unblend/tools/internal/blocktrace"
)

// Times that bpftrace may take: it compiles its program, which takes up to minutes on an emulated
// processor; from then on it prints its counts every second.
const (
	attachTime = 4 * time.Minute
	printTime  = time.Minute
)

// Counts is what was seen so far.
type Counts struct {
	Writes     uint64
	Sequential uint64 // writes that start where the one before them ended
}

// Sub returns what was counted since earlier.
func (c Counts) Sub(earlier Counts) Counts {
	return Counts{c.Writes - earlier.Writes, c.Sequential - earlier.Sequential}
}

// Share returns Sequential as a share of all, 0 to 1.
func (c Counts) Share() float64 {
	if c.Writes == 0 {
		return 0
	}
	return float64(c.Sequential) / float64(c.Writes)
}

// Witness is a bpftrace that counts. It is for one goroutine.
type Witness struct {
	cmd       *exec.Cmd
	lines     chan Counts // the latest; closed at its end
	complaint strings.Builder
}

// program counts the writes to the sectors from the second number up to the third of a device.
// Requests carry sectors of the whole disk, and flags that begin with what they do.
const program = `tracepoint:block:block_rq_issue
/ args->dev == %d && args->sector >= %d && args->sector < %d && strncmp(args->rwbs, "W", 1) == 0 /
{ @writes++; if (args->sector == @end) { @sequential++; } @end = args->sector + args->nr_sector; }
interval:s:1 { printf("%%d %%d\n", @writes, @sequential); }`

// Start begins to count the writes to the bytes [start, end) of a disk, and returns when it does.
func Start(disk blocktrace.Device, start, end int64) (*Witness, error) {
	text := fmt.Sprintf(program, disk.Major<<20|disk.Minor, start/blocktrace.SectorSize,
		end/blocktrace.SectorSize)
	w := &Witness{cmd: exec.Command("bpftrace", "-e", text), lines: make(chan Counts, 1)}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.cmd.Stderr = &w.complaint
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bpftrace: %w", err)
	}
	go func() {
		defer close(w.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			if c, ok := parse(s.Text()); ok {
				w.keep(c)
			}
		}
	}()
	if _, err := w.next(attachTime); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// keep makes c what is read next: what nobody has read is too old.
func (w *Witness) keep(c Counts) {
	select {
	case <-w.lines:
	default:
	}
	w.lines <- c
}

// parse reads a line of the program's output; bpftrace prints others as well.
func parse(line string) (c Counts, ok bool) {
	n, err := fmt.Sscanf(line, "%d %d", &c.Writes, &c.Sequential)
	return c, n == 2 && err == nil
}

// next returns what is printed next.
func (w *Witness) next(within time.Duration) (Counts, error) {
	select {
	case c, more := <-w.lines:
		if !more {
			return c, errors.New("bpftrace has ended")
		}
		return c, nil
	case <-time.After(within):
		return Counts{}, fmt.Errorf("bpftrace printed nothing for %v", within)
	}
}

// Counts returns what was seen up to now: it waits for the second count that is printed, because the
// first one may have been made before.
func (w *Witness) Counts() (Counts, error) {
	select {
	case <-w.lines:
	default:
	}
	if _, err := w.next(printTime); err != nil {
		return Counts{}, err
	}
	return w.next(printTime)
}

// Close ends bpftrace. What it has complained of is an error.
func (w *Witness) Close() error {
	err := w.cmd.Process.Signal(unix.SIGINT)
	for range w.lines {
	}
	if end := w.cmd.Wait(); end != nil && w.complaint.Len() > 0 {
		err = errors.Join(err, fmt.Errorf("bpftrace: %w: %s", end, w.complaint.String()))
	}
	return err
}
