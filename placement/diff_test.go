package placement

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"unblend/log"
)

// page gets one page of a comparison.
func (r *rig) page(d *Diff) error {
	r.t.Helper()
	r.p.Diff(d)
	for range 1_000_000 {
		if q := r.p.NextDiff(); q != nil {
			if q != d {
				r.t.Fatal("another page ended")
			}
			return q.Err
		}
		r.turn()
	}
	r.t.Fatal("the page never ended")
	return nil
}

// diff compares two nodes in pages of a number of extents. between, unless nil, comes after each.
func (r *rig) diff(from, to string, extents int, between func()) ([]DiffExtent, error) {
	r.t.Helper()
	d := &Diff{From: from, To: to, Extents: make([]DiffExtent, 0, extents)}
	var all []DiffExtent
	for {
		if err := r.page(d); err != nil {
			return nil, err
		}
		all = append(all, d.Extents...)
		if d.Next == d.Size {
			return all, nil
		}
		if d.Next <= d.Off {
			r.t.Fatalf("%s to %s: the page from %d on ends at %d", from, to, d.Off, d.Next)
		}
		if d.Off = d.Next; between != nil {
			between()
		}
	}
}

// expectDiff compares two nodes and holds the result against the model, in which no two writes have
// the same stamp: exactly the blocks whose stamps differ have changed.
func (l *lives) expectDiff(from, to string, extents int, between func()) {
	l.t.Helper()
	was, is := l.model[from], slices.Clone(l.model[to])
	if from != "" && was == nil {
		l.fail("no model of %s", from)
	}
	was = append(slices.Clone(was), make([]uint32, len(is))...)
	got, err := l.diff(from, to, extents, between)
	if err != nil {
		l.fail("diff %s %s: %v", from, to, err)
	}
	kinds := make([]byte, len(is)) // 1: data, 2: zeros
	for _, e := range got {
		for b := e.Off / log.BlockSize; b < (e.Off+e.Len)/log.BlockSize; b++ {
			if kinds[b] != 0 {
				l.fail("diff %s %s: block %d stands in two extents", from, to, b)
			}
			kinds[b] = 1
			if e.Zero {
				kinds[b] = 2
			}
		}
	}
	for b := range is {
		want := byte(0)
		switch {
		case was[b] == is[b]:
		case is[b] == 0:
			want = 2
		default:
			want = 1
		}
		if kinds[b] != want {
			l.fail("diff %s %s, block %d (stamps %d, %d): %d, want %d", from, to, b, was[b], is[b],
				kinds[b], want)
		}
	}
}

// expectDiffs compares random pairs. Those without an ancestor in common are refused.
func (l *lives) expectDiffs(between func()) {
	l.t.Helper()
	all := append(l.sorted(false), l.sorted(true)...)
	for range 6 {
		from, to := all[l.rng.IntN(len(all))], all[l.rng.IntN(len(all))]
		if l.rng.IntN(6) == 0 {
			from = ""
		}
		if from != "" && !l.related(from, to) {
			if _, err := l.diff(from, to, 1, nil); !errors.Is(err, ErrUnrelated) {
				l.fail("diff %s %s: %v, want ErrUnrelated", from, to, err)
			}
			continue
		}
		l.expectDiff(from, to, 1+l.rng.IntN(20), between)
	}
}

// related reports whether two nodes have an ancestor in common, which one of them may be.
func (l *lives) related(x, y string) bool {
	for a := l.p.names[x]; a != nil; a = a.parent {
		for b := l.p.names[y]; b != nil; b = b.parent {
			if a == b {
				return true
			}
		}
	}
	return false
}

// Pages of comparisons come between everything that moves blocks and changes the tree.
func TestDiffOfFamily(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := newLives(t, 100+seed)
			for range 300 {
				l.change()
				if l.rng.IntN(3) == 0 {
					l.operate()
				}
				l.pass()
				if l.rng.IntN(8) == 0 {
					l.expectDiffs(func() {
						for range l.rng.IntN(20) {
							l.turn()
						}
					})
				}
			}
		})
	}
}

// A comparison of two snapshots stays right when between its pages the volume is written, everything
// is destaged, snapshots between them and around them are removed, and the pool dies.
func TestDiffWhileAllMoves(t *testing.T) {
	for seed := range uint64(4) {
		l := newLives(t, 200+seed)
		v := l.pick(false)
		for i := range 6 {
			for range 15 {
				l.change()
			}
			l.ask(&Control{Op: SnapshotVolume, Names: []string{v}, To: fmt.Sprint(i)})
			l.model[fmt.Sprint(v, "@", i)] = slices.Clone(l.model[v])
		}
		names := []string{"@0", "@2", "@3", "@5"}
		l.expectDiff(v+"@1", v+"@4", 3, func() {
			l.change()
			switch l.rng.IntN(4) {
			case 0:
				l.ask(&Control{Op: Drain})
			case 1:
				if len(names) > 0 {
					l.ask(&Control{Op: RemoveVolume, Name: v + names[0]})
					delete(l.model, v+names[0])
					names = names[1:]
				}
			case 2:
				l.die()
			default:
				for range 100 {
					l.turn()
				}
			}
		})
	}
}

// What the log has is found wherever in the past of one of the two it belongs, and only there: each
// node writes a leaf of its own, and nothing is destaged.
func TestDiffInTheLog(t *testing.T) {
	r := newRig(t, 64<<20)
	r.create("a", 16<<20)
	written := map[string][]int64{} // leaves, by name
	leaf := int64(0)
	write := func(name string) {
		v := r.p.Volume(name)
		r.fill(v, leaf*leafBlocks+leaf, 1, 1)
		written[name] = append(slices.Clone(written[name]), leaf)
		leaf++
	}
	for i := range 4 {
		write("a")
		to := fmt.Sprint(i)
		r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: to})
		written["a@"+to] = written["a"]
		if i == 1 || i == 2 {
			r.must(&Control{Op: CloneVolume, Name: "a@" + to, To: "c" + to})
			written["c"+to] = written["a"]
		}
		write("a")
	}
	for _, c := range []string{"c1", "c2", "c1"} {
		write(c)
	}
	if r.p.stats.DestagedBlocks > 0 {
		t.Fatal("something was destaged")
	}
	for from, was := range written {
		for to, is := range written {
			var want []DiffExtent
			for l := range leaf {
				if in := slices.Contains(is, l); in != slices.Contains(was, l) {
					want = append(want, DiffExtent{(l*leafBlocks + l) << 12, 1 << 12, !in})
				}
			}
			if got, err := r.diff(from, to, 3, nil); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s to %s: %v, %v; want %v", from, to, got, err, want)
			}
		}
	}
}

func TestDiffRefuses(t *testing.T) {
	r := newRig(t, 64<<20)
	r.create("a", 4<<20)
	r.create("b", 4<<20)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	for _, c := range []struct {
		d    Diff
		want error
	}{
		{Diff{From: "a@s", To: "b"}, ErrUnrelated},
		{Diff{From: "a@s", To: "c"}, ErrNoVolume},
		{Diff{From: "c", To: "a"}, ErrNoVolume},
		{Diff{To: "a", ToID: 99}, ErrNoVolume},
		{Diff{To: "a", Off: 5 << 20}, ErrConfig},
		{Diff{To: "a", Off: 17}, ErrConfig},
	} {
		c.d.Extents = make([]DiffExtent, 0, 4)
		if err := r.page(&c.d); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.d, err, c.want)
		}
	}
	if err := r.page(&Diff{To: "a"}); !errors.Is(err, ErrConfig) {
		t.Errorf("no room: %v", err)
	}
	d := &Diff{From: "a@s", To: "a", Extents: make([]DiffExtent, 0, 1)}
	if err := r.page(d); err != nil {
		t.Fatal(err)
	}
	r.must(&Control{Op: RemoveVolume, Name: "a@s"})
	if err := r.page(d); !errors.Is(err, ErrNoVolume) {
		t.Errorf("a later page after the removal: %v", err)
	}
}

// A comparison reads pages where the maps differ, and nothing of what they share. No turn does more
// than a bounded piece of it.
func TestDiffReadsOnlyWhatDiffers(t *testing.T) {
	r := newRig(t, 200<<20)
	const leaves = 120
	v := r.create("a", leaves<<20)
	for leaf := range int64(leaves) {
		r.fill(v, leaf*leafBlocks, 1, 1)
	}
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "1"})
	r.fill(v, 70*leafBlocks, 3, 2)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "2"})
	r.must(&Control{Op: Drain})
	r.open()
	before := r.p.Status().Stats.PageReads
	got, err := r.diff("a@1", "a@2", 16, nil)
	if want := []DiffExtent{{70 << 20, 3 << 12, false}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if n := r.p.Status().Stats.PageReads - before; n > 4 { // a root and a leaf of each
		t.Errorf("%d pages were read", n)
	}
	got, err = r.diff("", "a@2", 1000, nil)
	if err != nil || len(got) != leaves || got[70] != (DiffExtent{70 << 20, 3 << 12, false}) {
		t.Errorf("all of it: %d extents, %v", len(got), err)
	}
}

// Zeros over what only the log has, of a node that both come from, are a difference.
func TestDiffOfZerosOverTheLog(t *testing.T) {
	r := newRig(t, 64<<20)
	v := r.create("a", 16<<20)
	r.fill(v, 300, 1, 1)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	q := &Request{Kind: Discard, Vol: v, Off: 1 << 20, Len: 8 << 20}
	if r.do(q); q.Err != 0 {
		t.Fatal(q.Err)
	}
	want := []DiffExtent{{300 << 12, 1 << 12, true}}
	if got, err := r.diff("a@s", "a", 16, nil); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	want[0].Zero = false
	if got, err := r.diff("a", "a@s", 16, nil); err != nil || !slices.Equal(got, want) {
		t.Errorf("the other way: %v, %v; want %v", got, err, want)
	}
}

// More leaves than a page keeps of the index, and more extents than it has room for.
func TestDiffOfManyDirtyLeaves(t *testing.T) {
	x := newIndex(4*diffKept, 64, 1024)
	p := &Pool{index: x}
	l := &line{id: 1}
	for i := range uint64(3 * diffKept) {
		leaf := i * 7919 % (3 * diffKept)
		x.put(1, 1, leaf*leafBlocks+i%leafBlocks, 0, uint32(i), 0)
	}
	d := &Diff{diffState: diffState{
		p: p, end: 4 * diffKept * leafBlocks, entry: noEntry + 1, paths: []diffPath{{l, 0, 1}},
	}}
	turns := 0
	for ; d.entry != noEntry; turns++ {
		d.scan()
	}
	if turns < 2 || len(d.leaves) != diffKept || d.leaves[0] != 0 || d.leaves[diffKept-1] != diffKept-1 ||
		d.end != diffKept*leafBlocks || cap(d.leaves) > 4*diffKept {
		t.Errorf("%d turns, %d leaves from %d on, cap %d, end %d", turns, len(d.leaves), d.leaves[0],
			cap(d.leaves), d.end)
	}
}
