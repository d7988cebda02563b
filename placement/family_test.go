package placement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"unblend/log"
)

// lives does random operations on a tree of volumes and snapshots, one at a time, beside a model
// that copies everything, while the pool destages, walks, makes checkpoints, and dies now and then.
type lives struct {
	*rig
	rng   *rand.Rand
	model map[string][]uint32 // stamp of every block, by name; 0: zeros
	stamp uint32
	names int
	trace []string
}

const lifeBlocks = 700 // of a volume, in three leaves

func newLives(t *testing.T, seed uint64) *lives {
	l := &lives{
		rig: newRig(t, 96<<20), rng: rand.New(rand.NewPCG(seed, 5)), model: map[string][]uint32{},
	}
	l.newVolume()
	return l
}

// sorted returns the names of volumes, or of snapshots.
func (l *lives) sorted(snapshots bool) (names []string) {
	for name := range l.model {
		if strings.Contains(name, "@") == snapshots {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// pick returns one of them, or "".
func (l *lives) pick(snapshots bool) string {
	names := l.sorted(snapshots)
	if len(names) == 0 {
		return ""
	}
	return names[l.rng.IntN(len(names))]
}

func (l *lives) name(prefix string) string {
	l.names++
	return fmt.Sprintf("%s%d", prefix, l.names)
}

func (l *lives) say(format string, args ...any) {
	l.trace = append(l.trace, fmt.Sprintf(format, args...))
}

func (l *lives) ask(c *Control) {
	l.t.Helper()
	l.say("op %d %s %v to %s count %d size %d", c.Op, c.Name, c.Names, c.To, c.Count, c.Size)
	if err := l.control(c); err != nil {
		l.fail("%v", err)
	}
}

func (l *lives) fail(format string, args ...any) {
	l.t.Helper()
	for _, line := range l.trace[max(len(l.trace)-60, 0):] {
		l.t.Log(line)
	}
	l.t.Fatalf(format, args...)
}

func (l *lives) newVolume() {
	name := l.name("v")
	l.ask(&Control{Op: CreateVolume, Name: name, Size: lifeBlocks * log.BlockSize})
	l.model[name] = make([]uint32, lifeBlocks)
}

// change writes, or zeroes, some blocks of a volume.
func (l *lives) change() {
	name := l.pick(false)
	m := l.model[name]
	at := l.rng.IntN(len(m))
	if l.rng.IntN(2) == 0 {
		at %= 40 // again and again
	}
	n := min(1+l.rng.IntN(12), len(m)-at)
	kind := Write
	switch l.rng.IntN(8) {
	case 0:
		kind = Discard
	case 1:
		kind, at, n = Discard, 0, len(m)
		if l.rng.IntN(3) > 0 {
			at, n = min(256, len(m)-80), min(256, len(m)-min(256, len(m)-80))
		}
	}
	l.say("%s %s %d+%d", kind, name, at, n)
	buf := alignedBytes(n * log.BlockSize)
	for i := range n {
		l.stamp++
		m[at+i] = 0
		if kind == Write {
			m[at+i] = l.stamp
			binary.LittleEndian.PutUint32(buf[i*log.BlockSize:], l.stamp)
		}
	}
	q := &Request{
		Kind: kind, Vol: l.p.Volume(name), Off: int64(at) * log.BlockSize,
		Len: int64(n) * log.BlockSize, Buf: buf,
	}
	l.do(q)
	if q.Err != 0 {
		l.fail("%s %s: %v", kind, name, q.Err)
	}
}

// verify reads a volume or snapshot.
func (l *lives) verify(name string) {
	l.t.Helper()
	m := l.model[name]
	v := l.p.Volume(name)
	if v == nil || v.Size() != int64(len(m))*log.BlockSize {
		l.fail("%s: %+v, want %d blocks", name, v, len(m))
	}
	const piece = 100
	buf := alignedBytes(piece * log.BlockSize)
	for at := 0; at < len(m); at += piece {
		n := min(piece, len(m)-at)
		q := &Request{
			Vol: v, Off: int64(at) * log.BlockSize, Len: int64(n) * log.BlockSize,
			Buf: buf[:n*log.BlockSize],
		}
		l.do(q)
		if q.Err != 0 {
			l.fail("%s: read at %d: %v, %v", name, at, q.Err, l.p.stats.LastError)
		}
		for i := range n {
			if got := binary.LittleEndian.Uint32(buf[i*log.BlockSize:]); got != m[at+i] {
				l.fail("%s, block %d: %d, want %d", name, at+i, got, m[at+i])
			}
		}
	}
}

func (l *lives) verifyAll() {
	l.t.Helper()
	for _, s := range [...]bool{false, true} {
		for _, name := range l.sorted(s) {
			l.verify(name)
		}
	}
	if n := len(l.p.Volumes(false)); n != len(l.model) {
		l.fail("%d volumes and snapshots, want %d", n, len(l.model))
	}
	l.verifyPages()
}

// verifyPages gets what there is in small pages, and wants all of it, by id, each with the number of
// its children.
func (l *lives) verifyPages() {
	l.t.Helper()
	for _, all := range [...]bool{false, true} {
		want := l.p.Volumes(all)
		slices.SortFunc(want, func(a, b VolumeInfo) int { return int(a.ID) - int(b.ID) })
		var got, page []VolumeInfo
		for next := uint32(0); ; {
			page, next = l.p.VolumesAfter(next, all, make([]VolumeInfo, 0, 1+l.rng.IntN(5)))
			if got = append(got, page...); next == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			l.fail("in pages: %v, want %v", got, want)
		}
	}
	for _, n := range l.p.order {
		kids := 0
		for k := n.kid; k != nil; k = k.next {
			kids++
		}
		if kids != n.kids {
			l.fail("node %d: %d children, counted as %d", n.rec.ID, kids, n.kids)
		}
	}
}

// operate does one thing that an operator does.
func (l *lives) operate() {
	v, s := l.pick(false), l.pick(true)
	switch x := l.rng.IntN(20); {
	case x < 6 && len(l.model) < 30:
		l.snapshot(v)
	case x < 9 && s != "" && len(l.model) < 30:
		l.clone(s)
	case x == 9 && s != "":
		l.rollback(s)
	case x < 13 && s != "":
		l.ask(&Control{Op: RemoveVolume, Name: s})
		delete(l.model, s)
	case x < 15 && len(l.sorted(false)) > 1:
		l.removeVolume(v)
	case x == 15:
		l.rename(v)
	case x == 16 && len(l.model[v]) < 3000:
		l.model[v] = append(l.model[v], make([]uint32, l.rng.IntN(1200))...)
		l.ask(&Control{Op: ResizeVolume, Name: v, Size: int64(len(l.model[v])) * log.BlockSize})
	case x == 17 && len(l.model) < 30:
		l.newVolume()
	}
}

func (l *lives) snapshot(v string) {
	names := []string{v}
	for _, other := range l.sorted(false) {
		if other != v && l.rng.IntN(4) == 0 {
			names = append(names, other)
		}
	}
	to := l.name("s")
	l.ask(&Control{Op: SnapshotVolume, Names: names, To: to})
	for _, n := range names {
		l.model[n+"@"+to] = slices.Clone(l.model[n])
	}
}

func (l *lives) clone(s string) {
	to := l.name("c")
	if l.rng.IntN(3) > 0 {
		l.ask(&Control{Op: CloneVolume, Name: s, To: to})
		l.model[to] = slices.Clone(l.model[s])
		return
	}
	l.ask(&Control{Op: CloneVolume, Name: s, To: to + "-", Count: 3, First: 8, Width: 2})
	for i := range 3 {
		l.model[fmt.Sprintf("%s-%02d", to, 8+i)] = slices.Clone(l.model[s])
	}
}

func (l *lives) rollback(s string) {
	v, _, _ := strings.Cut(s, "@")
	if l.model[v] != nil {
		l.ask(&Control{Op: RollbackVolume, Name: s})
		l.model[v] = slices.Clone(l.model[s])
	}
}

func (l *lives) removeVolume(v string) {
	names := []string{v}
	for _, s := range l.sorted(true) {
		if strings.HasPrefix(s, v+"@") {
			names = append(names, s)
		}
	}
	l.ask(&Control{Op: RemoveVolume, Names: names})
	for _, n := range names {
		delete(l.model, n)
	}
}

func (l *lives) rename(v string) {
	to := l.name("r")
	l.ask(&Control{Op: RenameVolume, Name: v, To: to})
	for _, n := range append(l.sorted(true), v) {
		if rest, ok := strings.CutPrefix(n, v); ok && (rest == "" || rest[0] == '@') {
			l.model[to+rest] = l.model[n]
			delete(l.model, n)
		}
	}
}

// die ends the process or cuts the power, and opens the pool again.
func (l *lives) die() {
	l.say("die")
	if l.rng.IntN(2) == 0 {
		l.w.Kill(l.rng.Int64N(1_000_000))
	} else {
		l.w.Crash(nil)
	}
	l.w.Restart()
	if err := l.disk.Settle(); err != nil {
		l.t.Fatal(err)
	}
	l.open()
	l.check()
	if l.t.Failed() {
		l.fail("check failed")
	}
	l.verifyAll()
}

func (l *lives) pass() {
	if err := l.p.promises(); err != nil {
		l.fail("%v", err)
	}
	switch l.rng.IntN(40) {
	case 0:
		l.ask(&Control{Op: Drain})
	case 1:
		l.ask(&Control{Op: Checkpoint})
	case 2, 3:
		l.say("idle")
		l.w.Advance(l.w.Now() + 2_000_000_000)
		for range l.rng.IntN(200) {
			l.turn()
		}
	case 4:
		l.die()
	case 5:
		l.verifyAll()
	default:
		for range l.rng.IntN(30) {
			l.turn()
		}
	}
}

func TestFamily(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := newLives(t, seed)
			for range 500 {
				l.change()
				if l.rng.IntN(3) == 0 {
					l.operate()
				}
				l.pass()
			}
			l.die()
			l.end()
		})
	}
}

// end removes everything, and wants everything back.
func (l *lives) end() {
	all := append(l.sorted(false), l.sorted(true)...)
	l.ask(&Control{Op: RemoveVolume, Names: all})
	l.model = map[string][]uint32{}
	for range 20 {
		l.ask(&Control{Op: Drain})
		l.w.Advance(l.w.Now() + 2_000_000_000)
		for range 2000 {
			l.turn()
		}
	}
	l.check()
	if st := l.p.Status(); st.Nodes != 0 || st.BlocksFree != st.BlocksTotal {
		l.fail("%d nodes, %d of %d blocks free", st.Nodes, st.BlocksFree, st.BlocksTotal)
	}
}

// A removed snapshot that several clones need keeps what the log has of it, over a restart too.
func TestFamilyRemovedNodeIsReplayed(t *testing.T) {
	l := newLives(t, 1)
	v := l.pick(false)
	for range 20 {
		l.change()
	}
	l.ask(&Control{Op: SnapshotVolume, Names: []string{v}, To: "s"})
	for _, c := range []string{"a", "b"} {
		l.ask(&Control{Op: CloneVolume, Name: v + "@s", To: c})
		l.model[c] = slices.Clone(l.model[v])
	}
	l.ask(&Control{Op: RemoveVolume, Name: v + "@s"})
	l.ask(&Control{Op: Checkpoint})
	if l.p.index.len() == 0 {
		t.Fatal("nothing is left in the log")
	}
	l.die()
}

// A volume that counts as attached can be rolled back when whoever asks has taken its device away. It
// counts as attached throughout, so that a restart in between gives it its device again.
func TestFamilyRollbackStaysAttached(t *testing.T) {
	r := newRig(t, 64<<20)
	v := r.create("a", 4<<20)
	r.fill(v, 0, 1, 1)
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	r.fill(v, 0, 1, 2)
	r.must(&Control{Op: AttachVolume, Name: "a", Device: 7, ReadOnly: true})
	if err := r.control(&Control{Op: RollbackVolume, Name: "a@s"}); !errors.Is(err, ErrAttached) {
		t.Errorf("rollback of an attached volume: %v", err)
	}
	r.must(&Control{Op: RollbackVolume, Name: "a@s", Attach: true})
	r.w.Crash(nil)
	r.w.Restart()
	r.open()
	if in, _ := r.p.Info("a"); !in.Attached || in.Device != 7 || !in.ReadOnly {
		t.Errorf("after a power cut: %+v", in)
	}
	r.expect(r.p.Volume("a"), 0, 1, 0)
}

// halfWalked makes a volume with two blocks in each of its leaves, and removes a snapshot of it after
// which some leaves were written. It returns the volume and the snapshot's node, the walk of which has
// come past leaf 8 and stands still while the node is fresh.
func (r *rig) halfWalked(leaves int64, written ...int64) (*Volume, *node) {
	r.t.Helper()
	v := r.create("a", leaves<<20)
	for leaf := range leaves {
		r.fill(v, leaf*leafBlocks, 2, 1)
	}
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	for _, leaf := range written {
		r.fill(v, leaf*leafBlocks, 1, 2)
	}
	r.must(&Control{Op: Drain})
	h := v.node.parent
	r.must(&Control{Op: RemoveVolume, Name: "a@s"})
	r.next(func() bool { return h.rec.Cursor > 8*leafBlocks })
	if h.rec.Cursor > 40*leafBlocks {
		r.t.Fatalf("the walk has come to block %d already", h.rec.Cursor)
	}
	h.fresh++
	return v, h
}

// While a removed snapshot is merged into the volume, the volume overwrites what the walker has
// passed and what it has not: each block is freed once.
func TestFamilyWalkBesideWrites(t *testing.T) {
	r := newRig(t, 96<<20)
	v, h := r.halfWalked(60, 30)
	for _, leaf := range []int64{0, 3, 7, 52, 58} {
		r.fill(v, leaf*leafBlocks, 1, 3)
	}
	r.must(&Control{Op: Drain})
	h.fresh--
	for range 3 {
		r.next(func() bool { return !r.p.back.walking() })
		r.must(&Control{Op: Checkpoint})
	}
	r.check()
	r.expect(v, 3*leafBlocks, 3, 0)
	r.expect(v, 30*leafBlocks, 2, 0)
	r.expect(v, 58*leafBlocks+1, 1, 0)
}

// While a removed snapshot is merged into the volume, the volume is emptied and removed, too: what the walker
// has passed was freed by the volume, and counts as the snapshot's no more.
func TestFamilyRemovedBesideAWalk(t *testing.T) {
	r := newRig(t, 96<<20)
	empty := r.p.blocks.available()
	v, h := r.halfWalked(60, 30)
	r.discard(v, 0, 60<<20)
	r.must(&Control{Op: Drain})
	r.must(&Control{Op: RemoveVolume, Name: "a"})
	if !h.gone() || h.rec.Cursor == 0 || h.rec.Cursor > 50*leafBlocks {
		t.Fatalf("the snapshot's walk stands at block %d", h.rec.Cursor)
	}
	if want := int64(2 * (60 - h.rec.Cursor/leafBlocks)); h.rec.Owned != want {
		t.Errorf("%d blocks count as the snapshot's, %d are left", h.rec.Owned, want)
	}
	h.fresh--
	r.next(func() bool { return !r.p.back.walking() })
	r.must(&Control{Op: Checkpoint})
	r.check()
	if free := r.p.blocks.available(); free != empty {
		t.Errorf("%d blocks are free, %d were", free, empty)
	}
}
