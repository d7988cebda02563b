package uring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestMain fails the run when descriptors are left open at its end.
func TestMain(m *testing.M) {
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

// skip skips the test with the reason; where nothing may be skipped it fails it.
func skip(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("UNBLEND_NO_SKIP") == "1" {
		t.Fatalf("nothing may be skipped here: %v", err)
	}
	t.Skipf("skipped: %v", err)
}

// newRing makes a ring on the test's goroutine, which it locks to its thread for good.
func newRing(t testing.TB, o Options) *Ring {
	t.Helper()
	runtime.LockOSThread()
	r, err := New(o)
	if errors.Is(err, ErrDisabled) || errors.Is(err, ErrUnsupported) {
		skip(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// newFile makes a file of n bytes that is gone with the test.
func newFile(t testing.TB, n int64) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(n); err != nil {
		t.Fatal(err)
	}
	return f
}

// newArena makes an arena that is gone with the test.
func newArena(t testing.TB, n int) *Arena {
	t.Helper()
	a, err := NewArena(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Free() })
	return a
}

// one submits what is queued and returns the one completion.
func one(t testing.TB, r *Ring) CQE {
	t.Helper()
	return several(t, r, 1)[0]
}

// several submits what is queued and returns n completions, in order.
func several(t testing.TB, r *Ring, n int) []CQE {
	t.Helper()
	out := make([]CQE, n)
	for got := 0; got < n; {
		if err := r.SubmitAndWait(1, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		m := r.Reap(out[got:])
		if m == 0 {
			t.Fatalf("%d of %d completions after 10 s", got, n)
		}
		got += m
	}
	return out
}

// result submits one queued operation and checks what it returned.
func result(t testing.TB, r *Ring, queued bool, want int32) {
	t.Helper()
	if !queued {
		t.Fatal("submission queue full")
	}
	if c := one(t, r); c.Res != want {
		t.Fatalf("result %d (%v), want %d", c.Res, c.Errno(), want)
	}
}
