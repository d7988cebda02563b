package simdisk

import (
	"bytes"
	"errors"
	"testing"

	"unblend/log"
)

func TestPowerIsCutOnAllDisksAtOnce(t *testing.T) {
	w := NewWorld(1)
	a := w.NewDisk(Config{Name: "a", Size: 1 << 20, Volatile: true, Timing: Random{1e6, 2e6}})
	b := w.NewDisk(Config{Name: "b", Size: 1 << 20, Timing: Random{1e6, 2e6}})
	called := false
	reply := func(log.Token, int32) { called = true }
	for _, d := range []*Disk{a, b} {
		d.Submit(&log.Op{Kind: log.Write, Bufs: [][]byte{page(1)}}, reply)
	}
	timer := false
	w.At(5e6, func() { timer = true })
	w.Crash(KeepAll)
	if !w.Off() || w.InFlight() != 0 {
		t.Fatal("something is in flight without power")
	}
	a.Submit(&log.Op{Kind: log.Write, Bufs: [][]byte{page(2)}}, reply)
	for w.Step() {
	}
	if called {
		t.Error("an operation was answered after the power was cut")
	}
	if !timer {
		t.Error("a timer did not survive the power cut")
	}
	p := Buffer(log.BlockSize)
	for _, d := range []*Disk{a, b} {
		if err := d.Sync().ReadAt(p, 0); !errors.Is(err, ErrPower) {
			t.Errorf("read without power: %v", err)
		}
	}
	w.Restart()
	for _, d := range []*Disk{a, b} {
		if err := d.Sync().ReadAt(p, 0); err != nil || p[0] != 1 {
			t.Errorf("%s: %v, holds %d, want 1", d.Name(), err, p[0])
		}
	}
}

func TestWhatACutLeftStays(t *testing.T) {
	for seed := range uint64(50) {
		w := NewWorld(seed)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Volatile: true, Timing: Random{1e3, 1e6}})
		for i := range 8 {
			op := &log.Op{Kind: log.Write, Off: int64(i%2) * log.BlockSize, Bufs: [][]byte{page(byte(i))}}
			d.Submit(op, func(log.Token, int32) {})
			w.Step()
		}
		w.Crash(nil)
		w.Restart()
		first, again := Buffer(2*log.BlockSize), Buffer(2*log.BlockSize)
		if err := d.Sync().ReadAt(first, 0); err != nil {
			t.Fatal(err)
		}
		w.Crash(nil)
		w.Restart()
		if err := d.Sync().ReadAt(again, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Fatalf("seed %d: what the first cut left changed at the second", seed)
		}
	}
}

func TestCrashAfterStopsSynchronousCode(t *testing.T) {
	for n := 1; n <= 5; n++ {
		w := NewWorld(7)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1e3, 1e6}})
		s := d.Sync()
		w.CrashAfter(n, KeepNone)
		failed := 0
		for i := range 4 {
			err := s.WriteAt(page(byte(i+1)), int64(i)*log.BlockSize)
			if err == nil && failed > 0 {
				t.Fatal("a call succeeded after the power was cut")
			}
			if err != nil {
				if !errors.Is(err, ErrPower) {
					t.Fatal(err)
				}
				failed++
			}
		}
		if want := max(0, 5-n); failed != want {
			t.Errorf("cut at operation %d: %d calls failed, want %d", n, failed, want)
		}
		w.CrashAfter(0, nil)
		w.Restart()
		p := Buffer(4 * log.BlockSize)
		if err := s.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			want := byte(0)
			if i+1 < n {
				want = byte(i + 1)
			}
			if got := p[i*log.BlockSize]; got != want {
				t.Errorf("cut at operation %d: block %d holds %d, want %d", n, i, got, want)
			}
		}
	}
}

func TestWritesOfADeadProcessLandLate(t *testing.T) {
	overtaken := 0
	for seed := range uint64(20) {
		w := NewWorld(seed)
		d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Volatile: true, Timing: Random{1e3, 1e6}})
		buf := page(1)
		d.Submit(&log.Op{Kind: log.Write, Bufs: [][]byte{buf}}, func(log.Token, int32) {
			t.Error("a dead process was answered")
		})
		w.Kill(1e9)
		clear(buf) // the memory is another process's by now
		if d.Orphans() != 1 {
			t.Fatalf("%d orphans, want 1", d.Orphans())
		}
		// Without a claim the new process writes, and the old write may land on top.
		if err := d.Sync().WriteAt(page(2), 0); err != nil {
			t.Fatal(err)
		}
		if err := d.Settle(); err != nil {
			t.Fatal(err)
		}
		if d.Orphans() != 0 {
			t.Fatal("orphans after the claim")
		}
		w.Crash(KeepNone)
		p := Buffer(log.BlockSize)
		d.Peek(p, 0)
		if p[0] != 1 && p[0] != 2 {
			t.Fatalf("seed %d: block holds %d", seed, p[0])
		}
		if p[0] == 1 {
			overtaken++
		}
	}
	if overtaken == 0 {
		t.Error("no write of a dead process ever landed on a newer one")
	}
}

func TestSettleEndsWithoutPower(t *testing.T) {
	w := NewWorld(3)
	d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1e6, 1e6}})
	d.Submit(&log.Op{Kind: log.Write, Bufs: [][]byte{page(1)}}, nil)
	w.Kill(1e9)
	if d.Orphans() != 1 {
		t.Errorf("%d orphans, want 1", d.Orphans())
	}
	w.At(w.Now(), func() { w.Crash(KeepNone) })
	if err := d.Settle(); !errors.Is(err, ErrPower) {
		t.Errorf("settling as the power went: %v", err)
	}
}

func TestVanishedDeviceAnswersNothingElse(t *testing.T) {
	w := NewWorld(3)
	d := w.NewDisk(Config{Name: "d", Size: 1 << 20, Timing: Random{1e6, 1e6}})
	var res []int32
	submit := func() {
		d.Submit(&log.Op{Kind: log.Write, Bufs: [][]byte{page(1)}}, func(_ log.Token, r int32) {
			res = append(res, r)
		})
	}
	submit()
	d.Vanish()
	submit()
	for w.Step() {
	}
	if len(res) != 2 || res[0] != -errnoNoDevice || res[1] != -errnoNoDevice {
		t.Errorf("results %v, want ENODEV twice", res)
	}
	d.Return()
	if err := d.Sync().WriteAt(page(5), 4096); err != nil || d.Gone() {
		t.Errorf("a device that is back: %v", err)
	}
}

func TestCutMayMakeABlockUnreadable(t *testing.T) {
	s := newScript(Config{Volatile: true})
	f := Faults{Budget: 1}
	f.Rate[CutUnreadable] = 1
	s.d.SetFaults(f)
	s.step("w1")
	s.submit(&log.Op{Kind: log.Write, Off: 4096, Bufs: [][]byte{page(2)}})
	s.w.Crash(KeepAll)
	bad := 0
	for n := range int64(2) {
		if s.d.store.find(n).bad {
			bad++
		}
	}
	if bad != 1 || s.d.Stats().Injected[CutUnreadable] != 1 {
		t.Errorf("%d unreadable blocks, want the 1 of the budget", bad)
	}
}
