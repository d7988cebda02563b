package placement

import "unblend/log"

// A drive performs the nearest of the operations that it holds. What the back end asks for next is
// nearly always nearer than what a guest reads elsewhere, which would wait for as long as the drive
// lets anything wait, a second or so. So on a hard disk the back end takes turns with guests' reads:
// while there are some it begins operations during its turn alone, and then leaves the disk to them until
// as many have ended as were under way. Its turn begins anew with the first read after none.

// How long, in ns, a turn of the back end lasts, when the log is nearly full and otherwise, and how
// long it waits for reads at most.
const (
	turnFull  = 20_000_000
	turnShort = 5_000_000
	turnRest  = 200_000_000
)

// turns is one device's.
type turns struct {
	reads int   // of guests, under way
	rests bool  // the back end's turn is over
	owed  int   // reads that are to end before its next
	began int64 // ns; begin of the back end's turn
}

func (t *turns) beginRead(now int64) {
	if t.reads == 0 {
		t.began, t.rests = now, false
	}
	t.reads++
}

func (t *turns) endRead() {
	t.reads--
	t.owed--
}

// until returns when the back end may begin an operation, if not now. A turn of its lasts so long.
func (t *turns) until(now, turn int64) int64 {
	if t.reads == 0 || now < t.began+turn {
		return 0
	}
	next := t.began + turn + turnRest
	if !t.rests {
		t.rests, t.owed = true, t.reads
	}
	if t.owed > 0 && now < next {
		return next
	}
	t.rests, t.began = false, now
	return 0
}

// turnsOn returns the turns of a device, of which a pool may have one alone.
func (p *Pool) turnsOn(dev log.Dev) *turns {
	if p.oneDevice {
		dev = log.Fast
	}
	return &p.turns[dev]
}

// room returns how many more operations the back end may start on a device: few while guests read.
// When it is none because of them, heldUntil says when to look again.
func (b *backend) room(dev log.Dev) int {
	n := b.roomFor(dev, b.pending)
	if b.pending == 0 && b.heldUntil == 0 {
		n = max(n, 1) // one of those kept
	}
	return n
}

// roomFor is room for those of which so many are under way already.
func (b *backend) roomFor(dev log.Dev, pending int) int {
	limit, full := b.p.opt.DestageOps, b.p.pressure() >= b.p.opt.High
	b.heldUntil = 0
	if b.p.opt.HardDisk[dev] {
		turn := int64(turnShort)
		if full {
			turn = turnFull
		}
		if b.heldUntil = b.p.turnsOn(dev).until(b.p.now, turn); b.heldUntil > 0 {
			return 0
		}
	} else if b.p.turns[log.Fast].reads+b.p.turns[log.Capacity].reads > 0 && !full {
		limit = max(1, limit/4)
	}
	return min(limit-pending, b.p.freeOps()/2)
}
