package simdisk

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"unblend/log"
)

// newSync returns a disk for synchronous calls whose first two blocks hold ones and twos.
func newSync(t *testing.T, cfg Config) (*Disk, log.Disk) {
	t.Helper()
	cfg.Name, cfg.Size = "d", 1<<20
	d := NewWorld(1).NewDisk(cfg)
	d.Poke(page(1, 2), 0)
	return d, d.Sync()
}

// check reads block n and fails the test unless it ends with errno and, if that is 0, holds only
// bytes of want.
func check(t *testing.T, s log.Disk, n int64, errno syscall.Errno, want byte) {
	t.Helper()
	p := Buffer(log.BlockSize)
	err := s.ReadAt(p, n*log.BlockSize)
	switch {
	case errno != 0 && !errors.Is(err, errno):
		t.Errorf("block %d: %v, want %v", n, err, errno)
	case errno == 0 && err != nil:
		t.Errorf("block %d: %v", n, err)
	case errno == 0 && !bytes.Equal(p, page(want)):
		t.Errorf("block %d does not hold %d", n, want)
	}
}

func TestDirectedReadFaults(t *testing.T) {
	d, s := newSync(t, Config{})
	d.Inject(Fault{Do: FailRead, After: 1})
	check(t, s, 0, 0, 1)
	check(t, s, 0, syscall.EIO, 0)
	check(t, s, 0, 0, 1)
	d.Inject(Fault{Do: FailRead, Sticky: true, From: 4096, To: 8192})
	check(t, s, 0, 0, 1)
	check(t, s, 1, syscall.EIO, 0)
	check(t, s, 1, syscall.EIO, 0)
	d.Disarm()
	check(t, s, 1, 0, 2)
	d.Inject(Fault{Do: ShortRead})
	check(t, s, 0, syscall.EIO, 0)
	if n := len(d.Injected()); n != 4 {
		t.Errorf("%d faults on record, want 4", n)
	}
}

func TestMediumFaultsLastUntilRewritten(t *testing.T) {
	d, s := newSync(t, Config{})
	d.Inject(Fault{Do: LatentError})
	check(t, s, 0, syscall.EIO, 0)
	check(t, s, 0, syscall.EIO, 0)
	if err := s.WriteAt(page(3), 0); err != nil {
		t.Fatal(err)
	}
	check(t, s, 0, 0, 3)
	d.Inject(Fault{Do: FlipBit})
	p, again := Buffer(log.BlockSize), Buffer(log.BlockSize)
	for _, b := range [][]byte{p, again} {
		if err := s.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := differing(p, page(3)); n != 1 || !bytes.Equal(p, again) {
		t.Errorf("%d bytes differ, want 1 and for good", n)
	}
	d.Flip(4096, 17)
	if err := s.ReadAt(p, 4096); err != nil || p[2] != 0 {
		t.Errorf("%v, byte 2 is %d after a flip of bit 17", err, p[2])
	}
	d.SetBad(0, 8192, true)
	check(t, s, 1, syscall.EIO, 0)
	d.SetBad(0, 4096, false)
	if err := s.ReadAt(p, 0); err != nil {
		t.Error(err)
	}
}

func differing(a, b []byte) int {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestWriteFaults(t *testing.T) {
	d, s := newSync(t, Config{})
	d.Inject(Fault{Do: FailWrite})
	if err := s.WriteAt(page(9), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("failed write: %v", err)
	}
	p := Buffer(log.BlockSize)
	d.Peek(p, 0)
	for at := 0; at < len(p); at += 512 {
		if !bytes.Equal(p[at:at+512], page(1)[:512]) && !bytes.Equal(p[at:at+512], page(9)[:512]) {
			t.Error("a sector of a failed write is neither old nor new")
		}
	}
	d.Inject(Fault{Do: NoSpace})
	if err := s.WriteAt(page(9), 4096); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write without space: %v", err)
	}
	check(t, s, 1, 0, 2)
	d.Inject(Fault{Do: LostWrite})
	if err := s.WriteAt(page(9), 4096); err != nil {
		t.Error(err)
	}
	check(t, s, 1, 0, 2)
	d.Inject(Fault{Do: ShortWrite})
	if err := s.WriteAt(page(5, 6), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("short write: %v", err)
	}
	check(t, s, 1, 0, 2)
}

func TestMisdirection(t *testing.T) {
	d, s := newSync(t, Config{})
	d.Inject(Fault{Do: MisdirectWrite})
	if err := s.WriteAt(page(7), 0); err != nil {
		t.Fatal(err)
	}
	at := d.Injected()[0].At
	if at == 0 {
		t.Fatal("the seed misdirects to where it was to go")
	}
	check(t, s, 0, 0, 1)
	check(t, s, at/log.BlockSize, 0, 7)
	d.Inject(Fault{Do: MisdirectRead})
	p, want := Buffer(log.BlockSize), Buffer(log.BlockSize)
	if err := s.ReadAt(p, 4096); err != nil {
		t.Fatal(err)
	}
	d.Peek(want, d.Injected()[1].At)
	if !bytes.Equal(p, want) {
		t.Error("a misdirected read returned neither the one block nor the other")
	}
}

func TestBeyondTheEnd(t *testing.T) {
	for _, timing := range []Timing{Instant{}, P3700(), UltrastarHC580()} {
		beyondTheEnd(t, Config{Timing: timing})
	}
}

func beyondTheEnd(t *testing.T, cfg Config) {
	t.Helper()
	d, s := newSync(t, cfg)
	p := Buffer(2 * log.BlockSize)
	if err := s.ReadAt(p, d.Size()-log.BlockSize); !errors.Is(err, syscall.EIO) {
		t.Errorf("read across the end: %v", err)
	}
	if err := s.WriteAt(p, d.Size()-log.BlockSize); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write across the end: %v", err)
	}
	if err := s.ReadAt(p, 1<<50); err == nil {
		t.Error("a read behind the end succeeded")
	}
	if n := d.Stats().OutOfRange; n != 3 {
		t.Errorf("%d operations out of range, want 3", n)
	}
}

func TestRandomFaultsKeepToBudgetAndPlace(t *testing.T) {
	f := Faults{
		Budget: 3,
		Where:  func(kind log.Kind, off, _ int64) bool { return kind == log.Read && off >= 4096 },
	}
	f.Rate[FailRead], f.Rate[FailWrite] = 0.5, 1
	d, s := newSync(t, Config{Faults: f})
	for range 50 {
		check(t, s, 0, 0, 1)
		_ = s.ReadAt(Buffer(log.BlockSize), 4096) // may fail
		if err := s.WriteAt(page(1), 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Stats().Injected[FailRead]; n != 3 {
		t.Errorf("%d faults, want the 3 of the budget", n)
	}
}

func TestSpikeDelays(t *testing.T) {
	d, s := newSync(t, Config{Faults: Faults{SpikeTime: 7e6}})
	d.Inject(Fault{Do: Spike})
	check(t, s, 0, 0, 1)
	if now := d.w.Now(); now != 7e6 {
		t.Errorf("a read with a spike of 7 ms took %d ns", now)
	}
}

func TestEveryFaultHasANameAndAVictim(t *testing.T) {
	for k := NoFault; k < faultKinds; k++ {
		if k.String() == "" {
			t.Errorf("fault %d has no name", k)
		}
		hits := k.strikes(log.Read) || k.strikes(log.Write) || k.strikes(log.Flush)
		if hits == (k == NoFault || k == CutUnreadable) {
			t.Errorf("%s: strikes an operation: %v", k, hits)
		}
	}
}
