package operate

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// script returns a Program that is a shell script.
func script(t *testing.T, text string) Program {
	t.Helper()
	dir := t.TempDir()
	p := Program{Path: filepath.Join(dir, "unblend"), Dir: dir}
	if err := os.WriteFile(p.Path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestVerbs(t *testing.T) {
	ctx := context.Background()
	p := script(t, `case $1 in
		create) echo "/dev/unblend/$4 ublkb0 1 GiB thin" ;;
		status) echo '{"schema":"unblend/status/v1","state":"ok"}' ;;
		*) echo "volume \"x\": no such volume" >&2; exit 3 ;;
		esac`)
	if dev, err := p.Create(ctx, "web1", "1G"); dev != "/dev/unblend/web1" || err != nil {
		t.Errorf("%q, %v", dev, err)
	}
	if st, err := p.Status(ctx); st.State != "ok" || err != nil {
		t.Errorf("%+v, %v", st, err)
	}
	_, err := p.Ask(ctx, "rm", "x")
	var failed *VerbError
	if !errors.As(err, &failed) || failed.Status != 3 {
		t.Errorf("%v, want status 3", err)
	}
	if want := "unblend rm --socket " + p.Socket() +
		` x: status 3: volume "x": no such volume`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// daemonEnv makes the test binary a daemon, which says that it is ready and waits for its end.
const daemonEnv = "OPERATE_TEST_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(daemonEnv) == "" {
		os.Exit(m.Run())
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err == nil {
		_, err = conn.Write([]byte("STATUS=recovering"))
	}
	if err == nil {
		_, err = conn.Write([]byte("STATUS=serving\nREADY=1"))
	}
	if err != nil {
		os.Exit(1)
	}
	<-end
}

func TestDaemon(t *testing.T) {
	t.Setenv(daemonEnv, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := Program{Path: self, Dir: t.TempDir()}
	d, err := p.Serve(context.Background(), "/dev/pool")
	if err != nil {
		t.Fatal(err)
	}
	rss, err := d.PeakRSS()
	if err != nil || rss < 1<<20 || d.Ended() || d.Ready <= 0 {
		t.Errorf("%d bytes, %v, ended %t, ready after %v", rss, err, d.Ended(), d.Ready)
	}
	if err := d.Stop(); err != nil || !d.Ended() {
		t.Errorf("stopped: %v, ended %t", err, d.Ended())
	}
	if d, err = p.Serve(context.Background(), "/dev/pool"); err != nil {
		t.Fatal(err)
	}
	d.Kill()
	if !d.Ended() {
		t.Error("it was killed and has not ended")
	}
	if err := d.Stop(); err == nil {
		t.Error("a dead daemon was stopped")
	}
}

func TestDaemonThatEndsEarly(t *testing.T) {
	p := script(t, "echo no such pool: $2 >&2; exit 1")
	_, err := p.Serve(context.Background(), "/dev/none")
	if err == nil || !strings.Contains(err.Error(), "no such pool: /dev/none") {
		t.Errorf("%v", err)
	}
}

func TestTrace(t *testing.T) {
	p := script(t, `trap 'echo "{\"seconds\":2}"; exit 130' INT
		echo unblend: tracing until interrupted >&2
		while :; do sleep 0.01; done`)
	tr, err := p.Trace(t.Context(), "blend")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Seconds int }
	if err := tr.End(&doc); err != nil || doc.Seconds != 2 {
		t.Errorf("%+v, %v", doc, err)
	}
	p = script(t, "echo unblend: no BPF >&2; exit 6")
	if _, err := p.Trace(t.Context(), "blend"); err == nil || !strings.Contains(err.Error(), "no BPF") {
		t.Errorf("%v", err)
	}
}
