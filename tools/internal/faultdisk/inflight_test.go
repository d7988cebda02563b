package faultdisk

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

func TestFlushDoesNotCoverWritesInFlight(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	if err := s.Delay("d0", Write, time.Hour); err != nil {
		t.Fatal(err)
	}
	c := connect(t, s, "d0")
	c.send(nbdWrite, 0, 0, 4096, fill(9, 4096))
	waitInFlight(t, s, 0, 1)
	if err := c.flush(); err != nil { // another request passes the slow one
		t.Fatal(err)
	}
	rep, err := s.Cut(1, None)
	if err != nil || rep.Disks[0].InFlight != 1 || rep.Disks[0].Sectors != 8 {
		t.Fatalf("report %+v, %v", rep, err)
	}
	if got := contents(t, s, "d0", 4096, 512); got[0] != 0 {
		t.Errorf("flush covered a write in flight: %d", got)
	}
}

// TestDelayedFlushCoversWhatWasCompleteWhenItArrived writes after a slow flush was sent, so that
// the flush ends later than the write and must not cover it.
func TestDelayedFlushCoversWhatWasCompleteWhenItArrived(t *testing.T) {
	s := newServer(t, mem("d0", 8192))
	c := connect(t, s, "d0")
	if err := c.write(0, fill(1, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Delay("", Flush, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	flush := c.send(nbdFlush, 0, 0, 0, nil)
	waitInFlight(t, s, 0, 1)
	if err := c.write(4096, fill(2, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if got, err := c.recv(); got != flush || err != nil {
		t.Fatalf("reply %d, %v", got, err)
	}
	s.Cut(1, None)
	if got := contents(t, s, "d0", 8192, 4096); got[0] != 1 || got[1] != 0 {
		t.Errorf("got %d, want 1 and 0", got)
	}
}

// TestWritesInFlightAreTornPerSector cuts a write of one page in flight: every sector is old or
// new, and over the seeds both occur in every sector.
func TestWritesInFlightAreTornPerSector(t *testing.T) {
	for _, fua := range []uint16{0, nbdFUA} {
		var old, fresh [8]int
		for seed := range uint64(32) {
			s := newServer(t, mem("d0", 4096))
			c := connect(t, s, "d0")
			if err := c.write(0, fill(1, 4096), nbdFUA); err != nil {
				t.Fatal(err)
			}
			s.Delay("d0", Write, time.Hour)
			c.send(nbdWrite, fua, 0, 4096, fill(2, 4096))
			waitInFlight(t, s, 0, 1)
			if _, err := s.Cut(seed, Sectors); err != nil {
				t.Fatal(err)
			}
			for i, v := range contents(t, s, "d0", 4096, 512) {
				switch v {
				case 1:
					old[i]++
				case 2:
					fresh[i]++
				default:
					t.Fatalf("sector %d is %d", i, v)
				}
			}
			s.Close()
		}
		for i := range old {
			if old[i] == 0 || fresh[i] == 0 {
				t.Errorf("flags %d, sector %d: old %d, new %d times", fua, i, old[i], fresh[i])
			}
		}
	}
}

func TestWriteInFlightLandsWhenItsClientGoes(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	c := connect(t, s, "d0")
	s.Delay("d0", Write, 50*time.Millisecond)
	c.send(nbdWrite, 0, 0, 4096, fill(3, 4096))
	waitInFlight(t, s, 0, 1)
	c.nc.Close()
	if got := contents(t, s, "d0", 4096, 512); got[0] != 0 {
		t.Fatalf("the write is visible at once: %d", got)
	}
	waitInFlight(t, s, 0, 0)
	if got := contents(t, s, "d0", 4096, 512); got[0] != 3 {
		t.Errorf("the write never landed: %d", got)
	}
}

// TestNothingLandsAfterACut cuts a slow write and waits longer than its delay.
func TestNothingLandsAfterACut(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	c := connect(t, s, "d0")
	s.Delay("d0", Write, 30*time.Millisecond)
	c.send(nbdWrite, 0, 0, 4096, fill(3, 4096))
	waitInFlight(t, s, 0, 1)
	s.Cut(1, None)
	time.Sleep(60 * time.Millisecond)
	if got := contents(t, s, "d0", 4096, 512); got[0] != 0 {
		t.Errorf("a write from before the cut landed after it: %d", got)
	}
	if st := s.Stats(); st.Memory != 0 {
		t.Errorf("memory of the dropped request is still charged: %+v", st)
	}
}

// TestCutOfTwoDisksIsOneInstant has a client write a number to one disk, wait for the answer, and
// write it to the other, while cuts come at any time: the second disk is never ahead of the first,
// and neither is behind what was answered.
func TestCutOfTwoDisksIsOneInstant(t *testing.T) {
	for round := range uint64(60) {
		s := newServer(t, mem("d0", 4096), mem("d1", 4096))
		a, b := connect(t, s, "d0"), connect(t, s, "d1")
		var answered [2]uint64
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := uint64(1); ; n++ {
				for i, c := range []*client{a, b} {
					if !tryWriteNumber(c, n) {
						return
					}
					answered[i] = n
				}
			}
		})
		time.Sleep(time.Duration(round*37%2000) * time.Microsecond)
		if _, err := s.Cut(round, Random); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		var got [2]uint64
		for i, name := range []string{"d0", "d1"} {
			var p [512]byte
			if err := s.ReadAt(name, p[:], 0); err != nil {
				t.Fatal(err)
			}
			got[i] = binary.LittleEndian.Uint64(p[:])
		}
		if got[1] > got[0] || got[0] < answered[0] || got[1] < answered[1] {
			t.Fatalf("round %d: disks have %d, answered %d", round, got, answered)
		}
		s.Close()
	}
}

// tryWriteNumber writes n with FUA and reports whether that was answered.
func tryWriteNumber(c *client, n uint64) bool {
	b := binary.BigEndian.AppendUint32(nil, 0x25609513)
	b = append(b, 0, nbdFUA, 0, nbdWrite)
	b = append(b, make([]byte, 16)...) // cookie and offset
	b = binary.BigEndian.AppendUint32(b, 512)
	b = binary.LittleEndian.AppendUint64(b, n)
	if _, err := c.nc.Write(append(b, make([]byte, 504)...)); err != nil {
		return false
	}
	var reply [16]byte
	for got := 0; got < len(reply); {
		k, err := c.nc.Read(reply[got:])
		if err != nil {
			return false
		}
		got += k
	}
	return binary.BigEndian.Uint32(reply[4:]) == 0
}
