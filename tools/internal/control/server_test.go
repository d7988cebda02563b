package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"unblend/placement"
)

func TestVerbs(t *testing.T) {
	b, log := newFake(), &bytes.Buffer{}
	t.Cleanup(func() { // after the server has ended
		for _, verb := range []string{"create", "rm", "shutdown"} {
			want := fmt.Sprintf("path=/v1/%s uid=%d", verb, os.Getuid())
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s is not in the log:\n%s", verb, log)
			}
		}
	})
	path := serve(t, b, func(s *Server) { s.log = slog.New(slog.NewTextHandler(log, nil)) })
	c, ctx := NewClient(path, time.Minute), context.Background()
	r, err := c.Create(ctx, CreateRequest{Name: "web1", Size: 20 << 30, QueueDepth: 64})
	if err != nil || r.Schema != SchemaVolume || r.Volume.Name != "web1" ||
		r.Volume.Size != 20<<30 {
		t.Errorf("create: %+v, %v", r, err)
	}
	if _, err := c.Attach(ctx, AttachRequest{Name: "web1", ReadOnly: true}); err != nil {
		t.Errorf("attach: %v", err)
	}
	if _, err := c.Detach(ctx, DetachRequest{Name: "web1", Force: true}); err != nil {
		t.Errorf("detach: %v", err)
	}
	d, err := c.Checkpoint(ctx, CheckpointRequest{Drain: true})
	if err != nil || d.Verb != "checkpoint" {
		t.Errorf("checkpoint: %+v, %v", d, err)
	}
	if d, err := c.Remove(ctx, RemoveRequest{Name: "web1"}); err != nil || d.Name != "web1" {
		t.Errorf("rm: %+v, %v", d, err)
	}
	if _, err := c.Shutdown(ctx, ShutdownRequest{}); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if s, err := c.Status(ctx); err != nil || s.State != PoolOK || s.Warnings == nil {
		t.Errorf("status: %+v, %v", s, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Daemon != "1.2.3" || v.PID != os.Getpid() {
		t.Errorf("version: %+v, %v", v, err)
	}
	want := []string{
		"create web1 21474836480 64 false", "attach web1 0 true", "detach web1 true",
		"checkpoint true", "rm web1 false", "shutdown false",
	}
	if !slices.Equal(b.calls, want) {
		t.Errorf("the backend saw %q, want %q", b.calls, want)
	}
}

func TestRefusals(t *testing.T) {
	b := newFake()
	path := serve(t, b, nil)
	c, ctx := NewClient(path, time.Minute), context.Background()
	for _, name := range []string{"web1", "busy"} {
		if _, err := c.Create(ctx, CreateRequest{Name: name, Size: 1 << 20}); err != nil {
			t.Fatal(err)
		}
	}
	_, twice := c.Create(ctx, CreateRequest{Name: "web1", Size: 1 << 20})
	_, absent := c.Attach(ctx, AttachRequest{Name: "nobody"})
	_, busy := c.Remove(ctx, RemoveRequest{Name: "busy"})
	for _, x := range []struct {
		err  error
		code Code
		exit int
		says string
	}{
		{twice, CodeExists, 1, `volume "web1": the name is taken`},
		{absent, CodeNotFound, 3, `volume "nobody": no such volume`},
		{busy, CodeInUse, 7, `volume "busy" is open by qemu (pid 4121, vm busy); stop the VM or: `},
	} {
		e := ErrorOf(x.err)
		if e == nil || e.Code != x.code || e.ExitCode() != x.exit ||
			!strings.HasPrefix(e.Error(), x.says) {
			t.Errorf("got %v (%+v), want %s", x.err, e, x.says)
		}
	}
}

func TestList(t *testing.T) {
	for _, n := range []int{0, 1, 2000} {
		b := newFake()
		for i := range n {
			name := fmt.Sprintf("v%04d", i)
			b.volumes[name] = Volume{Name: name, Size: int64(i)}
		}
		path := serve(t, b, nil)
		l, err := NewClient(path, time.Minute).List(context.Background(), ListRequest{})
		if err != nil || len(l.Volumes) != n || l.Volumes == nil {
			t.Fatalf("%d volumes: got %d, %v", n, len(l.Volumes), err)
		}
		for i, v := range l.Volumes {
			if v.Size != int64(i) {
				t.Fatalf("volume %d of %d is %+v", i, n, v)
			}
		}
	}
}

// TestListBreaks holds that a list that ends early is an error, wherever it ends.
func TestListBreaks(t *testing.T) {
	for _, at := range []int{0, 1, 500, 999} {
		b := newFake()
		for i := range 1000 {
			name := fmt.Sprintf("v%04d", i)
			b.volumes[name] = Volume{Name: name}
		}
		b.listErr, b.listMax = placement.ErrReadOnly, at
		path := serve(t, b, nil)
		l, err := NewClient(path, time.Minute).List(context.Background(), ListRequest{})
		if err == nil {
			t.Errorf("broken after %d: no error, %d volumes", at, len(l.Volumes))
		}
		if at == 0 && ErrorOf(err).Code != CodeDegraded {
			t.Errorf("broken before the first: %v", err)
		}
	}
}

// TestHostileRequests holds that no request is served that is not exactly right, that each is told
// why, and that the server lives on.
func TestHostileRequests(t *testing.T) {
	b := newFake()
	path := serve(t, b, nil)
	for _, x := range []struct{ request, status, says string }{
		{post("create", ""), "400", "empty"},
		{post("create", "{"), "400", "ends in the middle"},
		{post("create", "null"), "400", "not a JSON object"},
		{post("create", "[]"), "400", "not a JSON object"},
		{post("create", `"x"`), "400", "not a JSON object"},
		{post("create", `{"name":"a","size":1048576}{}`), "400", "something follows"},
		{post("create", `{"name":"a","size":1048576} x`), "400", "something follows"},
		{post("create", `{"name":"a","size":1048576,"colour":1}`), "400", "colour"},
		{post("create", `{"name":"a","size":"1M"}`), "400", "size"},
		{post("create", `{"name":"a","size":1e30}`), "400", "size"},
		{post("create", `{"name":"a","size":-4096}`), "400", "below 1 MiB"},
		{post("create", `{"name":"a","size":0}`), "400", "below 1 MiB"},
		{post("create", `{"name":"a","size":1048577}`), "400", "multiple of 4 KiB"},
		{post("create", `{"name":"a","size":9223372036854771712}`), "400", "above 256 TiB"},
		{post("create", `{"name":"a/b","size":1048576}`), "400", "/"},
		{post("create", `{"name":"..","size":1048576}`), "400", "begins"},
		{post("create", `{"name":"-a","size":1048576}`), "400", "begins"},
		{post("create", `{"name":"a b","size":1048576}`), "400", "has"},
		{post("create", `{"name":"","size":1048576}`), "400", "empty name"},
		{post("create", `{"name":"`+strings.Repeat("x", 300)+`"}`), "400", "300 bytes"},
		{post("create", `{"name":"a","size":1048576,"queue_depth":5000}`), "400", "queue depth"},
		{post("create", `{"schema":"unblend/create-request/v2","name":"a"}`), "400", "schema"},
		{post("create", `{"name":`+strings.Repeat("[", 30000)), "400", "request"},
		{post("create", `{"name":"a"`+strings.Repeat(" ", MaxRequest)+"}"), "413", "65536"},
		{post("rm", `{}`), "400", "empty name"},
		{post("nonsense", `{}`), "404", "no verb"},
		{post("list", `{}`), "405", "takes GET"},
		{"GET /v1/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405", "takes POST"},
		{"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "307", ""},
		{"\x00\x01\x02\r\n\r\n", "400", ""},
		{"GET / HTTP/9.9\r\n\r\n", "505", ""},
		{"GET /v1/list HTTP/1.1\r\nX: " + strings.Repeat("y", 1<<20) + "\r\n\r\n", "431", ""},
	} {
		got := exchange(t, path, x.request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+x.status) || !strings.Contains(got, x.says) {
			t.Errorf("%.70q: got %.300q, want %s and %q", x.request, got, x.status, x.says)
		}
	}
	if len(b.calls) != 0 {
		t.Errorf("the backend was called: %q", b.calls)
	}
	if _, err := NewClient(path, time.Minute).Status(context.Background()); err != nil {
		t.Errorf("the server does not answer any more: %v", err)
	}
}

// TestSlowClients holds that clients that stop sending are cut off and block nobody.
func TestSlowClients(t *testing.T) {
	path := serve(t, newFake(), func(s *Server) {
		s.http.ReadHeaderTimeout = 200 * time.Millisecond
		s.http.ReadTimeout = 400 * time.Millisecond
		s.http.IdleTimeout = 200 * time.Millisecond
	})
	for _, begun := range []string{
		"", "GET /v1/li", "POST /v1/create HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
	} {
		begin := time.Now()
		exchangeOpen(t, path, begun)
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("after %.20q the connection stayed for %v", begun, d)
		}
	}
}

// exchangeOpen sends the beginning of a request and waits until the server ends the connection.
func exchangeOpen(t *testing.T, path, begun string) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, begun); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after %.20q: not cut off", begun)
	}
}

// TestConnectionLimit holds that silent connections up to the limit do not keep others out for
// longer than a header may take.
func TestConnectionLimit(t *testing.T) {
	path := serve(t, newFake(), func(s *Server) {
		s.http.ReadHeaderTimeout = 300 * time.Millisecond
	})
	for range maxConns + 5 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := NewClient(path, 20*time.Second).Status(context.Background()); err != nil {
		t.Errorf("behind %d silent connections: %v", maxConns+5, err)
	}
}

func TestVerbTimeLimit(t *testing.T) {
	old := verbs
	defer func() { verbs = old }()
	verbs = slices.Clone(verbs)
	for i := range verbs {
		verbs[i].limit = 50 * time.Millisecond
	}
	b := newFake()
	b.block = make(chan struct{})
	path := serve(t, b, nil)
	_, err := NewClient(path, 20*time.Second).Status(context.Background())
	if e := ErrorOf(err); e == nil || e.Code != CodeTimeout {
		t.Errorf("a backend that does not answer: %v", err)
	}
}

func TestListenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	dir, err1 := os.Stat(filepath.Dir(path))
	sock, err2 := os.Stat(path)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if dir.Mode().Perm() != 0o750 || sock.Mode().Perm() != 0o660 {
		t.Errorf("directory %o, socket %o; want 750 and 660", dir.Mode().Perm(), sock.Mode().Perm())
	}
	if _, err := Listen(path, ""); ErrorOf(err) == nil || ErrorOf(err).ExitCode() != 7 {
		t.Errorf("a second daemon: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket of a closed daemon: %v", err)
	}
	l.unix.SetUnlinkOnClose(false)
	again, err := Listen(path, fmt.Sprint(os.Getgid()))
	if err != nil {
		t.Fatal(err)
	}
	again.unix.SetUnlinkOnClose(false) // as kill -9 leaves it
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	third, err := Listen(path, "")
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}

func TestSocketDir(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give a directory to a group")
	}
	for _, x := range []struct {
		own  bool
		want uint32
	}{{false, 0}, {true, 54321}} {
		dir := filepath.Join(t.TempDir(), "run")
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := socketDir(dir, 54321, x.own); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil || st.Gid != x.want || st.Mode&0o777 != 0o750 {
			t.Errorf("own %v: group %d, mode %o, %v", x.own, st.Gid, st.Mode, err)
		}
	}
}

func TestListenRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		path, group string
		exit        int
	}{
		{file, "", 7},
		{"", "", 2},
		{"@abstract", "", 2},
		{filepath.Join(dir, strings.Repeat("x", 120)), "", 2},
		{filepath.Join(dir, "no/such/dir/s"), "", 1},
		{filepath.Join(dir, "s"), "no-such-group", 2},
	} {
		_, err := Listen(x.path, x.group)
		if e := ErrorOf(err); e == nil || e.ExitCode() != x.exit {
			t.Errorf("Listen(%.40q, %q): %v, want exit code %d", x.path, x.group, err, x.exit)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file in the way: %q, %v", b, err)
	}
}

// TestDocumentsAreWellFormed holds that every document names its schema and that its zero value
// and its description agree.
func TestDocumentsAreWellFormed(t *testing.T) {
	for _, d := range Documents {
		fields := Describe(d.Type)
		if fields[0].Path != "schema" {
			t.Errorf("%s: the first field is %q", d.Schema, fields[0].Path)
		}
		for _, f := range fields {
			if f.Doc == "" || strings.HasSuffix(f.Doc, ".") {
				t.Errorf("%s: %s: documentation %q", d.Schema, f.Path, f.Doc)
			}
		}
		if b, err := json.Marshal(d.Type); err != nil || b[0] != '{' {
			t.Errorf("%s: %s, %v", d.Schema, b, err)
		}
	}
}

// TestSchemasAreStable compares all fields of all documents with those of testdata/schemas.txt.
// Within a version of a schema, fields may only be added: add the new lines to the file. To change
// or remove one, raise the version.
func TestSchemasAreStable(t *testing.T) {
	var b strings.Builder
	for _, d := range Documents {
		for _, f := range Describe(d.Type) {
			optional := ""
			if f.Optional {
				optional = " optional"
			}
			fmt.Fprintf(&b, "%s %s %s%s\n", d.Schema, f.Path, f.Type, optional)
		}
	}
	want, err := os.ReadFile("testdata/schemas.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		for line := range strings.Lines(b.String()) {
			if !strings.Contains(string(want), line) {
				t.Errorf("new: %s", line)
			}
		}
		for line := range strings.Lines(string(want)) {
			if !strings.Contains(b.String(), line) {
				t.Errorf("gone: %s", line)
			}
		}
	}
}
