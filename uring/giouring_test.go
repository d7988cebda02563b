package uring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// Each test here shows that one fault of giouring (commit 69588b89acb9) does not reach the users of
// this package. Faults in functions this package does not call have no test: Setup,
// RegisterBufferRing, RegisterFilesUpdateTag, RegisterBuffersUpdateTag, the SetupNoMmap path,
// SetData and GetData.

// dirty fills every byte of every entry's slot, as earlier operations may have.
func dirty(r *Ring) {
	all := unsafe.Slice((*byte)(r.sqes), uintptr(r.entries)*r.stride)
	for i := range all {
		all[i] = 0xff
	}
}

// entry returns the bytes of the entry filled last.
func entry(r *Ring) []byte {
	slot := uintptr(r.tail-1) & uintptr(r.entries-1)
	return unsafe.Slice((*byte)(unsafe.Add(r.sqes, slot*r.stride)), r.stride)
}

// prepareRW leaves rw_flags, addr3 and the last 8 bytes of the slot's former operation in place.
func TestEntryHoldsNothingOfItsSlotsPast(t *testing.T) {
	r := newRing(t, Options{Entries: 4})
	buf := newArena(t, 4096).Bytes()
	le := binary.LittleEndian
	dirty(r)

	r.Write(7, Fixed(3), buf, 8192, Attr{})
	want := make([]byte, 64)
	want[0], want[1] = giouring.OpWrite, giouring.SqeFixedFile
	le.PutUint32(want[4:], 3)
	le.PutUint64(want[8:], 8192)
	le.PutUint64(want[16:], address(buf))
	le.PutUint32(want[24:], 4096)
	le.PutUint64(want[32:], 7)
	if got := entry(r); !bytes.Equal(got, want) {
		t.Errorf("write entry\n got %x\nwant %x", got, want)
	}

	r.UringCmd(9, FD(5), 0xc0107520, 0x1111222233334444, 0x5555666677778888)
	want = make([]byte, 64)
	want[0] = giouring.OpUringCmd
	le.PutUint32(want[4:], 5)
	le.PutUint64(want[8:], 0xc0107520)
	le.PutUint64(want[32:], 9)
	le.PutUint64(want[48:], 0x1111222233334444)
	le.PutUint64(want[56:], 0x5555666677778888)
	if got := entry(r); !bytes.Equal(got, want) {
		t.Errorf("command entry\n got %x\nwant %x", got, want)
	}
	several(t, r, 2)
}

// The same with the 128-byte entries of a control ring.
func TestLargeEntryHoldsNothingOfItsSlotsPast(t *testing.T) {
	r := newRing(t, Options{Entries: 2, SQE128: true})
	dirty(r)
	var cmd [80]byte
	for i := range cmd {
		cmd[i] = byte(i + 1)
	}
	r.UringCmd128(1, FD(-1), 0x80207513, &cmd)
	if got := entry(r); !bytes.Equal(got[48:], cmd[:]) {
		t.Errorf("command bytes\n got %x\nwant %x", got[48:], cmd)
	}
	r.Nop(2)
	if got := entry(r); !bytes.Equal(got[40:], make([]byte, 88)) {
		t.Errorf("NOP entry ends in %x, want zeros", got[40:])
	}
	several(t, r, 2)
}

// With giouring, a write in the slot of an fdatasync carries RWF_HIPRI and fails with EINVAL.
func TestWriteAfterFsyncInTheSameSlot(t *testing.T) {
	r := newRing(t, Options{Entries: 1})
	f, buf := newFile(t, 0), newArena(t, 4096).Bytes()
	for range 3 {
		result(t, r, r.Fsync(1, FD(int(f.Fd())), true), 0)
		result(t, r, r.Write(2, FD(int(f.Fd())), buf, 0, Attr{}), 4096)
	}
}

// RegisterFiles hands the kernel 8-byte descriptors: index 1 becomes descriptor 0, and a write to
// index 2 lands in the file meant for index 1.
func TestRegisteredFilesAreTheFilesGiven(t *testing.T) {
	r := newRing(t, Options{})
	files, fds := make([]*os.File, 5), make([]int, 5)
	for i := range files {
		files[i] = newFile(t, 0)
		fds[i] = int(files[i].Fd())
	}
	if err := r.RegisterFiles(fds); err != nil {
		t.Fatal(err)
	}
	buf := newArena(t, 4096).Bytes()
	check := func(index, file int) {
		t.Helper()
		copy(buf, []byte{byte(index), byte(file)})
		result(t, r, r.Write(0, Fixed(index), buf[:2], 0, Attr{}), 2)
		got := make([]byte, 2)
		if _, err := files[file].ReadAt(got, 0); err != nil || !bytes.Equal(got, buf[:2]) {
			t.Fatalf("file %d holds %v (%v) after a write to index %d", file, got, err, index)
		}
	}
	for i := range files {
		check(i, i)
	}
	if err := r.UpdateFiles(1, []int{fds[3], -1, fds[0]}); err != nil {
		t.Fatal(err)
	}
	check(1, 3)
	check(3, 0)
	result(t, r, r.Write(0, Fixed(2), buf[:2], 0, Attr{}), -int32(unix.EBADF))
	if err := r.UnregisterFiles(); err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterFilesSparse(8); err != nil {
		t.Fatal(err)
	}
	if err := r.UpdateFiles(6, fds[4:]); err != nil {
		t.Fatal(err)
	}
	check(6, 4)
}

// RegisterFiles, RegisterFilesSparse and RegisterFilesTags return a nil error when the kernel
// refused.
func TestRegistrationErrorsAreReturned(t *testing.T) {
	r := newRing(t, Options{})
	for what, err := range map[string]error{
		"a closed descriptor": r.RegisterFiles([]int{1 << 20}),
		"no files":            r.RegisterFiles(nil),
		"2^31 sparse files":   r.RegisterFilesSparse(1 << 31),
		"a file in no table":  r.UpdateFiles(0, []int{0}),
		"no table":            r.UnregisterFiles(),
		"no buffers":          r.RegisterBuffers(nil),
		"no table of buffers": r.UnregisterBuffers(),
	} {
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			t.Errorf("registering %s: error %v, want the kernel's", what, err)
		}
	}
}

// UnregisterRingFd fails exactly when the ring is registered, so each closed ring keeps one of the
// thread's 16 places.
func TestClosedRingsLeaveNoRegistration(t *testing.T) {
	runtime.LockOSThread()
	for i := range 40 {
		r, err := New(Options{Entries: 2})
		if errors.Is(err, ErrDisabled) || errors.Is(err, ErrUnsupported) {
			skip(t, err)
		}
		if err != nil {
			t.Fatalf("ring %d: %v", i, err)
		}
		if r.enterFlags != uintptr(giouring.EnterRegisteredRing) {
			t.Fatalf("ring %d is not registered", i)
		}
		if err := r.Close(); err != nil {
			t.Fatalf("close ring %d: %v", i, err)
		}
	}
}

// giouring hides the fields of Params: no size of the completion queue can be chosen or read.
func TestCompletionQueueSize(t *testing.T) {
	r := newRing(t, Options{Entries: 8})
	if r.SQEntries() != 8 || r.CQEntries() != 16 {
		t.Errorf("%d and %d entries, want 8 and 16", r.SQEntries(), r.CQEntries())
	}
	big := newRing(t, Options{Entries: 8, CQEntries: 256})
	if big.SQEntries() != 8 || big.CQEntries() != 256 {
		t.Errorf("%d and %d entries, want 8 and 256", big.SQEntries(), big.CQEntries())
	}
	for i := range 200 {
		if !big.Nop(uint64(i)) {
			if err := big.Submit(); err != nil {
				t.Fatal(err)
			}
			big.Nop(uint64(i))
		}
	}
	for i, c := range several(t, big, 200) {
		if c.UserData != uint64(i) {
			t.Fatalf("completion %d is of %d", i, c.UserData)
		}
	}
}

// PeekBatchCQE fills the whole slice, with stale pointers behind what is ready.
func TestReapReturnsOnlyWhatIsReady(t *testing.T) {
	r := newRing(t, Options{Entries: 16})
	for i := range 16 {
		r.Nop(100 + uint64(i))
	}
	several(t, r, 16)
	for i := range 3 {
		r.Nop(uint64(i))
	}
	if err := r.Submit(); err != nil {
		t.Fatal(err)
	}
	out := make([]CQE, 10)
	for i := range out {
		out[i].UserData = ^uint64(0)
	}
	if n := r.Reap(out); n != 3 {
		t.Fatalf("%d completions, want 3", n)
	}
	for i, c := range out {
		if want := uint64(i); i < 3 && c.UserData != want {
			t.Errorf("completion %d is of %d", i, c.UserData)
		}
		if i >= 3 && c.UserData != ^uint64(0) {
			t.Errorf("place %d was touched: %+v", i, c)
		}
	}
	if n := r.Reap(out); n != 0 {
		t.Errorf("%d completions after the last", n)
	}
}

// QueueExit unmaps half of a ring with 128-byte entries.
func TestCloseUnmapsTheWholeRing(t *testing.T) {
	runtime.LockOSThread()
	maps := func() int {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "io_uring")
	}
	before := maps()
	for _, entries := range []uint32{1, 16, 64, 256} {
		r, err := New(Options{Entries: entries, SQE128: true})
		if errors.Is(err, ErrDisabled) || errors.Is(err, ErrUnsupported) {
			skip(t, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if maps() == before {
			t.Fatal("a ring has no mappings: the test sees nothing")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if after := maps(); after != before {
			t.Errorf("%d entries: %d mappings left", entries, after-before)
		}
	}
}

// WaitCQEsNew and SubmitAndWaitTimeout hide the address of a Timespec in an integer: the collector
// may free it and a stack may move it before the kernel reads it.
func TestTimeoutsSurviveCollectionAndStackGrowth(t *testing.T) {
	r := newRing(t, Options{Entries: 8})
	const d = 30 * time.Millisecond
	for i := range 5 {
		if !r.Timeout(uint64(i), d) {
			t.Fatal("no room")
		}
		churn(64)
		start := time.Now()
		c := one(t, r)
		if took := time.Since(start); c.Errno() != unix.ETIME || took < d || took > 2*time.Second {
			t.Fatalf("timeout ended with %v after %v, want ETIME after %v", c.Errno(), took, d)
		}
		start = time.Now()
		if err := r.SubmitAndWait(1, d); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < d || took > 2*time.Second || r.Ready() != 0 {
			t.Fatalf("wait of %v took %v, %d completions", d, took, r.Ready())
		}
	}
}

// churn grows the stack and collects.
func churn(depth int) {
	var pad [1024]byte
	if depth > 0 {
		pad[depth%len(pad)] = byte(depth)
		churn(depth - 1)
	} else {
		runtime.GC()
	}
	runtime.KeepAlive(&pad)
}

// A buffer that lives on a stack would be elsewhere when the kernel fills it.
func TestBufferOfTheCallersFrameIsNotOnItsStack(t *testing.T) {
	r := newRing(t, Options{})
	f := newFile(t, 0)
	if _, err := f.WriteString("payload!"); err != nil {
		t.Fatal(err)
	}
	var small [8]byte
	if !r.Read(1, FD(int(f.Fd())), small[:], 0, Attr{}) {
		t.Fatal("no room")
	}
	churn(512)
	if c := one(t, r); c.Res != 8 || string(small[:]) != "payload!" {
		t.Fatalf("read %d bytes, %q", c.Res, small)
	}
}
