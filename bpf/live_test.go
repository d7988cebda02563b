package bpf

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopDevice makes a block device of a file for the time of a test, opened for direct writes.
func loopDevice(t testing.TB, size int64) (*os.File, Device) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	_ = exec.Command("modprobe", "loop").Run() // where it is a module; else losetup will say
	out, err := exec.Command("losetup", "--find", "--show", path).Output()
	if err != nil {
		if os.Getenv("UNBLEND_NO_SKIP") == "1" {
			t.Fatalf("nothing may be skipped here, and there is no loop device: %v", err)
		}
		t.Skipf("no loop device to be had: %v", err)
	}
	name := string(out[:len(out)-1])
	t.Cleanup(func() {
		if err := exec.Command("losetup", "--detach", name).Run(); err != nil {
			t.Error(err)
		}
	})
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return f, DeviceNumber(unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// TestLive writes to a real block device, one request at a time, so that the order is known: the
// programs at the tracepoints count what the model does.
func TestLive(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const block, blocks = 4096, 4096
	f, dev := loopDevice(t, block*blocks)
	guests := []Guest{{Device: dev, Stream: FirstGuest, Base: 1 << 30}}
	a, m := load(t, guests, nil), newModel(guests, nil)
	if err := a.Attach(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	buf := aligned(2 * block)
	at := int64(0)
	for range 500 {
		n := (1 + rng.Int64N(2)) * block
		if rng.IntN(2) == 0 || at+n > block*blocks {
			at = rng.Int64N(blocks-1) * block
		}
		e := Event{Device: dev, Op: OpWrite, Sector: sectors(at), Sectors: uint32(n / SectorSize)}
		do := f.WriteAt
		if rng.IntN(8) == 0 {
			e.Op, do = OpRead, f.ReadAt
		}
		if _, err := do(buf[:n], at); err != nil {
			t.Fatal(err)
		}
		m.observe(e)
		at += n
	}
	for stream := range FirstGuest + 1 {
		compare(t, a, m, stream)
	}
	if lost, err := a.Lost(); err != nil || lost != 0 {
		t.Errorf("%d events lost, %v", lost, err)
	}
}

// TestLiveCrowd writes to a real block device from many threads at once: whoever is preempted, and
// wherever, each write counts once.
func TestLiveCrowd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const block, blocks, threads, writes = 4096, 4096, 16, 250
	f, dev := loopDevice(t, block*blocks)
	a := load(t, []Guest{{Device: dev, Stream: FirstGuest}}, nil)
	if err := a.Attach(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			rng, buf := rand.New(rand.NewPCG(7, uint64(i))), aligned(block)
			for range writes {
				// No two that may be merged into one.
				if _, err := f.WriteAt(buf, 2*block*rng.Int64N(blocks/2)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	c := read(t, a, FirstGuest)
	lost, err := a.Lost()
	saved, err2 := a.Saved()
	t.Logf("%d events passed the program by, %d of them its spare, too", saved+lost, lost)
	const all = threads * writes
	if c.Writes > all || c.Writes+lost < all || lost > 1 || err != nil || err2 != nil {
		t.Errorf("%d writes of %d counted, %d events lost, %v, %v", c.Writes, all, lost, err, err2)
	}
}

// aligned returns n bytes that start at a page, as direct I/O wants it.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & 4095
	return b[skip : skip+n]
}
