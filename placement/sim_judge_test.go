package placement

import "fmt"

// judge notes what a sector says about the writes that may be its content: which of those that a
// crash left undecided happened, and which of two at the same time was the later one. match is
// one of the n contents that fit.
func (v *simVolume) judge(r *simRead, s uint32, cands []*simOp, b []byte, match *simOp, n int) error {
	for _, x := range cands {
		if x == nil || x.kind != Write || !x.maybe {
			continue
		}
		switch {
		case x.holds(b, s):
			x.shown = x.shown || n == 1
		case v.replaced(x, s, cands, b):
			x.hidden = true
		}
		if x.shown && x.hidden {
			return fmt.Errorf("%s, sector %d: a write is torn: %v", v.name, s, x)
		}
	}
	over := func(op *simOp) bool { return op != nil && op.kind == Write && op.end != 0 && op.end < r.submit }
	if n > 1 || !over(match) {
		return nil
	}
	for _, x := range cands {
		if x == match || !over(x) || x.before(match) || match.before(x) || x.maybe && !x.shown {
			continue // or the crash undid it
		}
		if v.o.order[[2]uint32{match.id, x.id}] {
			return fmt.Errorf("%s, sector %d: two writes each replace a part of the other: %v; %v",
				v.name, s, x, match)
		}
		v.o.order[[2]uint32{x.id, match.id}] = true
	}
	return nil
}

// replaced reports whether every content that fits the sector is one that x replaced.
func (v *simVolume) replaced(x *simOp, s uint32, cands []*simOp, b []byte) bool {
	fits := false
	for _, c := range cands {
		if c == x || !c.holds(b, s) {
			continue
		}
		if !c.before(x) {
			return false
		}
		fits = true
	}
	return fits
}

// verified is called when every sector has been read since the last crash, and decides what only
// the whole shows: in a pool with --durability flush a crash leaves a prefix.
func (v *simVolume) verified() error {
	var err error
	for _, x := range v.unsure {
		if !x.shown {
			continue
		}
		for _, y := range v.unsure {
			if y.acked && y.hidden && y.before(x) && y.crash == x.crash {
				err = fmt.Errorf("%s: after the crash %v is there, but %v is not", v.name, x, y)
			}
		}
	}
	v.unsure = v.unsure[:0]
	return err
}
