package operate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a daemon may take until it is ready, or has ended: emulated machines are
// slow.
const patience = time.Minute

// Daemon is a running `unblend serve`.
type Daemon struct {
	prog  Program
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
	err   error         // of the process, once ended is closed

	// Ready is how long it took from the start of the process until it said that it is ready.
	Ready time.Duration
}

// Serve starts the daemon on a pool and returns when it is ready. More arguments go to serve.
func (p Program) Serve(ctx context.Context, pool string, more ...string) (*Daemon, error) {
	notify := filepath.Join(p.Dir, "notify")
	if err := os.Remove(notify); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	defer conn.Close()
	logFile, err := os.OpenFile(p.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	defer logFile.Close()
	args := append([]string{"serve", pool, "--socket", p.Socket()}, more...)
	d := &Daemon{prog: p, cmd: exec.Command(p.Path, args...), ended: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	d.cmd.Stdout, d.cmd.Stderr = logFile, logFile
	begin := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	if err := d.waitReady(ctx, conn, begin); err != nil {
		d.Kill()
		return nil, fmt.Errorf("daemon: %w; its log ends with:\n%s", err, p.LogEnd())
	}
	return d, nil
}

// waitReady waits until the daemon says so.
func (d *Daemon) waitReady(ctx context.Context, conn *net.UnixConn, begin time.Time) error {
	buf := make([]byte, 4096)
	for {
		select {
		case <-d.ended:
			return fmt.Errorf("it ended: %w", d.err)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("not ready within %v", patience)
		}
		if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return err
		}
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				d.Ready = time.Since(begin)
				return nil
			}
		}
	}
}

// PID returns the number of the process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Kill kills the daemon as kill -9 does, and returns when the process is gone.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill() // fails only if the process has ended, which is what is wanted
	<-d.ended
}

// Stop ends the daemon as systemd does and returns when it has ended.
func (d *Daemon) Stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.Kill()
		return fmt.Errorf("daemon: it did not end within %v; its log ends with:\n%s", patience,
			d.prog.LogEnd())
	}
	if d.err != nil {
		return fmt.Errorf("daemon: %w; its log ends with:\n%s", d.err, d.prog.LogEnd())
	}
	return nil
}

// Ended reports whether the process is gone.
func (d *Daemon) Ended() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// PeakRSS returns the most memory that the process has had at a time, in bytes (VmHWM).
func (d *Daemon) PeakRSS() (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", d.PID()))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell VmHWM")
}

// LogEnd returns the last lines that daemons wrote, for an error.
func (p Program) LogEnd() string {
	text, err := os.ReadFile(p.Log())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
