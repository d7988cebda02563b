package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/device"
	"unblend/tools/internal/units"
	"unblend/ublk"
)

// envSocket makes the test binary a client of that socket, for tests that need another user.
const envSocket = "UNBLEND_TEST_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(envSocket); path != "" {
		_, err := NewClient(path, 10*time.Second).Status(context.Background())
		fmt.Print(ErrorOf(err))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// asNobody runs this test binary as a client with another user's identity.
func asNobody(t *testing.T, path string, gid uint32, groups ...uint32) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	exe := filepath.Join(filepath.Dir(path), "client")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = []string{envSocket + "=" + path}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: gid, Groups: groups},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("client: %v\n%s", err, out)
	}
	return string(out)
}

// openDir returns a directory that every user can reach.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "unblend-control-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOtherUsers holds that the socket's permissions keep others out, that the server does so too
// where the permissions were opened, and that the group is let in.
func TestOtherUsers(t *testing.T) {
	const group = 54321
	for _, x := range []struct {
		name  string
		group string
		mode  os.FileMode // of the socket, changed after the fact; 0: as it is
		gid   uint32
		more  []uint32
		says  string
	}{
		{"shut", "", 0, 65534, nil, "permission denied"},
		{"opened by hand", "", 0o666, 65534, nil, "user 65534 may not"},
		{"group", fmt.Sprint(group), 0, group, nil, "<nil>"},
		{"supplementary group", fmt.Sprint(group), 0, 65534, []uint32{7, group}, "<nil>"},
		{"other group", fmt.Sprint(group), 0o666, 65534, []uint32{7}, "user 65534 may not"},
	} {
		t.Run(x.name, func(t *testing.T) {
			path := filepath.Join(openDir(t), "s")
			l, err := Listen(path, x.group)
			if err != nil {
				t.Fatal(err)
			}
			s := NewServer(newFake(), "1", slog.New(slog.DiscardHandler))
			go func() {
				if err := s.Serve(l); err != nil {
					t.Error(err)
				}
			}()
			defer s.Close()
			if x.mode != 0 {
				if err := os.Chmod(path, x.mode); err != nil {
					t.Fatal(err)
				}
			}
			if got := asNobody(t, path, x.gid, x.more...); !strings.Contains(got, x.says) {
				t.Errorf("got %q, want %q", got, x.says)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, x := range []struct {
		peer  Peer
		known bool
		aud   audience
		group int
		want  bool
	}{
		{Peer{UID: 0}, true, owners, -1, true},
		{Peer{UID: me}, true, owners, -1, true},
		{Peer{UID: me + 1000, GID: 5}, true, members, -1, false},
		{Peer{UID: me + 1000, GID: 5}, true, members, 5, true},
		{Peer{UID: me + 1000, GID: 5}, true, owners, 5, false},
		{Peer{UID: me + 1000, GID: 6, Groups: []uint32{4, 5}}, true, members, 5, true},
		{Peer{UID: me + 1000, GID: 6, Groups: []uint32{4}}, true, members, 5, false},
		{Peer{}, false, members, 0, false},
	} {
		if err := admit(x.peer, x.known, x.aud, x.group); (err == nil) != x.want {
			t.Errorf("admit(%+v, %v, %d, %d) = %v", x.peer, x.known, x.aud, x.group, err)
		}
	}
}

func TestClientWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	refused := filepath.Join(dir, "refused")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: refused, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	u.SetUnlinkOnClose(false)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "absent"), refused, "/dev/null/x"} {
		_, err := NewClient(path, time.Minute).List(context.Background(), ListRequest{})
		e := ErrorOf(err)
		if e == nil || e.ExitCode() != 4 || !strings.Contains(e.Error(), path) || e.Next == "" {
			t.Errorf("%s: %v, want exit code 4, the path and what to do", path, err)
		}
	}
}

// TestClientGarbage holds that a client takes nothing for an answer that is none.
func TestClientGarbage(t *testing.T) {
	for _, x := range []struct {
		answer string
		exit   int
		says   string
	}{
		{"", 4, "went away"},
		{"SSH-2.0-OpenSSH_9.2\r\n", 4, "went away"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 6, "answers with"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 4, "no unblend daemon"},
		{"HTTP/1.1 500 X\r\nContent-Length: 5\r\n\r\nhello", 4, "no unblend daemon"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"schema\":", 4, "went away"},
		{
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + `{"schema":"unblend/list/v2"}`, 6,
			"unblend/list/v2",
		},
		{
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" +
				`{"schema":"unblend/list/v1","volumes":[{"name":"a","new":7}],"more":true}`, 0, "",
		},
	} {
		path := answering(t, x.answer)
		_, err := NewClient(path, 20*time.Second).List(context.Background(), ListRequest{})
		e := ErrorOf(err)
		switch {
		case x.exit == 0 && e != nil:
			t.Errorf("%.60q: %v", x.answer, e)
		case x.exit == 0:
		case e == nil || e.ExitCode() != x.exit || !strings.Contains(e.Error(), x.says):
			t.Errorf("%.60q: %v, want exit code %d and %q", x.answer, err, x.exit, x.says)
		}
	}
}

// answering makes a socket that gives every request the same answer.
func answering(t *testing.T, answer string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, err1 := c.Read(make([]byte, 4096))
			_, err2 := io.WriteString(c, answer)
			if errors.Join(err1, err2, c.Close()) != nil {
				return
			}
		}
	}()
	return path
}

func TestClientTimeout(t *testing.T) {
	b := newFake()
	b.block = make(chan struct{})
	defer close(b.block)
	path := serve(t, b, nil)
	_, err := NewClient(path, 100*time.Millisecond).Status(context.Background())
	if e := ErrorOf(err); e == nil || e.Code != CodeTimeout {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := NewClient(path, time.Minute).Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestClientChecksFirst holds that nonsense does not even reach the daemon.
func TestClientChecksFirst(t *testing.T) {
	c, ctx := NewClient(filepath.Join(t.TempDir(), "absent"), time.Second), context.Background()
	_, err1 := c.Create(ctx, CreateRequest{Name: "a/b", Size: 1 << 20})
	_, err2 := c.Create(ctx, CreateRequest{Name: "a", Size: 5})
	_, err3 := c.Remove(ctx, RemoveRequest{Name: "../x"})
	for _, err := range []error{err1, err2, err3} {
		if e := ErrorOf(err); e == nil || e.ExitCode() != 2 {
			t.Errorf("%v: want exit code 2", err)
		}
	}
}

func TestErrorOf(t *testing.T) {
	if ErrorOf(nil) != nil {
		t.Error("no error is an error")
	}
	for _, x := range []struct {
		err  error
		exit int
	}{
		{errors.New("anything"), 1},
		{placement.ErrExists, 1},
		{fmt.Errorf("create: %w", placement.ErrFull), 1},
		{context.DeadlineExceeded, 1},
		{device.ErrNoSpace, 1},
		{units.ErrSize, 2},
		{placement.ErrName, 2},
		{device.ErrSameRange, 2},
		{placement.ErrNoVolume, 3},
		{&Error{Code: CodeUnreachable}, 4},
		{&Error{Code: CodeDenied}, 4},
		{placement.ErrReadOnly, 5},
		{&placement.CorruptError{Dev: log.Fast}, 5},
		{placement.ErrTruncated, 5},
		{placement.ErrMissingDevice, 5},
		{placement.ErrVersion, 6},
		{ublk.ErrNoDriver, 6},
		{&ublk.UnsupportedError{Name: "x", Since: "6.16"}, 6},
		{&device.InUseError{Path: "/dev/sdb"}, 7},
		{&device.DataError{Path: "/dev/sdb", Found: []device.Signature{{Name: "x"}}}, 7},
		{placement.ErrAttached, 7},
		{fmt.Errorf("wrapped: %w", &Error{Code: CodeInUse, Message: "m"}), 7},
		{&Error{Code: "of-a-newer-daemon"}, 1},
	} {
		e := ErrorOf(x.err)
		if e.ExitCode() != x.exit || e.status() < 400 || e.Document().Exit != x.exit {
			t.Errorf("%v: exit code %d, status %d, want %d", x.err, e.ExitCode(), e.status(),
				x.exit)
		}
	}
	if e := ErrorOf(errors.New("a\x1b[2J\nb")); e.Message != "a?[2J; b" {
		t.Errorf("message %q", e.Message)
	}
}

func TestServeConfig(t *testing.T) {
	good := ServeConfig{
		Paths: []string{"/dev/sdb"}, Socket: DefaultSocket, Memory: DefaultMemory,
		LogInFlight: DefaultLogInFlight, Low: DefaultLow, High: DefaultHigh, OnFull: OnFullWait,
	}
	if err := good.Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for name, spoil := range map[string]func(*ServeConfig){
		"no device":        func(c *ServeConfig) { c.Paths = nil },
		"three devices":    func(c *ServeConfig) { c.Paths = make([]string, 3) },
		"little memory":    func(c *ServeConfig) { c.Memory = 1 << 20 },
		"absurd memory":    func(c *ServeConfig) { c.Memory = 1 << 50 },
		"no log writes":    func(c *ServeConfig) { c.LogInFlight = 0 },
		"many log writes":  func(c *ServeConfig) { c.LogInFlight = 1000 },
		"low above high":   func(c *ServeConfig) { c.Low, c.High = 80, 70 },
		"low equals high":  func(c *ServeConfig) { c.Low, c.High = 70, 70 },
		"high of 100":      func(c *ServeConfig) { c.High = 100 },
		"low of 0":         func(c *ServeConfig) { c.Low = 0 },
		"negative CPU":     func(c *ServeConfig) { c.CPUs = []int{-1} },
		"CPU 5000":         func(c *ServeConfig) { c.CPUs = []int{5000} },
		"unknown policy":   func(c *ServeConfig) { c.OnFull = "panic" },
		"unknown group":    func(c *ServeConfig) { c.SocketGroup = "no-such-group" },
		"long socket path": func(c *ServeConfig) { c.Socket = strings.Repeat("x", 200) },
	} {
		c := good
		spoil(&c)
		if e := ErrorOf(c.Validate()); e == nil || e.ExitCode() != 2 {
			t.Errorf("%s: %v, want exit code 2", name, e)
		}
	}
}

// FuzzDecodeRequest holds that no body panics, that refusals are short and say bad-request, and
// that what is accepted is valid.
func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"schema":"unblend/create-request/v1","name":"web1","size":1048576}`))
	f.Add([]byte(`{"name":"a","size":1e6,"queue_depth":1}`))
	f.Add([]byte(`{"name":"\ud800","size":[{}]}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var r CreateRequest
		err := decodeRequest(strings.NewReader(string(body)), &r)
		if err == nil {
			if placement.ValidName(r.Name) != nil || placement.ValidSize(r.Size) != nil ||
				r.QueueDepth < 0 {
				t.Fatalf("accepted %+v", r)
			}
			return
		}
		e := ErrorOf(err)
		if e.Code != CodeBadRequest || len(e.Message) > 400 {
			t.Fatalf("%.100q: code %s, message of %d bytes", body, e.Code, len(e.Message))
		}
	})
}
