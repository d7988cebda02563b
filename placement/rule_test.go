package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The rule of ownership, as a model: nodes with a place and an epoch per block, no pages, no log. An
// entry is its node's own if it was born after the node's present parent was frozen; behind the
// cursor of a walk the parent is already the one before.

const ruleBlocks = 40 // one in each leaf of a volume

type ruleEntry struct {
	place int
	birth uint32
}

type ruleNode struct {
	id, parent, birth, frozen uint32
	own                       bool // has a map of its own
	entries                   [ruleBlocks]ruleEntry
	dirty                     [ruleBlocks]bool
	cursor                    int // block up to which it was walked
}

type rule struct {
	nodes  map[uint32]*ruleNode
	epoch  uint32
	places int
	used   map[int]bool
}

func (m *rule) ids() (ids []uint32) {
	for id := range m.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (m *rule) kids(id uint32) (kids []*ruleNode) {
	for _, k := range m.ids() {
		if m.nodes[k].parent == id {
			kids = append(kids, m.nodes[k])
		}
	}
	return kids
}

// floor returns the epoch above which what n has at block b is its own.
func (m *rule) floor(n *ruleNode, b int) uint32 {
	h := m.nodes[n.parent]
	if h != nil && b < h.cursor {
		h = m.nodes[h.parent]
	}
	if h == nil {
		return 0
	}
	return h.frozen
}

func (m *rule) owns(n *ruleNode, b int) bool {
	e := n.entries[b]
	return e.place != 0 && e.birth > m.floor(n, b)
}

// destage gives every block that was written its place, of older nodes first.
func (m *rule) destage() {
	for _, id := range m.ids() {
		n := m.nodes[id]
		for b := range n.dirty {
			if !n.dirty[b] {
				continue
			}
			if n.dirty[b] = false; !n.own {
				n.own, n.entries = true, m.above(n)
			}
			if !m.owns(n, b) {
				m.places++
				m.used[m.places] = true
				n.entries[b] = ruleEntry{m.places, n.birth}
			}
		}
	}
}

// above returns the map that a node without one reads.
func (m *rule) above(n *ruleNode) [ruleBlocks]ruleEntry {
	for n != nil && !n.own {
		n = m.nodes[n.parent]
	}
	if n == nil {
		return [ruleBlocks]ruleEntry{}
	}
	return n.entries
}

// walk frees what a removed node has up to a block and its only child, if any, does not share.
func (m *rule) walk(n *ruleNode, to int) {
	var child [ruleBlocks]ruleEntry
	if kids := m.kids(n.id); len(kids) == 1 {
		child = m.above(kids[0])
	}
	for b := n.cursor; b < to && n.own; b++ {
		h := m.nodes[n.parent]
		if e := n.entries[b]; e.place != 0 && (h == nil || e.birth > h.frozen) && child[b].place != e.place {
			if !m.used[e.place] {
				panic("freed twice")
			}
			delete(m.used, e.place)
		}
	}
	n.cursor = max(n.cursor, to)
}

// finish takes a removed node out of the tree.
func (m *rule) finish(n *ruleNode) {
	for _, k := range m.kids(n.id) {
		if !k.own && n.own {
			k.own, k.entries, n.own = true, n.entries, false
		} else {
			m.walk(n, ruleBlocks)
		}
		k.parent = n.parent
	}
	m.walk(n, ruleBlocks)
	delete(m.nodes, n.id)
}

// ruled drives the engine and the model with the same operations.
type ruled struct {
	*rig
	m     *rule
	rng   *rand.Rand
	at    map[int]uint64 // address of each place
	base  uint64         // blocks free at first
	names int
	mid   int // comparisons in the middle of a walk
}

// agree brings the model to where the walker is, and compares: who owns what, and what is in use.
func (r *ruled) agree(first uint32) {
	r.t.Helper()
	ids := append([]uint32{first}, r.m.ids()...)
	for _, id := range ids {
		n, e := r.m.nodes[id], r.p.nodes[id]
		switch {
		case n == nil:
		case e == nil || e.gone() && e.root.Flags == 0:
			r.m.finish(n)
		case e.hidden():
			r.m.walk(n, int(min(e.rec.Cursor/leafBlocks, ruleBlocks)))
		}
	}
	for _, id := range r.m.ids() {
		n := r.m.nodes[id]
		r.same(n, r.p.nodes[id])
		if n.cursor > 0 && n.cursor < ruleBlocks {
			r.mid++
		}
	}
	if got := r.base - r.p.blocks.available(); got != uint64(len(r.m.used)) {
		r.t.Fatalf("%d blocks in use, by the rule %d", got, len(r.m.used))
	}
}

func (r *ruled) same(n *ruleNode, e *node) {
	r.t.Helper()
	if n.own != (e.rec.Flags&NodeAsParent == 0) || !n.own {
		if n.own {
			r.t.Fatalf("node %d has no map", n.id)
		}
		return
	}
	for b := n.cursor; b < ruleBlocks; b++ {
		at := uint64(b * leafBlocks)
		got, err := Entry{}, errWait
		for err == errWait {
			if got, err = r.p.find(&e.tree, at, nil); err == errWait {
				r.drv.Pump()
				r.w.Step()
			}
		}
		want := n.entries[b]
		if err != nil || (got.Flags != 0) != (want.place != 0) {
			r.t.Fatalf("node %d, block %d: %+v, %v, by the rule %+v", n.id, b, got, err, want)
		}
		if want.place == 0 {
			continue
		}
		if _, known := r.at[want.place]; !known {
			r.at[want.place] = got.Addr
		}
		if r.at[want.place] != got.Addr || e.owns(got, at+1) != r.m.owns(n, b) {
			r.t.Fatalf("node %d, block %d: %+v, own %v; by the rule at %d, own %v",
				n.id, b, got, e.owns(got, at+1), r.at[want.place], r.m.owns(n, b))
		}
	}
}

// add makes the model's node for what the engine made last.
func (r *ruled) add(name string, parent uint32) {
	id := r.p.names[name].rec.ID
	r.m.nodes[id] = &ruleNode{id: id, parent: parent, birth: r.m.epoch, own: parent == 0}
}

// still does something while the walker waits for a node that is never ready.
func (r *ruled) still(do func()) {
	walks, never := r.p.walks, &node{}
	never.fresh, never.rec.Cursor = 1, 1
	r.p.walks = []*node{never}
	do()
	r.p.walks = append(walks, r.p.walks[1:]...)
}

// step lets the walker do one turn's work on one node.
func (r *ruled) step() {
	if len(r.p.walks) == 0 {
		return
	}
	n := r.p.walks[0]
	rest := slices.Clone(r.p.walks[1:])
	if n.rec.Cursor == 0 && len(rest) > 0 { // any may be next
		i := r.rng.IntN(len(rest))
		n, rest[i] = rest[i], n
	}
	r.p.walks = []*node{n}
	r.p.Tick(r.w.Now() + 2_000_000_000)
	r.turn()
	r.p.walks = append(r.p.walks, rest...)
	r.agree(n.rec.ID)
}

// operate does one operation of an operator.
func (r *ruled) operate() {
	var vols, snaps []*node
	for _, n := range r.p.order {
		if n.rec.Name != "" && n.frozen() {
			snaps = append(snaps, n)
		} else if n.rec.Name != "" {
			vols = append(vols, n)
		}
	}
	r.names++
	to := fmt.Sprintf("n%d", r.names)
	v := vols[r.rng.IntN(len(vols))]
	switch x := r.rng.IntN(10); {
	case x < 4 && len(snaps) < 8:
		r.must(&Control{Op: SnapshotVolume, Names: []string{v.rec.Name}, To: to})
		r.m.nodes[v.rec.ID].frozen = r.m.epoch
		r.m.epoch++
		r.add(r.p.order[len(r.p.order)-1].rec.Name, v.rec.ID)
	case len(snaps) == 0:
	case x < 6 && len(vols) < 5:
		s := snaps[r.rng.IntN(len(snaps))]
		r.must(&Control{Op: CloneVolume, Name: s.rec.Name, To: to})
		r.add(to, s.rec.ID)
	case x == 6:
		s := snaps[r.rng.IntN(len(snaps))]
		if v, _, _ := strings.Cut(s.rec.Name, "@"); r.p.names[v] != nil {
			r.must(&Control{Op: RollbackVolume, Name: s.rec.Name})
			r.add(v, s.rec.ID)
		}
	case x < 9:
		s := snaps[r.rng.IntN(len(snaps))]
		r.must(&Control{Op: RemoveVolume, Name: s.rec.Name})
	case len(vols) > 1 && r.p.snapshotLeft(map[*node]bool{v: true}) == nil:
		r.must(&Control{Op: RemoveVolume, Name: v.rec.Name})
	}
}

// TestRuleAgrees: the engine and the model free the same blocks, and say the same of who owns what,
// whatever is written, cloned and removed, and wherever a walk stands.
func TestRuleAgrees(t *testing.T) {
	mid := 0
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := &ruled{
				rig: newRig(t, 64<<20), rng: rand.New(rand.NewPCG(seed, 7)), at: map[int]uint64{},
				m: &rule{nodes: map[uint32]*ruleNode{}, epoch: 1, used: map[int]bool{}},
			}
			r.reopen(func(o *Options) { o.Low, o.High, o.Idle = 900, 950, 1<<60 })
			r.base = r.p.blocks.available()
			r.create("a", ruleBlocks<<20)
			r.m.epoch = r.p.epoch
			r.add("a", 0)
			for range 150 {
				switch r.rng.IntN(5) {
				case 0, 1:
					r.still(r.write)
					r.agree(0)
				case 2:
					r.still(r.operate)
					r.agree(0)
				default:
					r.step()
				}
			}
			mid += r.mid
		})
	}
	if mid < 20 {
		t.Errorf("compared %d times in the middle of a walk", mid)
	}
}

// write writes some blocks, and has them destaged.
func (r *ruled) write() {
	for range 1 + r.rng.IntN(12) {
		n := r.p.order[r.rng.IntN(len(r.p.order))]
		if n.frozen() || n.hidden() {
			continue
		}
		b := r.rng.IntN(ruleBlocks)
		r.m.nodes[n.rec.ID].dirty[b] = true
		r.strictly(blockWrite(r.p.open(n), int64(b*leafBlocks), 1, 1))
	}
	r.must(&Control{Op: Drain})
	r.m.destage()
}
