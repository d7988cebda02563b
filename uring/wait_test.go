package uring

import (
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// storm sends this thread a signal every few hundred microseconds until the returned function is
// called.
func storm(t *testing.T) (stop func() (sent int64)) {
	t.Helper()
	// A handler of ours, so that the signal interrupts system calls and does nothing else.
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	pid, tid := os.Getpid(), unix.Gettid()
	var n atomic.Int64
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			if unix.Tgkill(pid, tid, syscall.SIGUSR1) == nil {
				n.Add(1)
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	return func() int64 {
		done.Store(true)
		wg.Wait()
		signal.Stop(ch)
		return n.Load()
	}
}

// giouring returns 0 and EINTR and leaves the rest to the caller.
func TestSignalsNeitherFailNorRepeatOperations(t *testing.T) {
	r := newRing(t, Options{Entries: 32})
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := newArena(t, 8).Alloc(8, 8)
	buf[0] = 1
	stop := storm(t)
	const rounds, each = 40, 8
	next := uint64(0)
	for range rounds {
		// Additions to an eventfd count how often each write was carried out; the timeout makes
		// the wait long enough to be interrupted, in its raw part and in its idle part.
		for range each {
			r.Write(next, FD(fd), buf, 0, Attr{})
			next++
		}
		r.Timeout(next, 5*time.Millisecond)
		next++
		seen := make(map[uint64]bool)
		for _, c := range several(t, r, each+1) {
			if seen[c.UserData] || c.Res != 8 && c.Errno() != unix.ETIME {
				t.Fatalf("completion %+v, seen before: %v", c, seen[c.UserData])
			}
			seen[c.UserData] = true
		}
	}
	sent := stop()
	var sum [8]byte
	if _, err := unix.Read(fd, sum[:]); err != nil {
		t.Fatal(err)
	}
	if got := int(sum[0]) | int(sum[1])<<8; got != rounds*each {
		t.Errorf("%d writes were carried out, want %d", got, rounds*each)
	}
	s := r.Stats()
	t.Logf("%d signals, %d enters, %d EINTR", sent, s.Enters, s.EINTR)
	if s.EINTR == 0 {
		t.Error("no call was interrupted: the test saw nothing")
	}
}

func TestWaitIsRawWhileBusyAndThroughTheSchedulerOnceIdle(t *testing.T) {
	r := newRing(t, Options{RawWait: 20 * time.Millisecond})
	const busy = 50
	for i := range busy {
		r.Timeout(uint64(i), 100*time.Microsecond)
		one(t, r)
	}
	s := r.Stats()
	if s.RawWaits < busy*9/10 || s.Waits > busy/10 {
		t.Errorf("busy: %d raw waits and %d others, want %d and 0", s.RawWaits, s.Waits, busy)
	}
	r.Timeout(0, 200*time.Millisecond)
	one(t, r)
	if idle := r.Stats(); idle.Waits == s.Waits {
		t.Error("idle for 200 ms without giving the P back")
	}
	s = r.Stats()
	r.Timeout(0, 100*time.Microsecond)
	one(t, r)
	if again := r.Stats(); again.RawWaits == s.RawWaits {
		t.Error("not raw after work came")
	}
}

func TestRawWaitCanBeSwitchedOff(t *testing.T) {
	r := newRing(t, Options{RawWait: -1})
	r.Timeout(0, time.Millisecond)
	one(t, r)
	if s := r.Stats(); s.RawWaits != 0 || s.Waits == 0 {
		t.Errorf("%d raw waits, %d others", s.RawWaits, s.Waits)
	}
}

func TestOneEnterPerTurn(t *testing.T) {
	r := newRing(t, Options{Entries: 32})
	var out [32]CQE
	for range 10 {
		before := r.Stats().Enters
		for i := range 20 {
			r.Nop(uint64(i))
		}
		if err := r.SubmitAndWait(1, -1); err != nil {
			t.Fatal(err)
		}
		if n := r.Reap(out[:]); n != 20 {
			t.Fatalf("%d completions, want 20", n)
		}
		if n := r.Stats().Enters - before; n != 1 {
			t.Fatalf("%d system calls, want 1", n)
		}
	}
	// What is ready costs none.
	r.Nop(1)
	if err := r.Submit(); err != nil {
		t.Fatal(err)
	}
	before := r.Stats().Enters
	if err := r.SubmitAndWait(1, -1); err != nil || r.Stats().Enters != before {
		t.Errorf("waited for what was ready (%v)", err)
	}
	r.Reap(out[:])
}

func TestWaitTimesOut(t *testing.T) {
	r := newRing(t, Options{})
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 20 * time.Millisecond} {
		start := time.Now()
		if err := r.SubmitAndWait(1, d); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < d || took > d+2*time.Second {
			t.Errorf("a wait of %v took %v", d, took)
		}
	}
}

func TestFullQueueSaysSoAndRecovers(t *testing.T) {
	r := newRing(t, Options{Entries: 4, Iovecs: 3})
	f, a := newFile(t, 0), newArena(t, 4096)
	bufs := [][]byte{a.Alloc(8, 8), a.Alloc(8, 8)}
	fd := FD(int(f.Fd()))
	if !r.WriteV(1, fd, bufs, 0, Attr{}) || r.WriteV(2, fd, bufs, 0, Attr{}) {
		t.Error("three iovecs serve two vectors of two")
	}
	for i := range 3 {
		if !r.Nop(uint64(i)) {
			t.Fatal("no room for 4 entries")
		}
	}
	if r.Room() != 0 || r.Nop(9) || r.Timeout(9, 1) || r.WriteV(9, fd, bufs[:1], 0, Attr{}) {
		t.Error("room for a fifth entry")
	}
	several(t, r, 4)
	if r.Room() != 4 || !r.WriteV(2, fd, bufs, 0, Attr{}) {
		t.Error("no room after submission")
	}
	one(t, r)
}

func TestWakerEndsAnEndlessWait(t *testing.T) {
	r := newRing(t, Options{})
	w, err := NewWaker(r, 77)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var work atomic.Int64
	const jobs = 200
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range jobs / 2 {
				work.Add(1)
				if err := w.Wake(); err != nil {
					t.Error(err)
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	w.Arm()
	for done := int64(0); done < jobs; {
		if c := one(t, r); c.UserData != 77 || c.Errno() != 0 {
			t.Fatalf("completion %+v", c)
		}
		w.Woken()
		done = work.Load()
		w.Arm()
	}
	wg.Wait()
	r.Cancel(1, 77)
	several(t, r, 2)
}
