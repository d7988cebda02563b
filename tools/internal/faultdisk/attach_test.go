package faultdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAttach needs a kernel with the module nbd loaded: the first free device is used.
func TestAttach(t *testing.T) {
	device := freeDevice(t)
	s := newServer(t, mem("d0", 8<<20), DiskConfig{Name: "d1", Size: 4 << 20, Lying: true})
	for seed := range uint64(5) {
		if err := s.Attach("d0", device); err != nil {
			t.Fatal(err)
		}
		before := s.Stats().Disks[0]
		writeAndSync(t, device, byte(seed+1))
		if st := s.Stats().Disks[0]; st.Writes == before.Writes || st.Flushes == before.Flushes {
			t.Fatalf("the kernel's write or flush did not arrive: %+v, before %+v", st, before)
		}
		start := time.Now()
		if rep, err := s.Cut(seed, None); err != nil || rep.Connections != 1 {
			t.Fatalf("report %+v, %v", rep, err)
		}
		if got := contents(t, s, "d0", 4096, 512); got[0] != byte(seed+1) {
			t.Fatalf("after fsync and a cut: %d, want %d", got[0], seed+1)
		}
		if err := s.Attach("d0", device); err != nil {
			t.Fatal(err)
		}
		t.Logf("cut and attached again in %s", time.Since(start))
		if err := s.Detach(device); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Attach("d1", device); err != nil {
		t.Fatal(err)
	}
	writeAndSync(t, device, 9)
	s.Cut(1, None)
	if got := contents(t, s, "d1", 4096, 512); got[0] != 0 {
		t.Errorf("a lying disk kept %d", got[0])
	}
}

func freeDevice(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/sys/block/nbd0"); err != nil {
		t.Skip("no /sys/block/nbd0: the module nbd is not loaded")
	}
	for _, name := range []string{"nbd0", "nbd1", "nbd2", "nbd3"} {
		if _, err := os.Stat("/sys/block/" + name + "/pid"); errors.Is(err, os.ErrNotExist) {
			return "/dev/" + name
		}
	}
	t.Skip("every NBD device is in use")
	return ""
}

func writeAndSync(t *testing.T, device string, v byte) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.WriteAt(fill(v, 65536), 0)
	if err := errors.Join(werr, unix.Fsync(int(f.Fd())), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAttachErrors(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	if err := s.Attach("x", "/dev/null"); !errors.Is(err, ErrNoDisk) {
		t.Errorf("unknown disk: %v", err)
	}
	if err := s.Attach("d0", "/nonexistent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	if err := s.Attach("d0", "/dev/null"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no block device: %v", err)
	}
	if err := s.Detach("/dev/nbd9"); err == nil {
		t.Error("Detach of what was not attached succeeds")
	}
}

func TestAttachRefusesWhatIsInUse(t *testing.T) {
	device := freeDevice(t)
	s := newServer(t, mem("d0", 1<<20))
	if err := s.Attach("d0", device); err != nil {
		t.Fatal(err)
	}
	if err := s.Attach("d0", device); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second time: %v", err)
	}
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, 4096), 0); err != nil {
		t.Errorf("the first attachment was harmed: %v", err)
	}
	s.Cut(1, All)
	if err := s.Attach("d0", device); !errors.Is(err, unix.EBUSY) {
		t.Errorf("while a program has the device open: %v", err)
	}
	f.Close()
	if _, err := s.Off(1, All); err != nil {
		t.Fatal(err)
	}
	if err := s.Attach("d0", device); !errors.Is(err, ErrOff) {
		t.Errorf("while the power is off: %v", err)
	}
	s.On()
	if err := s.Attach("d0", device); err != nil {
		t.Error(err)
	}
}

// TestServeWithoutNegotiation is what an attached kernel does, without one.
func TestServeWithoutNegotiation(t *testing.T) {
	s := newServer(t, mem("d0", 4096), mem("d1", 4096))
	near, far, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	err = s.serve(far, s.disk("d1"))
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	request := []byte("\x25\x60\x95\x13\x00\x01\x00\x01cookie!!" +
		"\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x02\x00")
	if _, err := near.Write(append(request, fill(6, 512)...)); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 16)
	_, err = near.Read(reply)
	if err != nil || !bytes.Equal(reply[4:], []byte("\x00\x00\x00\x00cookie!!")) {
		t.Fatalf("reply %q, %v", reply, err)
	}
	if got := contents(t, s, "d1", 4096, 512); got[0] != 0 || got[1] != 6 {
		t.Errorf("got %d", got)
	}
	near.Close()
}

// TestPowerCutUnderKernelLoad cuts two attached disks while the kernel writes to both: numbered
// blocks to the first with FUA, to the second with an fsync after every eighth. What was
// acknowledged must be there, and over all rounds the second must have lost something.
func TestPowerCutUnderKernelLoad(t *testing.T) {
	device := freeDevice(t)
	other := "/dev/nbd3"
	if device == other {
		t.Skip("only one NBD device is free")
	}
	const blocks = 1 << 15
	lost := 0
	for seed := range uint64(12) {
		s := newServer(t, mem("fua", blocks*4096), mem("fsync", blocks*4096))
		if err := errors.Join(s.Attach("fua", device), s.Attach("fsync", other)); err != nil {
			t.Fatal(err)
		}
		var written, safe [2]int
		var wg sync.WaitGroup
		wg.Go(func() { written[0], safe[0] = writeNumbers(t, device, unix.O_DSYNC, 1, blocks) })
		wg.Go(func() { written[1], safe[1] = writeNumbers(t, other, 0, 8, blocks) })
		time.Sleep(time.Duration(100+50*seed) * time.Millisecond)
		rep, err := s.Cut(seed, Random)
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		t.Logf("seed %d: written %d, acknowledged %d, %+v", seed, written, safe, rep)
		for i, name := range []string{"fua", "fsync"} {
			p := make([]byte, 4096)
			for n := range written[i] {
				if err := s.ReadAt(name, p, int64(n)*4096); err != nil {
					t.Fatal(err)
				}
				if good := bytes.Equal(p, numbered(n)); !good && n < safe[i] {
					t.Fatalf("seed %d: %s lost block %d, safe up to %d", seed, name, n, safe[i])
				} else if !good {
					lost++
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if lost == 0 {
		t.Error("no cut lost anything")
	}
}

// numbered is the contents of block n.
func numbered(n int) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(n)+1), 512)
}

// writeNumbers writes numbered blocks until the device fails, with an fsync after every batch of
// more than one, and returns how many it wrote and how many of them were acknowledged as durable.
func writeNumbers(t *testing.T, device string, flags, batch, blocks int) (written, safe int) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT|flags, 0)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer f.Close()
	const prot, anon = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_ANON | unix.MAP_PRIVATE
	buf, err := unix.Mmap(-1, 0, 4096, prot, anon)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer unix.Munmap(buf)
	for n := range blocks {
		copy(buf, numbered(n))
		if _, err := f.WriteAt(buf, int64(n)*4096); err != nil {
			break
		}
		written = n + 1
		if batch == 1 {
			safe = written
		} else if written%batch == 0 {
			if f.Sync() != nil {
				break
			}
			safe = written
		}
	}
	return written, safe
}
