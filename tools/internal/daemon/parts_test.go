package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
)

func TestNameLocks(t *testing.T) {
	var l nameLocks
	ctx := context.Background()
	unlock, err := l.lock(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := l.lock(ctx, "b"); err != nil {
		t.Error(err)
	} else {
		other()
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := l.lock(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a name that is taken: %v", err)
	}
	unlock()
	var wg sync.WaitGroup
	busy := false
	for range 50 {
		wg.Go(func() {
			unlock, err := l.lock(ctx, "a")
			if err != nil || busy {
				t.Errorf("two have the name, %v", err)
				return
			}
			busy = true
			busy = false
			unlock()
		})
	}
	wg.Wait()
	if len(l.m) != 0 {
		t.Errorf("%d names are kept after the last use", len(l.m))
	}
}

func TestWarnings(t *testing.T) {
	var w warnings
	w.set("a", "first\n", "do")
	w.set("b", "second", "")
	w.set("a", "third\nfourth\n", "do")
	got := w.all()
	if len(got) != 2 || got[0].Message != "third; fourth" || got[1].Code != "b" {
		t.Errorf("%+v", got)
	}
	w.clear("a")
	if got := w.all(); len(got) != 1 || got[0].Code != "b" {
		t.Errorf("after clear: %+v", got)
	}
	for i := range 2 * maxWarnings {
		w.set(strconv.Itoa(i), "many", "")
	}
	if n := len(w.all()); n != maxWarnings {
		t.Errorf("%d warnings, want %d", n, maxWarnings)
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	n := newNotifier()
	n.status("recovering")
	buf := make([]byte, 100)
	if k, err := conn.Read(buf); string(buf[:k]) != "STATUS=recovering" {
		t.Errorf("got %q, %v", buf[:k], err)
	}
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"3000000", "", 3 * time.Second},
		{"3000000", strconv.Itoa(os.Getpid()), 3 * time.Second},
		{"3000000", "1", 0},
		{"", "", 0},
		{"x", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		if got := n.watchdog(); got != c.want {
			t.Errorf("watchdog %+v: %v", c, got)
		}
	}
	t.Setenv("NOTIFY_SOCKET", "")
	none := newNotifier()
	none.send("READY=1")
	if none.watchdog() != 0 {
		t.Error("a watchdog without systemd")
	}
}

func TestLinks(t *testing.T) {
	d := &daemon{
		cfg:    control.ServeConfig{LinkDir: filepath.Join(t.TempDir(), "links")},
		served: map[string]*served{"a": {}},
	}
	claim, err := claimLinks(d.cfg.LinkDir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claimLinks(d.cfg.LinkDir); control.ErrorOf(err).Code != control.CodeInUse {
		t.Errorf("a second claim: %v", err)
	}
	for id, name := range []string{"a", "b", "a"} {
		if err := d.link(name, uint32(id)); err != nil {
			t.Fatal(err)
		}
	}
	if to, err := os.Readlink(d.linkPath("a")); to != "/dev/ublkb2" {
		t.Errorf("a leads to %q, %v", to, err)
	}
	own := filepath.Join(d.cfg.LinkDir, "own")
	if err := os.Symlink("/dev/null", own); err != nil {
		t.Fatal(err)
	}
	d.sweepLinks()
	left, err := filepath.Glob(filepath.Join(d.cfg.LinkDir, "*"))
	if want := []string{d.linkPath("a"), own}; fmt.Sprint(left) != fmt.Sprint(want) {
		t.Errorf("left %v, want %v, %v", left, want, err)
	}
	d.unlink("a")
	claim.release()
	if _, err := os.Stat(d.cfg.LinkDir); err != nil {
		t.Error("a directory with somebody else's file was removed")
	}
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	if claim, err = claimLinks(d.cfg.LinkDir); err != nil {
		t.Fatal(err)
	}
	claim.release()
	if _, err := os.Stat(d.cfg.LinkDir); err == nil {
		t.Error("the empty directory is left behind")
	}
}

func TestAlive(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if !alive(pid) {
		t.Error("a running process is dead")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); alive(pid); time.Sleep(time.Millisecond) { // a zombie until Wait
		if time.Since(begin) > 10*time.Second {
			t.Fatal("a killed process stays alive")
		}
	}
	_ = cmd.Wait() // killed
	if alive(pid) || alive(-1) || alive(os.Getpid()) {
		t.Error("no process, none and this one count as alive")
	}
}

func TestNumbers(t *testing.T) {
	d := &daemon{numbers: map[int]string{0: "x", 1: "y", 5: "z"}}
	for _, c := range []struct {
		name       string
		want, free int
	}{
		{"a", -1, 2}, // the lowest
		{"b", 7, 7},
		{"c", 7, 3}, // b has it
		{"z", 5, 5}, // its own, from before
	} {
		if got := d.takeNumber(c.name, c.want); got != c.free {
			t.Errorf("%s wants %d: got %d, want %d", c.name, c.want, got, c.free)
		}
	}
	d.giveNumber(2)
	if got := d.takeNumber("d", -1); got != 2 {
		t.Errorf("got %d, want the 2 that was given back", got)
	}
}

func TestJudge(t *testing.T) {
	broken := errors.New("fast device: write failed")
	for _, c := range []struct {
		name  string
		st    placement.Status
		s     control.Status
		state string
		code  string
	}{
		{name: "well", state: control.PoolOK},
		{
			name: "read-only", st: placement.Status{ReadOnly: broken},
			state: control.PoolReadOnly, code: "read-only",
		},
		{
			name: "read-only and damaged", st: placement.Status{ReadOnly: broken},
			s:     control.Status{Damage: control.DamageStatus{ReadErrors: 1}},
			state: control.PoolReadOnly, code: "damage",
		},
		{
			name: "no log", st: placement.Status{NoLog: true, ReadOnly: placement.ErrWithoutLog},
			state: control.PoolReadOnly,
		},
		{
			name: "bad blocks", s: control.Status{Damage: control.DamageStatus{BadBlocks: 2}},
			state: control.PoolDegraded, code: "bad-blocks",
		},
		{
			name: "pages repaired",
			s: control.Status{
				Damage: control.DamageStatus{PageDamage: 2, PageRepairs: 2},
			}, state: control.PoolOK,
		},
		{
			name: "pages damaged",
			s: control.Status{
				Damage: control.DamageStatus{PageDamage: 2, PageRepairs: 1},
			}, state: control.PoolDegraded, code: "metadata",
		},
		{
			name: "not restored", s: control.Status{Warnings: []control.Warning{{Code: "not-restored"}}},
			state: control.PoolDegraded, code: "not-restored",
		},
		{
			name: "nearly full", s: control.Status{Warnings: []control.Warning{{Code: codeSpace}}},
			state: control.PoolDegraded, code: codeSpace,
		},
		{
			name: "no driver", s: control.Status{Warnings: []control.Warning{{Code: "no-ublk"}}},
			state: control.PoolOK, code: "no-ublk",
		},
	} {
		c.s.State = control.PoolOK
		judge(&c.s, c.st)
		found := c.code == ""
		for _, w := range c.s.Warnings {
			found = found || w.Code == c.code
		}
		if c.s.State != c.state || !found {
			t.Errorf("%s: %s, %+v; want %s and %q", c.name, c.s.State, c.s.Warnings, c.state, c.code)
		}
	}
}

// TestMemoryIsDivided: whatever the size, the parts fit in it.
func TestMemoryIsDivided(t *testing.T) {
	for i, n := range []int64{
		control.MinMemory, control.DefaultMemory, control.DefaultMemory, 1 << 30, 1 << 30,
		control.MaxMemory, control.MaxMemory,
	} {
		d := &daemon{cfg: control.ServeConfig{Memory: n}, backing: &device.Pool{}}
		d.spins[log.Fast] = i%2 == 0
		complete(&d.cfg)
		o := d.options()
		sum := int64(d.requestMemory()) + int64(o.IndexEntries)*34 +
			int64(o.Frames+2*o.BatchBlocks)*log.BlockSize + fixedShare
		if sum > n+n/100 {
			t.Errorf("of %d bytes %d are given out", n, sum)
		}
		batch := 2 * int64(o.BatchBlocks) * log.BlockSize
		if d.spins[log.Fast] && batch < (n-control.DefaultMemory)/2 {
			t.Errorf("of %d bytes a hard disk's batches have %d", n, batch)
		}
		if n == control.DefaultMemory && (o.IndexEntries != indexEntries || o.Frames != frames) {
			t.Errorf("by default %d entries and %d frames", o.IndexEntries, o.Frames)
		}
	}
}
