package placement

import (
	"encoding/binary"
	"testing"

	"unblend/log"
)

// What a mark has changed stays so: the power may go as soon as it is in effect.
func TestFamilyMarkIsDurableBeforeItsEffect(t *testing.T) {
	r := newRig(t, 64<<20)
	v := r.create("a", 1<<20)
	r.fill(v, 0, 1, 1)
	for _, c := range []*Control{
		{Op: SnapshotVolume, Names: []string{"a"}, To: "s"},
		{Op: CloneVolume, Name: "a@s", To: "b"},
		{Op: RollbackVolume, Name: "a@s"},
		{Op: RemoveVolume, Name: "b"},
	} {
		last := r.p.lastMark
		r.p.Control(c)
		r.next(func() bool { return r.p.lastMark != last })
		was := r.p.Volumes(true)
		r.w.Crash(nil)
		r.w.Restart()
		r.open()
		now := r.p.Volumes(true)
		if len(was) != len(now) {
			t.Fatalf("operation %d was in effect, and is not after a power cut: %+v, %+v", c.Op, was, now)
		}
		for i := range was {
			if was[i].ID != now[i].ID || was[i].Name != now[i].Name {
				t.Errorf("operation %d: %+v became %+v", c.Op, was[i], now[i])
			}
		}
	}
	r.expect(r.p.Volume("a"), 0, 1, 0)
}

// A guest that writes to one volume, and when that is answered to another, finds both at one moment
// in a snapshot of both, however it is ordered.
func TestFamilyGroupIsOfOneMoment(t *testing.T) {
	for _, names := range [][]string{{"a", "b"}, {"b", "a"}} {
		r := newRig(t, 64<<20)
		vols := [...]*Volume{r.create("a", 1<<20), r.create("b", 1<<20)}
		count := uint32(0)
		write := func() {
			q := blockWrite(vols[count%2], 0, 1, 0)
			binary.LittleEndian.PutUint32(q.Buf, count)
			count++
			r.p.Submit(q)
		}
		write()
		c := &Control{Op: SnapshotVolume, Names: names, To: "s"}
		ended := false
		r.next(func() bool {
			for r.p.NextDone() != nil {
				if count == 20 {
					r.p.Control(c)
				}
				if !ended || count < 100 {
					write()
				}
			}
			ended = ended || r.p.NextControl() != nil
			return ended && count >= 100 && vols[0].open+vols[1].open == 0
		})
		var got [2]uint32
		for i, name := range [...]string{"a@s", "b@s"} {
			q := &Request{Vol: r.p.Volume(name), Len: log.BlockSize, Buf: alignedBytes(log.BlockSize)}
			r.do(q)
			got[i] = binary.LittleEndian.Uint32(q.Buf)
		}
		if d := int(got[0]) - int(got[1]); d != 1 && d != -1 || got[0] == 0 {
			t.Errorf("%v: write %d is the last of a, %d of b", names, got[0], got[1])
		}
		r.must(&Control{Op: Drain})
		r.check()
	}
}
