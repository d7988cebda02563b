package ublk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"unblend/uring"

	"golang.org/x/sys/unix"
)

// patience is how long a control command may take: emulated machines are slow.
const patience = 20 * time.Second

// helperEnv makes the test binary a program of its own: a server to be killed, and others.
const helperEnv = "UBLK_TEST_HELPER"

func TestMain(m *testing.M) {
	if what := os.Getenv(helperEnv); what != "" {
		if err := helper(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	before := len(openFiles())
	code := m.Run()
	if after := openFiles(); code == 0 && len(after) > before {
		fmt.Fprintf(os.Stderr, "descriptors leaked, of these: %q\n", after)
		code = 1
	}
	os.Exit(code)
}

// openFiles returns what this process has open, the runtime's own aside.
func openFiles() (names []string) {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		to, err := os.Readlink(l)
		if err == nil && to != "anon_inode:[eventpoll]" && to != "anon_inode:[eventfd]" {
			names = append(names, to)
		}
	}
	return names
}

func helper(what string) error {
	switch what {
	case "serve":
		return serveUntilKilled()
	case "process":
		return prepareAndCheck()
	}
	return fmt.Errorf("no helper %q", what)
}

// skip skips the test with the reason; where nothing may be skipped it fails it.
func skip(t testing.TB, reason any) {
	t.Helper()
	if os.Getenv("UNBLEND_NO_SKIP") == "1" {
		t.Fatalf("nothing may be skipped here: %v", reason)
	}
	t.Skipf("skipped: %v", reason)
}

// control opens the control device; devices that the test leaves behind are deleted.
func control(t testing.TB) *Control {
	t.Helper()
	c, err := OpenControl()
	for _, reason := range []error{ErrNoDriver, ErrPermission, uring.ErrDisabled} {
		if errors.Is(err, reason) {
			skip(t, err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// serve serves target until the end of the test.
func serve(t testing.TB, c *Control, cfg ServeConfig, target Target) *Server {
	t.Helper()
	cfg.Device.ID, cfg.Device.Want, cfg.Timeout = AnyID, NoAutoPartScan, patience
	s, err := Serve(c, cfg, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newNull(t testing.TB, size int64) *Null {
	t.Helper()
	n, err := NewNull(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// backing makes a file of size bytes, and a target on it.
func backing(t testing.TB, size int64) (string, *File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backing")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, f
}

// disk is a block device opened for direct I/O.
type disk struct {
	t  testing.TB
	fd int
}

// openDisk opens a device past the page cache. Whoever is to make the node may be slow.
func openDisk(t testing.TB, path string) disk {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err == nil {
			d := disk{t, fd}
			t.Cleanup(d.close)
			return d
		}
		if err != unix.ENOENT || time.Now().After(deadline) {
			t.Fatalf("open %s: %v", path, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// close closes the device early; it is closed at the end of the test in any case.
func (d *disk) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

func (d disk) read(b []byte, off int64) {
	d.t.Helper()
	if n, err := unix.Pread(d.fd, b, off); err != nil || n != len(b) {
		d.t.Fatalf("read of %d bytes at %d: %d, %v", len(b), off, n, err)
	}
}

func (d disk) write(b []byte, off int64) {
	d.t.Helper()
	if n, err := unix.Pwrite(d.fd, b, off); err != nil || n != len(b) {
		d.t.Fatalf("write of %d bytes at %d: %d, %v", len(b), off, n, err)
	}
}

func (d disk) sync() {
	d.t.Helper()
	if err := unix.Fsync(d.fd); err != nil {
		d.t.Fatalf("fsync: %v", err)
	}
}

// zero sends BLKDISCARD or BLKZEROOUT.
func (d disk) zero(request uint, off, n int64) {
	d.t.Helper()
	arg := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), uintptr(request),
		uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		d.t.Fatalf("ioctl %#x of %d bytes at %d: %v", request, n, off, errno)
	}
}

func (d disk) size() int64 {
	d.t.Helper()
	n, err := unix.Seek(d.fd, 0, io.SeekEnd)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// aligned returns memory for direct I/O.
func aligned(t testing.TB, n int) []byte {
	t.Helper()
	a, err := uring.NewArena(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Free() })
	return a.Alloc(n, 4096)
}

// stamp fills b with bytes that depend on every argument.
func stamp(b []byte, seed uint64) {
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
}

// gone waits until a path does not exist any more.
func gone(t testing.TB, path string) {
	t.Helper()
	waitFor(t, "the end of "+path, func() bool {
		_, err := os.Stat(path)
		return errors.Is(err, os.ErrNotExist)
	})
}

// waitFor waits until done says true, and fails the test when it takes too long.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
