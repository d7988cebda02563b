package placement

import (
	"testing"

	"unblend/log"
)

// While guests read from a hard disk the back end begins operations during its turn alone, then waits
// for as many reads as were under way, and not for ever.
func TestBackEndTakesTurnsWithReads(t *testing.T) {
	const turn = turnFull
	var d turns
	want := func(now, until int64) {
		t.Helper()
		if got := d.until(now, turn); got != until {
			t.Fatalf("at %d ns it may begin an operation at %d, want %d", now, got, until)
		}
	}
	want(5, 0)
	d.beginRead(10)
	d.beginRead(15)
	want(9+turn, 0)
	want(10+turn, 10+turn+turnRest)
	d.beginRead(20 + turn)
	d.endRead()
	want(30+turn, 10+turn+turnRest)
	d.endRead()
	want(40+turn, 0) // two were under way, two have ended
	want(39+2*turn, 0)
	want(40+2*turn, 40+2*turn+turnRest)
	want(40+2*turn+turnRest, 0) // the read does not end
	d.endRead()
	want(1<<40, 0)
}

// Destage of a pool on hard disks that is held by a read goes on when the read has ended, and by itself
// when it does not.
func TestDestageBesideReads(t *testing.T) {
	r := newRig(t, 64<<20)
	r.restart(func(o *Options) { o.HardDisk = [2]bool{true, true} })
	v := r.create("v", 8<<20)
	r.fill(v, 0, 512, 7)
	d := r.p.turnsOn(log.Capacity)
	d.beginRead(r.p.now)
	d.began = r.p.now - turnShort
	if n := r.p.back.room(log.Capacity); n != 0 {
		t.Fatalf("%d operations may begin beside a read", n)
	}
	at := r.p.back.heldUntil
	if next := r.p.Deadline(); next == 0 || next > at {
		t.Errorf("held until %d, the pool wants to be called at %d", at, next)
	}
	r.p.Tick(at)
	if n := r.p.back.room(log.Capacity); n == 0 {
		t.Error("a read that does not end holds the back end for ever")
	}
	d.endRead()
	r.must(&Control{Op: Drain})
}
