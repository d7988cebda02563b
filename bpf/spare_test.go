package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
)

// pass hands an event to the first program, the spare, or both, in this order.
func pass(t *testing.T, e Event, programs ...*ebpf.Program) {
	t.Helper()
	for _, p := range programs {
		if _, err := p.Run(&ebpf.RunOptions{Context: eventContext(e)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSpare holds that an event counts once: whether both programs see it, or one of them.
func TestSpare(t *testing.T) {
	guests := volumes(1, 1<<30)
	a := load(t, guests, nil)
	first, spare := a.objs.ReplayFirst, a.objs.ReplaySpare
	at := uint64(0)
	write := func(programs ...*ebpf.Program) {
		pass(t, Event{Device: guests[0].Device, Op: OpWrite, Sector: at, Sectors: 8}, programs...)
		at += 8
	}
	for range 10 {
		write(first, spare)
		write(spare)
		write(first)
	}
	if c := read(t, a, FirstGuest); c.Writes != 30 || c.Seeks != 0 {
		t.Errorf("%d writes of 30, %d seeks", c.Writes, c.Seeks)
	}
	if saved, err := a.Saved(); saved != 10 || err != nil {
		t.Errorf("%d events saved, want 10, %v", saved, err)
	}
	// What the spare has missed must not make it miss the same request later.
	at = 16 // was seen by the first program alone
	write(first, spare)
	at = 16
	write(spare)
	if c := read(t, a, FirstGuest); c.Writes != 32 {
		t.Errorf("%d writes, want 32", c.Writes)
	}
}

// TestSpareLost holds that an event which the spare has missed, too, counts as lost, and for good.
func TestSpareLost(t *testing.T) {
	a := load(t, volumes(1, 1<<30), nil)
	for _, x := range []struct{ left, saved, lost uint64 }{{0, 0, 0}, {3, 1, 2}, {3, 3, 2}, {4, 1, 3}} {
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			t.Fatal(err)
		}
		perCPU := make([]spared, cpus)
		perCPU[0].Left = x.left
		perCPU[cpus-1].Saved = x.saved
		if err := a.objs.Spared.Put(uint32(0), perCPU); err != nil {
			t.Fatal(err)
		}
		if lost, err := a.Lost(); lost != x.lost || err != nil {
			t.Errorf("%d left, %d saved: %d lost, want %d, %v", x.left, x.saved, lost, x.lost, err)
		}
	}
}
