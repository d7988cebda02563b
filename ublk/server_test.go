package ublk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAddStartStopDeleteCycles(t *testing.T) {
	c := control(t)
	target := newNull(t, 64<<20)
	cfg := ServeConfig{
		Device: DeviceConfig{ID: AnyID, Depth: 16}, PoolSize: 1 << 20, Timeout: patience,
	}
	const cycles = 25
	start := time.Now()
	var last uint32
	for i := range cycles {
		s, err := Serve(c, cfg, target)
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		last = s.Info().ID
		info, err := c.Info(last, patience)
		if err != nil || info.State != Live || info.PID != os.Getpid() {
			t.Fatalf("cycle %d: %+v (%v), want it live", i, info, err)
		}
		if err := s.Stop(); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
	}
	t.Logf("%d cycles, %v each", cycles, time.Since(start)/cycles)
	gone(t, BlockPath(last))
	if list, err := c.Devices(patience); err != nil || len(list) != 0 {
		t.Errorf("devices left: %+v (%v)", list, err)
	}
}

func TestNullReadsZerosAndForgets(t *testing.T) {
	c := control(t)
	n := newNull(t, 64<<20)
	n.Copy = true
	s := serve(t, c, ServeConfig{}, n)
	d := openDisk(t, s.Path())
	if got := d.size(); got != n.Size {
		t.Errorf("%d bytes, want %d", got, n.Size)
	}
	b := aligned(t, 1<<20)
	zeros := make([]byte, len(b))
	for _, size := range []int{512, 4096, 4608, 128 << 10, 1 << 20} {
		stamp(b[:size], 1)
		d.write(b[:size], 8192)
		d.read(b[:size], 8192)
		if !bytes.Equal(b[:size], zeros[:size]) {
			t.Errorf("%d bytes are not zeros", size)
		}
	}
	d.sync()
	d.zero(unix.BLKDISCARD, 0, 1<<20)
	d.zero(unix.BLKZEROOUT, 1<<20, 1<<20)
	d.close()
}

// exercise does random reads, writes, discards and zeroings of every size on a disk of zeros,
// against an array of bytes, which it returns.
func exercise(t *testing.T, d disk, size int64, steps int) []byte {
	t.Helper()
	model, buf := make([]byte, size), aligned(t, 1<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range steps {
		n := int64(512) << rnd.IntN(12)
		off := rnd.Int64N((size-n)/512+1) * 512
		switch rnd.IntN(8) {
		case 0: // discards of parts of blocks may be ignored, so these are whole blocks
			n, off = max(n, 4096), off&^4095
			n = min(n, size-off)
			d.zero(unix.BLKDISCARD, off, n)
			clear(model[off : off+n])
		case 1:
			d.zero(unix.BLKZEROOUT, off, n)
			clear(model[off : off+n])
		case 2, 3, 4:
			stamp(buf[:n], uint64(i))
			copy(model[off:], buf[:n])
			d.write(buf[:n], off)
		case 5:
			d.sync()
		default:
			d.read(buf[:n], off)
			if !bytes.Equal(buf[:n], model[off:off+n]) {
				t.Fatalf("step %d: %d bytes at %d differ", i, n, off)
			}
		}
	}
	d.sync()
	return model
}

func TestFileTargetHoldsWhatWasWritten(t *testing.T) {
	c := control(t)
	const size = 8 << 20
	path, f := backing(t, size)
	s := serve(t, c, ServeConfig{Device: DeviceConfig{Depth: 32}, PoolSize: 2 << 20}, f)
	d := openDisk(t, s.Path())
	model := exercise(t, d, size, 400)
	d.close()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, model) {
		t.Errorf("the file differs from what was written (%v)", err)
	}
}

// The backing is a block device here: one of ours, which lives in memory.
func TestFileTargetOnABlockDevice(t *testing.T) {
	c := control(t)
	const size = 4 << 20
	l := loopOf(t, c, 1, 64, size)
	f, err := OpenFile(BlockPath(l.infos[0].ID))
	if err != nil {
		t.Fatal(err)
	}
	cfg := ServeConfig{Device: DeviceConfig{ID: AnyID}, Timeout: patience}
	s, err := Serve(c, cfg, f)
	if err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, s.Path())
	model := exercise(t, d, size, 200)
	d.close()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	l.stop(0)
	if !bytes.Equal(l.l.data[0], model) {
		t.Error("the device differs from what was written")
	}
}

// recorder is a null target that keeps what it was asked.
type recorder struct {
	*Null
	params Params
	ios    chan IO
}

func (r *recorder) Params() Params { return r.params }

func (r *recorder) Begin(req *Request) {
	if req.Op != Read {
		r.ios <- req.IO
	}
	r.Null.Begin(req)
}

// Flushes and FUA arrive where there is a volatile cache, and only there; zeroing says whether
// space is to be kept.
func TestRequestsArriveAsTheyWereMade(t *testing.T) {
	c := control(t)
	for _, cache := range []bool{false, true} {
		n := newNull(t, 64<<20)
		p := n.Params()
		p.VolatileCache, p.FUA, p.LogicalBlock = cache, cache, 4096
		r := &recorder{Null: n, params: p, ios: make(chan IO, 100)}
		s := serve(t, c, ServeConfig{Device: DeviceConfig{Depth: 8}}, r)
		d := openDisk(t, s.Path())
		b := aligned(t, 1<<20)
		d.write(b, 1<<20)
		d.sync()
		iov := [][]byte{b[:4096]}
		if _, err := unix.Pwritev2(d.fd, iov, 8192, unix.RWF_DSYNC); err != nil {
			t.Fatal(err)
		}
		d.zero(unix.BLKZEROOUT, 4096, 8192)
		d.zero(unix.BLKDISCARD, 0, 16<<20)
		d.close()
		want := []IO{
			{Op: Write, Off: 1 << 20, Len: 1 << 20},
			{Op: Flush}, // fsync
			{Op: Write, Flags: FlagFUA, Off: 8192, Len: 4096},
			{Op: Flush}, // the kernel's own after a durable write
			{Op: WriteZeroes, Flags: FlagNoUnmap, Off: 4096, Len: 8192},
			{Op: Discard, Len: 16 << 20},
		}
		if !cache {
			want[2].Flags = 0
			want = slices.DeleteFunc(want, func(io IO) bool { return io.Op == Flush })
		}
		for i, w := range want {
			got := <-r.ios
			got.Tag, got.Flags = 0, got.Flags&(FlagFUA|FlagNoUnmap)
			if got != w {
				t.Errorf("cache %v, request %d: %+v, want %+v", cache, i, got, w)
			}
		}
		if len(r.ios) > 0 {
			t.Errorf("cache %v: also %+v", cache, <-r.ios)
		}
	}
}

// More is asked for than the pool holds at once; requests wait and none is lost.
func TestRequestsWaitForMemory(t *testing.T) {
	c := control(t)
	const size = 64 << 20
	_, f := backing(t, size)
	s := serve(t, c, ServeConfig{Device: DeviceConfig{Depth: 64}, PoolSize: 1 << 20}, f)
	fio(t, s.Path(), "--rw=randwrite", "--bs=512k", "--iodepth=32", "--size=64m",
		"--verify=crc32c", "--do_verify=1")
}

func TestFioVerify(t *testing.T) {
	c := control(t)
	const size = 128 << 20
	_, f := backing(t, size)
	s := serve(t, c, ServeConfig{}, f)
	fio(t, s.Path(), "--rw=randrw", "--bsrange=512-256k", "--bs_unaligned=0", "--iodepth=32",
		"--size=128m", "--io_size=96m", "--verify=crc32c", "--norandommap=0",
		"--blockalign=512", "--randrepeat=1")
}

// fio runs a job with verification on a device.
func fio(t *testing.T, path string, args ...string) {
	t.Helper()
	exe, err := exec.LookPath("fio")
	if err != nil {
		skip(t, err)
	}
	args = append([]string{
		"--name=job", "--filename=" + path, "--direct=1", "--ioengine=libaio",
		"--verify_fatal=1", "--minimal",
	}, args...)
	cmd := exec.Command(exe, args...)
	cmd.Dir = t.TempDir()
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("fio: %v\n%s", err, out)
	}
	t.Logf("fio: %v", time.Since(start).Round(time.Millisecond))
}

// Everything between a request's arrival and its answer stays off the heap.
func TestServingDoesNotAllocate(t *testing.T) {
	c := control(t)
	_, f := backing(t, 8<<20)
	null := newNull(t, 8<<20)
	null.Copy = true
	for name, target := range map[string]Target{"null": null, "file": f} {
		s := serve(t, c, ServeConfig{}, target)
		d := openDisk(t, s.Path())
		b := aligned(t, 64<<10)
		round := func(n int) {
			for i := range n {
				d.write(b[:4096<<(i%5)], int64(i%64)*64<<10)
				d.read(b[:4096<<(i%5)], int64(i%64)*64<<10)
			}
		}
		round(10)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const n = 500
		round(n)
		runtime.ReadMemStats(&after)
		if got := after.Mallocs - before.Mallocs; got > n/10 {
			t.Errorf("%s: %d allocations in %d requests", name, got, 2*n)
		} else {
			t.Logf("%s: %d allocations in %d requests, %+v", name, got, 2*n, s.ring.Stats())
		}
		d.close()
	}
}

func TestResizeOfALiveDevice(t *testing.T) {
	c := control(t)
	if !kernelAtLeast(t, UpdateSize.Since()) {
		t.Skipf("skipped: resizing needs Linux %s", UpdateSize.Since())
	}
	s := serve(t, c, ServeConfig{}, newNull(t, 64<<20))
	d := openDisk(t, s.Path())
	if err := c.UpdateSize(s.Info().ID, 96<<20, patience); err != nil {
		t.Fatal(err)
	}
	if got := d.size(); got != 96<<20 {
		t.Errorf("%d bytes, want %d", got, 96<<20)
	}
	d.read(aligned(t, 4096), 95<<20)
	d.close()
}

// TRY_STOP_DEV leaves a device alone that is in use.
func TestTryStopSparesDevicesInUse(t *testing.T) {
	c := control(t)
	if !kernelAtLeast(t, SafeStopDev.Since()) {
		t.Skipf("skipped: TRY_STOP needs Linux %s", SafeStopDev.Since())
	}
	s := serve(t, c, ServeConfig{}, newNull(t, 64<<20))
	d := openDisk(t, s.Path())
	if err := c.TryStop(s.Info().ID, patience); !errors.Is(err, ErrBusy) {
		t.Errorf("stopped a device in use: %v", err)
	}
	d.read(aligned(t, 4096), 0)
	d.close()
	waitFor(t, "the stop of an unused device", func() bool {
		return c.TryStop(s.Info().ID, patience) == nil
	})
}

// DEL_DEV waits for everybody who has the disk open, and says so rather than hang.
func TestDeleteOfAnOpenDiskTimesOut(t *testing.T) {
	c := control(t)
	cfg := ServeConfig{Device: DeviceConfig{ID: AnyID}, Timeout: time.Second}
	s, err := Serve(c, cfg, newNull(t, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, s.Path())
	err = s.Stop()
	if err == nil || !strings.Contains(err.Error(), "delete of device") {
		t.Errorf("deleted an open disk: %v", err)
	}
	if _, err := unix.Pread(d.fd, aligned(t, 4096), 0); err == nil {
		t.Log("the kernel answers reads of the removed disk without error")
	}
	d.close()
	gone(t, filepath.Join("/sys/class/ublk-char", filepath.Base(CharPath(s.Info().ID))))
}

func TestServeRefusesRequestsLargerThanItsMemory(t *testing.T) {
	c := control(t)
	cfg := ServeConfig{Device: DeviceConfig{ID: AnyID, MaxIO: 4 << 20}}
	if _, err := Serve(c, cfg, newNull(t, 1<<20)); err == nil {
		t.Error("accepted requests of 4 MiB")
	}
}
