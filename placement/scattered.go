package placement

import "slices"

// scatteredMax is how many leaves are remembered. They take 8 bytes each.
const scatteredMax = 8192

// scattered knows the leaves that have to be looked at by re-placement: those that destage left in
// more pieces than they need, and after a start, or when those were more than can be remembered,
// all. A leaf that was looked at is forgotten until it changes again.
type scattered struct {
	leaves []uint64 // keys, ascending
	scan   uint64   // key from which on all leaves are looked at; noScan: none
	again  bool     // when it has come to the end it begins anew
}

const noScan = ^uint64(0)

func newScattered() scattered {
	return scattered{leaves: make([]uint64, 0, scatteredMax)}
}

func leafKey(id uint32, leaf uint64) uint64 { return uint64(id)<<32 | leaf }

// empty reports whether there is nothing to look at.
func (s *scattered) empty() bool { return len(s.leaves) == 0 && s.scan == noScan }

// add notes that a leaf is scattered.
func (s *scattered) add(key uint64) {
	if s.scan <= key {
		return // the scan will come to it
	}
	i, found := slices.BinarySearch(s.leaves, key)
	switch {
	case found:
	case len(s.leaves) < cap(s.leaves):
		s.leaves = slices.Insert(s.leaves, i, key)
	case s.scan == noScan:
		s.scan = 0
	default:
		s.again = true
	}
}

// done notes that a leaf was looked at.
func (s *scattered) done(key uint64) {
	if i, found := slices.BinarySearch(s.leaves, key); found {
		s.leaves = slices.Delete(s.leaves, i, i+1)
	}
	if s.scan == key {
		s.scan++
	}
}

// skip moves the scan on to the first leaf of the next node, or to its end.
func (s *scattered) skip(to uint64) {
	s.scan = to
	if to == noScan && s.again {
		s.scan, s.again = 0, false
	}
}

// nextScattered returns the next leaf to be looked at; false: there is none that is known at once,
// but perhaps more to look for.
func (p *Pool) nextScattered(w *waiter) (key uint64, ok bool, err error) {
	s := &p.back.scattered
	if len(s.leaves) > 0 {
		return s.leaves[0], true, nil
	}
	i, _ := slices.BinarySearchFunc(p.order, uint32(s.scan>>32), byID)
	if i == len(p.order) {
		s.skip(noScan)
		return 0, false, nil
	}
	n := p.order[i]
	first := leafKey(n.rec.ID, 0)
	s.scan = max(s.scan, first)
	if !n.replaceable() {
		s.skip(first + 1<<32)
		return 0, false, nil
	}
	at, err := p.nextLeaf(&n.tree, (s.scan-first)*leafBlocks, w)
	if err == errWait || err == errTight {
		return 0, false, err
	}
	if err != nil || at>>(fanoutBits*n.levels) != 0 { // what is damaged is for reads and check to tell
		s.skip(first + 1<<32)
		return 0, false, nil
	}
	s.scan = leafKey(n.rec.ID, at/leafBlocks)
	return s.scan, true, nil
}

// replaceable reports whether blocks of n may be moved: it is a volume with a map of its own.
func (n *node) replaceable() bool {
	return !n.frozen() && !n.hidden() && n.rec.Flags&NodeAsParent == 0
}

// noteScattered notes the leaves that destage has changed and left in pieces.
func (b *backend) noteScattered() {
	p := b.p
	last := uint64(noScan)
	for i := range b.batch[:b.placed] {
		m := &b.batch[i]
		leaf := m.block / leafBlocks
		n, key := p.nodes[m.id], leafKey(m.id, leaf)
		if key == last || n == nil || !n.replaceable() {
			continue
		}
		last = key
		f, err := p.descend(&n.tree, m.block, 1, nil)
		if err != nil || f == noFrame {
			continue
		}
		if s := p.shapeOf(n, f, leaf); s.scattered() {
			b.scattered.add(last)
		}
	}
}
