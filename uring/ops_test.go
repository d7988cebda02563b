package uring

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func fill(b []byte, seed byte) {
	for i := range b {
		b[i] = seed + byte(i)*7
	}
}

func TestReadAndWrite(t *testing.T) {
	r := newRing(t, Options{})
	f, a := newFile(t, 1<<20), newArena(t, 64<<10)
	fd := FD(int(f.Fd()))
	w, got := a.Alloc(8192, 4096), a.Alloc(8192, 4096)
	fill(w, 1)
	result(t, r, r.Write(1, fd, w, 4096, Attr{RW: unix.RWF_DSYNC}), 8192)
	result(t, r, r.Read(2, fd, got, 4096, Attr{}), 8192)
	if !bytes.Equal(got, w) {
		t.Error("read other bytes than written")
	}
	result(t, r, r.Fsync(3, fd, false), 0)
	result(t, r, r.Read(4, fd, got, 1<<20, Attr{}), 0)
	result(t, r, r.Read(5, FD(1<<20), got, 0, Attr{}), -int32(unix.EBADF))
}

func TestVectors(t *testing.T) {
	r := newRing(t, Options{})
	f, a := newFile(t, 1<<20), newArena(t, 256<<10)
	fd := FD(int(f.Fd()))
	whole := a.Alloc(32<<10, 4096)
	fill(whole, 9)
	parts := [][]byte{whole[:4096], whole[4096:4608], whole[4608 : 20<<10], whole[20<<10:]}
	result(t, r, r.WriteV(1, fd, parts, 512, Attr{}), 32<<10)
	got := a.Alloc(32<<10, 4096)
	result(t, r, r.ReadV(2, fd, [][]byte{got[:100], got[100:]}, 512, Attr{}), 32<<10)
	if !bytes.Equal(got, whole) {
		t.Error("read other bytes than written")
	}
	result(t, r, r.WriteV(3, fd, nil, 0, Attr{}), 0)
}

func TestRegisteredBuffers(t *testing.T) {
	r := newRing(t, Options{})
	f, a := newFile(t, 1<<20), newArena(t, 64<<10)
	fd := FD(int(f.Fd()))
	b := [][]byte{a.Alloc(8192, 4096), a.Alloc(8192, 4096)}
	if err := r.RegisterBuffers(b); err != nil {
		t.Fatal(err)
	}
	fill(b[0], 3)
	result(t, r, r.WriteFixed(1, fd, b[0][4096:], 0, 0, Attr{}), 4096)
	result(t, r, r.ReadFixed(2, fd, b[1][:4096], 1, 0, Attr{}), 4096)
	if !bytes.Equal(b[1][:4096], b[0][4096:]) {
		t.Error("read other bytes than written")
	}
	result(t, r, r.ReadFixed(3, fd, b[1][:4096], 0, 0, Attr{}), -int32(unix.EFAULT))
	if err := r.UnregisterBuffers(); err != nil {
		t.Fatal(err)
	}
}

func TestFallocatePunchesHoles(t *testing.T) {
	r := newRing(t, Options{})
	f, a := newFile(t, 0), newArena(t, 64<<10)
	fd := FD(int(f.Fd()))
	w := a.Alloc(16<<10, 4096)
	fill(w, 5)
	result(t, r, r.Write(1, fd, w, 0, Attr{}), 16<<10)
	mode := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
	if !r.Fallocate(2, fd, mode, 4096, 8192) {
		t.Fatal("no room")
	}
	if c := one(t, r); c.Errno() == unix.EOPNOTSUPP {
		skip(t, errors.New("the file system of the temporary directory has no holes"))
	} else if c.Res != 0 {
		t.Fatal(c.Errno())
	}
	got := make([]byte, 16<<10)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	clear(w[4096:12288])
	if !bytes.Equal(got, w) {
		t.Error("not zeros, or not only there")
	}
}

func TestPollAndCancel(t *testing.T) {
	r := newRing(t, Options{})
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	r.PollAdd(1, FD(p[0]), unix.POLLIN)
	if err := r.SubmitAndWait(1, 20*time.Millisecond); err != nil || r.Ready() != 0 {
		t.Fatalf("an empty pipe is readable (%v)", err)
	}
	if _, err := unix.Write(p[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	if c := one(t, r); c.UserData != 1 || c.Res&unix.POLLIN == 0 {
		t.Fatalf("poll: %+v", c)
	}
	r.Timeout(2, time.Hour)
	r.Cancel(3, 2)
	for _, c := range several(t, r, 2) {
		if c.UserData == 2 && c.Errno() != unix.ECANCELED || c.UserData == 3 && c.Res != 0 {
			t.Errorf("%+v", c)
		}
	}
	r.Cancel(4, 2)
	if c := one(t, r); c.Errno() != unix.ENOENT {
		t.Errorf("cancelled what was gone: %v", c.Errno())
	}
}

func TestCommandToAFileWithoutCommands(t *testing.T) {
	r := newRing(t, Options{})
	f := newFile(t, 0)
	result(t, r, r.UringCmd(1, FD(int(f.Fd())), 1, 0, 0), -int32(unix.EOPNOTSUPP))
}

func TestLimitWorkers(t *testing.T) {
	r := newRing(t, Options{})
	if _, _, err := r.LimitWorkers(3, 5); err != nil {
		t.Fatal(err)
	}
	b, u, err := r.LimitWorkers(0, 0)
	if err != nil || b != 3 || u != 5 {
		t.Errorf("limits %d and %d (%v), want 3 and 5", b, u, err)
	}
}

// A ring serves its own thread only; the kernel says so.
func TestOtherThreadIsRefused(t *testing.T) {
	r := newRing(t, Options{})
	errs := make(chan error)
	go func() {
		_, _, err := r.LimitWorkers(0, 0)
		errs <- err
	}()
	if err := <-errs; !errors.Is(err, unix.EEXIST) {
		t.Errorf("another thread got %v, want EEXIST", err)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	r := newRing(t, Options{Entries: 32})
	f, a := newFile(t, 1<<20), newArena(t, 64<<10)
	fd := FD(int(f.Fd()))
	bufs := [][]byte{a.Alloc(4096, 4096), a.Alloc(4096, 4096)}
	var out [32]CQE
	turn := func() {
		r.Nop(1)
		r.Write(2, fd, bufs[0], 0, Attr{RW: unix.RWF_DSYNC})
		r.ReadV(3, fd, bufs, 0, Attr{})
		r.WriteV(4, fd, bufs, 8192, Attr{})
		r.Fsync(5, fd, true)
		r.Timeout(6, time.Microsecond)
		r.UringCmd(7, fd, 1, 2, 3)
		for n := 0; n < 7; {
			if err := r.SubmitAndWait(1, time.Second); err != nil {
				t.Fatal(err)
			}
			n += r.Reap(out[:])
		}
	}
	turn()
	if n := testing.AllocsPerRun(200, turn); n != 0 {
		t.Errorf("%v allocations per turn", n)
	}
	if n := testing.AllocsPerRun(50, func() {
		if err := r.SubmitAndWait(1, 3*time.Millisecond); err != nil { // raw, then idle
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per idle wait", n)
	}
}

func TestArena(t *testing.T) {
	a := newArena(t, 5000)
	if len(a.Bytes()) != 8192 {
		t.Errorf("%d bytes, want whole pages", len(a.Bytes()))
	}
	x, y := a.Alloc(10, 8), a.Alloc(100, 64)
	if len(x) != 10 || cap(x) != 10 || address(y)%64 != 0 || address(y)-address(x) != 64 {
		t.Error("wrong cut")
	}
	defer func() {
		if recover() == nil {
			t.Error("cut more than there is")
		}
	}()
	a.Alloc(8192, 1)
}

func BenchmarkNop1(b *testing.B)  { benchmarkNop(b, 1) }
func BenchmarkNop32(b *testing.B) { benchmarkNop(b, 32) }

// benchmarkNop sends batches around the ring; the figure is per operation.
func benchmarkNop(b *testing.B, batch int) {
	r := newRing(b, Options{Entries: 64})
	var out [64]CQE
	for i := 0; i < b.N; i += batch {
		for range batch {
			r.Nop(1)
		}
		if err := r.SubmitAndWait(uint32(batch), -1); err != nil {
			b.Fatal(err)
		}
		r.Reap(out[:])
	}
}
