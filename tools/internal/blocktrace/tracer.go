package blocktrace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrUnavailable is returned where the kernel cannot be watched: no tracefs, or no permission.
var ErrUnavailable = errors.New("block requests cannot be watched")

// tracefs is where it is mounted since Linux 4.1, and where it is found through debugfs.
var tracefs = []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}

// bufferKiB is the size of the kernel's buffer for each CPU. An event takes about 100 bytes.
const bufferKiB = 8192

// pollMillis is how long Next waits before it looks whether Stop was called.
const pollMillis = 50

// Tracer collects the events of some devices, in a trace instance of its own. One goroutine calls
// Next; any may call Stop.
type Tracer struct {
	dir     string
	pipe    int
	buf     []byte
	pending []byte // read, and not yet returned
	lost    int
	stopped atomic.Bool
}

// Options say what a Tracer collects.
type Options struct {
	Devices     []Device // at least one
	Completions bool     // completions as well as issues
	WritesOnly  bool     // leaves out reads and discards
}

// Open starts to collect. Errors wrap ErrUnavailable.
func Open(o Options) (*Tracer, error) {
	t := &Tracer{pipe: -1, buf: make([]byte, 256<<10)}
	if err := t.open(o); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, err), t.Close())
	}
	return t, nil
}

func (t *Tracer) open(o Options) error {
	root := ""
	for _, dir := range tracefs {
		if _, err := os.Stat(filepath.Join(dir, "instances")); err == nil {
			root = dir
			break
		}
	}
	if root == "" {
		return errors.New("tracefs is not mounted at " + tracefs[0])
	}
	dir, err := os.MkdirTemp(filepath.Join(root, "instances"), "unblend-")
	if err != nil {
		return err
	}
	t.dir = dir
	events := []string{"block_rq_issue"}
	if o.Completions {
		events = append(events, "block_rq_complete")
	}
	// One clock for all CPUs, the one that programs have as well.
	err = errors.Join(t.set("trace_clock", "mono"), t.set("buffer_size_kb", fmt.Sprint(bufferKiB)))
	if err != nil {
		return err
	}
	t.pipe, err = unix.Open(filepath.Join(dir, "trace_pipe"),
		unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for _, e := range events {
		err := errors.Join(t.set("events/block/"+e+"/filter", filter(o)),
			t.set("events/block/"+e+"/enable", "1"))
		if err != nil {
			return err
		}
	}
	return nil
}

// filter is the kernel's condition for an event to be kept.
func filter(o Options) string {
	var devs []string
	for _, d := range o.Devices {
		devs = append(devs, fmt.Sprintf("dev == %d", d.number()))
	}
	f := strings.Join(devs, " || ")
	if o.WritesOnly {
		f = "(" + f + `) && (rwbs ~ "W*" || rwbs ~ "F*")`
	}
	return f
}

func (t *Tracer) set(file, value string) error {
	return os.WriteFile(filepath.Join(t.dir, file), []byte(value), 0)
}

// Next returns the next event; io.EOF when Stop was called and all were returned.
func (t *Tracer) Next() (Event, error) {
	for {
		if i := bytes.IndexByte(t.pending, '\n'); i >= 0 {
			line := string(t.pending[:i])
			t.pending = t.pending[i+1:]
			if e, ok := parseEvent(line); ok {
				return e, nil
			}
			var cpu, n int
			if _, err := fmt.Sscanf(line, "CPU:%d [LOST %d EVENTS]", &cpu, &n); err == nil {
				t.lost += n
			}
			continue
		}
		if err := t.fill(); err != nil {
			return Event{}, err
		}
	}
}

// fill reads more of the kernel's text, and waits for it.
func (t *Tracer) fill() error {
	t.pending = append([]byte(nil), t.pending...) // the rest of a line, out of buf
	for {
		last := t.stopped.Load()
		n, err := unix.Read(t.pipe, t.buf)
		switch {
		case n > 0:
			t.pending = append(t.pending, t.buf[:n]...)
			return nil
		case err == unix.EINTR:
		case err != nil && err != unix.EAGAIN:
			return fmt.Errorf("trace_pipe: %w", err)
		case last:
			return io.EOF
		default:
			fds := []unix.PollFd{{Fd: int32(t.pipe), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, pollMillis); err != nil && err != unix.EINTR {
				return fmt.Errorf("trace_pipe: %w", err)
			}
		}
	}
}

// Lost returns how many events the kernel dropped because they were not read soon enough.
func (t *Tracer) Lost() int { return t.lost }

// Stop ends collecting: Next returns what is there, then io.EOF.
func (t *Tracer) Stop() error {
	err := t.set("events/block/enable", "0")
	t.stopped.Store(true)
	return err
}

// Close removes the trace instance. Next must not be under way.
func (t *Tracer) Close() error {
	var err error
	if t.pipe >= 0 {
		err = unix.Close(t.pipe)
		t.pipe = -1
	}
	if t.dir != "" {
		dir := t.dir
		t.dir = ""
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "events/enable"), []byte("0"), 0),
			os.Remove(dir))
	}
	return err
}
