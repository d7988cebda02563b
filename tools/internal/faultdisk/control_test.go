package faultdisk

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestControlSocket(t *testing.T) {
	s := newServer(t, mem("d0", 4096), mem("d1", 4096))
	path := filepath.Join(t.TempDir(), "ctl")
	if err := s.ListenControl(path); err != nil {
		t.Fatal(err)
	}
	r, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Fail(Fault{Disk: "d1", Op: Write, Torn: true, Seed: 3, Errno: syscall.ENOSPC}))
	must(r.Delay("d0", Write, time.Millisecond))
	c := connect(t, s, "d1")
	if err := c.write(0, fill(1, 4096), 0); err != syscall.ENOSPC {
		t.Errorf("write: %v", err)
	}
	must(r.Heal())
	must(c.write(0, fill(1, 4096), 0))
	must(c.write(0, fill(2, 512), 0))
	st, err := r.Stats()
	must(err)
	if fmt.Sprint(st) != fmt.Sprint(s.Stats()) || st.Disks[1].Writes != 3 {
		t.Errorf("stats %+v, want %+v", st, s.Stats())
	}
	rep, err := r.Off(5, None)
	must(err)
	if rep.Mode != None || rep.Connections != 1 || rep.Disks[1].Durable != 8 || !c.closed() {
		t.Errorf("off: %+v", rep)
	}
	if st := s.Stats(); !st.Off {
		t.Error("the power is on after off")
	}
	must(r.On())
	connect(t, s, "d1")
	if rep, err = r.Cut(1, All); err != nil || rep.Connections != 1 || s.Stats().Cuts != 2 {
		t.Errorf("cut: %+v, %v", rep, err)
	}
}

func TestControlErrorsKeepTheConnection(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	path := filepath.Join(t.TempDir(), "ctl")
	if err := s.ListenControl(path); err != nil {
		t.Fatal(err)
	}
	r, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, line := range []string{
		``, `{`, `[]`, `{"verb":"explode"}`, `{"verb":"fail"}`, `{"verb":"cut","mode":"some"}`,
		`{"verb":"fail","fault":{"op":"scribble"}}`, `{"verb":"delay","op":"write","delay":"soon"}`,
		`{"verb":"cut","seed":-1}`,
	} {
		got, err := r.Do([]byte(line))
		if err != nil || !strings.Contains(string(got), `"ok":false,"error":`) {
			t.Errorf("%q: %s, %v", line, got, err)
		}
	}
	if _, err := r.Stats(); err != nil {
		t.Error(err)
	}
	if _, err := r.Do([]byte(strings.Repeat("x", lineMax+1))); err == nil {
		t.Error("a line without end is read")
	}
}

func TestCloseEndsControlConnections(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	path := filepath.Join(t.TempDir(), "ctl")
	if err := s.ListenControl(path); err != nil {
		t.Fatal(err)
	}
	r, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Stats(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // would wait for ever on the open connection
		t.Fatal(err)
	}
	if _, err := r.Stats(); err == nil {
		t.Error("a closed server answers")
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for op := Read; op < opCount; op++ {
		var got Op
		text, err := op.MarshalText()
		if err != nil || got.UnmarshalText(text) != nil || got != op {
			t.Errorf("operation %s: %s, %v", op, got, err)
		}
	}
	for m := Random; m < modeCount; m++ {
		var got Mode
		if text, err := m.MarshalText(); err != nil || got.UnmarshalText(text) != nil || got != m {
			t.Errorf("mode %s: %s, %v", m, got, err)
		}
	}
	_, opErr := opCount.MarshalText()
	_, modeErr := modeCount.MarshalText()
	if opErr == nil || modeErr == nil {
		t.Error("unknown values have names")
	}
	if opCount.String() != "op(5)" || modeCount.String() != "mode(6)" {
		t.Errorf("unknown values print as %s and %s", opCount, modeCount)
	}
}

func TestParseDisk(t *testing.T) {
	got, err := ParseDisk("d0:3G,sector=4096,file=/a/b,rotational,nofua,lying")
	want := DiskConfig{
		Name: "d0", Size: 3 << 30, Sector: 4096, File: "/a/b",
		Rotational: true, NoFUA: true, Lying: true,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	sizes := map[string]int64{"0": 0, "512": 512, "1K": 1024, "2M": 2 << 20, "1T": 1 << 40}
	for text, want := range sizes {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("size %s: %d, %v", text, got, err)
		}
	}
	for _, arg := range []string{
		"", "d0", "d0:", "d0:x", "d0:1G,", "d0:1G,sector=1", "d0:1G,file", "d0:1G,file=",
		"d0:1G,fast",
		":1G", "d0:-4096", "d0:9999999999G", "d0:1000", "d0:1G,lying=yes", "d0:K",
	} {
		if c, err := ParseDisk(arg); err == nil {
			t.Errorf("%q is accepted: %+v", arg, c)
		}
	}
}
