package faultdisk

import (
	"fmt"
	"slices"
	"testing"
)

// step is one request of a small history over two sectors: of one page, or where a sector is a
// page, of two.
type step struct {
	what    string
	cmd     uint16
	flags   uint16
	sectors []int
}

var steps = []step{
	{"w0", nbdWrite, 0, []int{0}},
	{"w1", nbdWrite, 0, []int{1}},
	{"w01", nbdWrite, 0, []int{0, 1}},
	{"fua0", nbdWrite, nbdFUA, []int{0}},
	{"fua01", nbdWrite, nbdFUA, []int{0, 1}},
	{"z1", nbdZeroes, 0, []int{1}},
	{"trim0 fua", nbdTrim, nbdFUA, []int{0}},
	{"flush", nbdFlush, 0, nil},
}

// oracle is what the contract permits: for each sector the durable value first, then the others in
// the order in which they were written.
type oracle [2][]byte

func (o *oracle) apply(s step, v byte) {
	if s.cmd == nbdFlush {
		for i := range o {
			o[i] = o[i][len(o[i])-1:]
		}
	}
	for _, i := range s.sectors {
		if s.cmd != nbdWrite {
			v = 0
		}
		o[i] = append(slices.Clone(o[i]), v)
		if s.flags&nbdFUA != 0 {
			o[i] = []byte{v}
		}
	}
}

// TestCutOfEveryShortHistory runs every history of three requests and a cut, in every mode, and
// looks whether each sector has a permitted value, and for Sectors also that every permitted
// combination occurs.
func TestCutOfEveryShortHistory(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			s := newServer(t, DiskConfig{Name: "d", Size: 8192, Sector: sector})
			for i := range len(steps) * len(steps) * len(steps) {
				n := len(steps)
				history := []step{steps[i%n], steps[i/n%n], steps[i/n/n]}
				for mode := Random; mode < modeCount; mode++ {
					checkHistory(t, s, sector, history, mode)
				}
			}
		})
	}
}

func checkHistory(t *testing.T, s *Server, sector int, history []step, mode Mode) {
	t.Helper()
	seeds := map[Mode]uint64{Random: 4, None: 1, All: 1, Sectors: 400, Writes: 4, Prefix: 4}[mode]
	seen := map[[2]byte]bool{}
	var want oracle
	for seed := range seeds {
		got, o := playAndCut(t, s, sector, history, seed, mode)
		want = o
		for i := range want {
			ok := slices.Contains(want[i], got[i])
			switch mode {
			case None:
				ok = got[i] == want[i][0]
			case All:
				ok = got[i] == want[i][len(want[i])-1]
			}
			if !ok {
				t.Fatalf("%v, cut %s seed %d: sector %d is %d, permitted %d",
					history, mode, seed, i, got[i], want[i])
			}
		}
		seen[got] = true
		if mode == Sectors && len(seen) == combinations(want) {
			return
		}
	}
	if mode == Sectors {
		t.Fatalf("%v: %d of %d combinations", history, len(seen), combinations(want))
	}
}

func combinations(o oracle) int {
	n := 1
	for _, vals := range o {
		distinct := slices.Clone(vals)
		slices.Sort(distinct)
		n *= len(slices.Compact(distinct))
	}
	return n
}

// playAndCut performs a history on zeroed sectors, by the calls that a connection makes.
func playAndCut(t *testing.T, s *Server, sector int, history []step, seed uint64, mode Mode) (
	got [2]byte, o oracle,
) {
	t.Helper()
	o = oracle{{0}, {0}}
	conn := newConn(s, nil)
	perform(t, s, &request{conn: conn, op: Trim, fua: true, length: 8192})
	for i, st := range history {
		o.apply(st, byte(i+1))
		op, _ := opOf(st.cmd)
		r := &request{conn: conn, op: op, fua: st.flags&nbdFUA != 0}
		if len(st.sectors) > 0 {
			r.off = int64(st.sectors[0] * sector)
			r.length = int64(len(st.sectors) * sector)
		}
		if op == Write {
			r.data = fill(byte(i+1), int(r.length))
		}
		perform(t, s, r)
	}
	if _, err := s.Cut(seed, mode); err != nil {
		t.Fatal(err)
	}
	vals := contents(t, s, "d", 8192, sector)
	return [2]byte{vals[0], vals[1]}, o
}

func perform(t *testing.T, s *Server, r *request) {
	t.Helper()
	r.disk = s.disks[0]
	if err := s.begin(r); err != nil || r.errno != 0 {
		t.Fatalf("%s: %v, errno %d", r.op, err, r.errno)
	}
}

func TestCutDropsConnectionsAndAcceptsNewOnes(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20), mem("d1", 1<<20))
	a, b := connect(t, s, "d0"), connect(t, s, "d1")
	rep, err := s.Cut(1, None)
	if err != nil || rep.Connections != 2 {
		t.Fatalf("report %+v, %v", rep, err)
	}
	if !a.closed() || !b.closed() {
		t.Fatal("a connection outlives the cut")
	}
	if err := connect(t, s, "d1").write(0, fill(1, 512), 0); err != nil {
		t.Fatal(err)
	}
}

func TestOffRefusesUntilOn(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20))
	if _, err := s.Off(1, None); err != nil {
		t.Fatal(err)
	}
	near, far := connPair(t)
	s.Serve(far)
	if c := (&client{t: t, nc: near}); !c.closed() {
		t.Fatal("a connection is accepted while the power is off")
	}
	s.On()
	connect(t, s, "d0")
}

func TestDisksHaveCachesOfTheirOwn(t *testing.T) {
	s := newServer(t, mem("d0", 4096), mem("d1", 4096))
	a, b := connect(t, s, "d0"), connect(t, s, "d1")
	for _, c := range []*client{a, b} {
		if err := c.write(0, fill(7, 4096), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.flush(); err != nil {
		t.Fatal(err)
	}
	rep, err := s.Cut(1, None)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, s, "d0", 4096, 512); got[0] != 7 {
		t.Errorf("d0 was flushed and has %d", got)
	}
	if got := contents(t, s, "d1", 4096, 512); got[0] != 0 {
		t.Errorf("d1 was made durable by the flush of d0: %d", got)
	}
	if d := rep.Disks; d[0].Sectors != 0 || d[1].Sectors != 8 || d[1].Durable != 8 {
		t.Errorf("report %+v", rep)
	}
}

func TestFlushOnOneConnectionCoversTheOthers(t *testing.T) {
	s := newServer(t, mem("d0", 4096))
	a, b := connect(t, s, "d0"), connect(t, s, "d0")
	if err := a.write(0, fill(7, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	s.Cut(1, None)
	if got := contents(t, s, "d0", 4096, 512); got[0] != 7 {
		t.Errorf("got %d", got)
	}
}

// TestSeedDecides plays the same history on several servers: equal seeds must give equal contents
// and reports, and different seeds must not all give the same.
func TestSeedDecides(t *testing.T) {
	outcome := func(seed uint64, mode Mode) string {
		s := newServer(t, mem("d0", 64<<10), mem("d1", 64<<10))
		a, b := connect(t, s, "d0"), connect(t, s, "d1")
		for i := range 60 {
			c := []*client{a, b}[i%2]
			if err := c.write(i*7%15*4096, fill(byte(i), 4096), 0); err != nil {
				t.Fatal(err)
			}
		}
		rep, err := s.Cut(seed, mode)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(rep, contents(t, s, "d0", 64<<10, 512), contents(t, s, "d1", 64<<10, 512))
	}
	for _, mode := range []Mode{Random, Sectors, Writes, Prefix} {
		distinct := map[string]bool{}
		for seed := range uint64(8) {
			first, again := outcome(seed, mode), outcome(seed, mode)
			if first != again {
				t.Fatalf("%s, seed %d: two outcomes", mode, seed)
			}
			distinct[first] = true
		}
		if len(distinct) < 4 {
			t.Errorf("%s: %d outcomes of 8 seeds", mode, len(distinct))
		}
	}
}

// TestPrefixAndWritesKeepWholeWrites looks for what the names of the modes promise.
func TestPrefixAndWritesKeepWholeWrites(t *testing.T) {
	for seed := range uint64(40) {
		for _, mode := range []Mode{Writes, Prefix} {
			s := newServer(t, mem("d0", 64<<10))
			c := connect(t, s, "d0")
			for i := range 16 {
				if err := c.write(i*4096, fill(byte(i+1), 4096), 0); err != nil {
					t.Fatal(err)
				}
			}
			s.Cut(seed, mode)
			got := contents(t, s, "d0", 64<<10, 4096)
			gap := slices.Index(got, 0)
			if mode == Prefix && gap >= 0 && slices.Max(got[gap:]) != 0 {
				t.Fatalf("seed %d: not a prefix: %d", seed, got)
			}
			s.Close()
		}
	}
}
