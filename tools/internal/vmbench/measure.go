package vmbench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"unblend/tools/internal/blocktrace"
)

// pairsEnv asks for fewer pairs, or more.
const pairsEnv = "UNBLEND_PAIRS"

const (
	pairs      = 5
	runTime    = 4 * time.Second
	fourTime   = 15 * time.Second
	fourDepth  = 32
	attachTime = 2 * time.Minute // that bpftrace may take, emulated
)

// alternate runs fio on all targets in turn, at both depths, pairs times. Every other round runs
// backwards, so that no target always follows the same one.
func (b *bed) alternate() ([]Run, error) {
	var runs []Run
	for pair := 1; pair <= pairs; pair++ {
		for _, depth := range []int{32, 1} {
			for i := range targets {
				t := targets[i]
				if pair%2 == 0 {
					t = targets[len(targets)-1-i]
				}
				r, err := fioWrite([]string{b.paths[t]}, depth, runTime)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", t, err)
				}
				runs = append(runs, Run{pair, t, depth, r.iops, r.p50, r.p99})
			}
		}
	}
	return runs, nil
}

// fourVolumes writes to four volumes at once while bpftrace looks at the log device.
func (b *bed) fourVolumes(ctx context.Context) (*Four, error) {
	f := &Four{Depth: fourDepth}
	program, err := b.logProgram(ctx)
	if err != nil {
		return f, err
	}
	p, err := startBpftrace(program)
	if err != nil {
		return f, err
	}
	before, err := guestWrites(b.four)
	if err != nil {
		return f, err
	}
	r, err := fioWrite(b.four, fourDepth, fourTime)
	if err != nil {
		return f, err
	}
	after, err := guestWrites(b.four)
	if err != nil {
		return f, err
	}
	var sequential uint64
	if f.LogWrites, sequential, err = p.stop(); err != nil {
		return f, err
	}
	f.IOPS, f.GuestWrites = r.iops, after-before
	f.PerLogWrite = float64(f.GuestWrites) / float64(f.LogWrites)
	f.Sequential = float64(sequential) / float64(f.LogWrites)
	return f, nil
}

// guestWrites returns how many writes the kernel counted on devices.
func guestWrites(paths []string) (uint64, error) {
	total := uint64(0)
	for _, p := range paths {
		d, err := blocktrace.DeviceOf(p)
		if err != nil {
			return 0, err
		}
		c, err := d.Counts()
		if err != nil {
			return 0, err
		}
		total += c.Writes
	}
	return total, nil
}

// logProgram returns a bpftrace program that counts the writes to the log, and those of them that
// start where the last one ended. Requests carry sectors of the whole disk.
func (b *bed) logProgram(ctx context.Context) (string, error) {
	st, err := b.prog.Status(ctx)
	if err != nil {
		return "", err
	}
	start, err := sh("cat /sys/class/block/%s/start", strings.TrimPrefix(poolDevice, "/dev/"))
	if err != nil {
		return "", err
	}
	var at int64
	if _, err := fmt.Sscan(start, &at); err != nil {
		return "", fmt.Errorf("start of the partition: %w", err)
	}
	disk, err := blocktrace.DeviceOf(nullDevice)
	if err != nil {
		return "", err
	}
	for _, r := range st.Regions {
		if r.Class == "log" {
			return fmt.Sprintf(`tracepoint:block:block_rq_issue
				/ args->dev == %d && args->sector >= %d && args->sector < %d &&
				  strncmp(args->rwbs, "W", 1) == 0 /
				{ @writes++; if (args->sector == @end) { @sequential++; }
				  @end = args->sector + args->nr_sector; }
				interval:s:1 { printf("attached\n"); }`,
				disk.Major<<20|disk.Minor, at+r.Start/blocktrace.SectorSize,
				at+r.End/blocktrace.SectorSize), nil
		}
	}
	return "", errors.New("status names no log")
}

// bpftrace is a running one.
type bpftrace struct {
	cmd    *exec.Cmd
	output *bufio.Reader
}

// startBpftrace starts a program and waits until it is attached.
func startBpftrace(program string) (*bpftrace, error) {
	p := &bpftrace{cmd: exec.Command("timeout", "-s", "INT",
		fmt.Sprint(int((attachTime + 10*fourTime).Seconds())), "bpftrace", "-e", program)}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaint strings.Builder
	p.cmd.Stderr = &complaint
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bpftrace: %w", err)
	}
	p.output = bufio.NewReader(out)
	for {
		line, err := p.output.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("bpftrace: %w: %s", errors.Join(err, p.cmd.Wait()),
				complaint.String())
		}
		if strings.TrimSpace(line) == "attached" {
			return p, nil
		}
	}
}

// stop ends bpftrace as ^C does and returns its counts.
func (p *bpftrace) stop() (writes, sequential uint64, err error) {
	// timeout passes the signal on.
	if _, err := sh("kill -INT %d", p.cmd.Process.Pid); err != nil {
		return 0, 0, err
	}
	text, err := io.ReadAll(p.output)
	if err != nil {
		return 0, 0, fmt.Errorf("bpftrace: %w", err)
	}
	_ = p.cmd.Wait() // its status says that a signal ended it
	return parseBpftrace(string(text))
}

// parseBpftrace reads the maps that bpftrace prints at its end.
func parseBpftrace(text string) (writes, sequential uint64, err error) {
	for line := range strings.Lines(text) {
		_, _ = fmt.Sscanf(line, "@writes: %d", &writes)
		_, _ = fmt.Sscanf(line, "@sequential: %d", &sequential)
	}
	if writes == 0 {
		return 0, 0, fmt.Errorf("bpftrace: no counts in %q", text)
	}
	return writes, sequential, nil
}
