package simdisk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"unblend/log"
)

// manual is a timing under the test's control: operations end when it says so.
type manual struct{ m *manualModel }

type manualModel struct {
	held []*request
	out  *request
}

func (t manual) newModel(*rand.Rand, *Config) model { return t.m }

func (m *manualModel) add(_ int64, r *request) { m.held = append(m.held, r) }

func (m *manualModel) next(now int64) (*request, int64) {
	r := m.out
	m.out = nil
	return r, now
}

func (m *manualModel) reset() { *m = manualModel{} }

// script drives one disk by hand. Its operations are numbered from 1 in order of submission.
type script struct {
	w   *World
	d   *Disk
	m   *manualModel
	ops []*log.Op
	req []*request
	res []int32
}

func newScript(cfg Config) *script {
	s := &script{w: NewWorld(1), m: new(manualModel)}
	cfg.Name, cfg.Size, cfg.Timing = "d", 1<<20, manual{s.m}
	s.d = s.w.NewDisk(cfg)
	return s
}

func (s *script) submit(op *log.Op) {
	op.Token = log.Token(len(s.ops))
	s.ops = append(s.ops, op)
	s.res = append(s.res, 1)
	s.d.Submit(op, func(t log.Token, res int32) { s.res[t] = res })
	if n := len(s.m.held); n > 0 {
		s.req = append(s.req, s.m.held[n-1])
	}
}

// end lets operation i (from 1) end.
func (s *script) end(i int) {
	s.m.out = s.req[i-1]
	s.d.pump()
	s.w.Step()
}

// step performs one step: w3 writes a block of threes, W3 does with FUA, f flushes, F flushes and
// fails, L flushes and lies, e2 lets operation 2 end.
func (s *script) step(step string) {
	arg := 0
	if len(step) > 1 {
		arg = int(step[1] - '0')
	}
	switch step[0] {
	case 'w', 'W':
		s.submit(&log.Op{
			Kind: log.Write, FUA: step[0] == 'W', Bufs: [][]byte{page(byte(arg))},
		})
	case 'e':
		s.end(arg)
	case 'F':
		s.d.Inject(Fault{Do: FailFlush})
		s.submit(&log.Op{Kind: log.Flush})
	case 'L':
		s.d.Inject(Fault{Do: LyingFlush})
		s.submit(&log.Op{Kind: log.Flush})
	case 'f':
		s.submit(&log.Op{Kind: log.Flush})
	}
}

// left returns what a power cut at the end of the steps can leave in block 0.
func left(cfg Config, steps []string) []int {
	var seen []int
	for e := (&Exhaust{Whole: true}); ; {
		s := newScript(cfg)
		for _, step := range steps {
			s.step(step)
		}
		s.w.Crash(e.Keep)
		p := page(0xFF)
		s.d.Peek(p, 0)
		if !slices.Contains(seen, int(p[0])) {
			seen = append(seen, int(p[0]))
		}
		if !e.Next() {
			slices.Sort(seen)
			return seen
		}
	}
}

func TestWhatAPowerCutCanLeave(t *testing.T) {
	for _, c := range []struct {
		steps    string
		volatile string
		safe     string // without a volatile cache
	}{
		{"w1", "[0 1]", "[0 1]"},
		{"w1 e1", "[0 1]", "[1]"},
		{"W1", "[0 1]", "[0 1]"},
		{"W1 e1", "[1]", "[1]"},
		{"w1 e1 f", "[0 1]", "[1]"},
		{"w1 e1 f e2", "[1]", "[1]"},
		{"w1 f e2 e1", "[0 1]", "[1]"},
		{"w1 f e1 e2", "[0 1]", "[1]"},
		{"w1 e1 w2", "[0 1 2]", "[1 2]"},
		{"w1 e1 w2 e2", "[0 1 2]", "[2]"},
		{"w1 e1 w2 f e3 e2", "[1 2]", "[2]"},
		{"w1 e1 f w2 e3 e2", "[1 2]", "[2]"},
		{"w1 e1 w2 e2 f e3", "[2]", "[2]"},
		{"w1 e1 W2 e2", "[2]", "[2]"},
		{"w1 W2 e2", "[1 2]", "[1 2]"},
		{"w1 W2 e2 e1", "[1 2]", "[1]"},
		{"W1 w2 e2 e1", "[1]", "[1]"},
		{"w1 e1 F e2", "[0 1]", "[1]"},
		{"w1 e1 F e2 f e3", "[0 1]", "[1]"},
		{"w1 e1 F e2 w2 e3 f e4", "[2]", "[2]"},
		{"w1 e1 L e2", "[0 1]", "[1]"},
		{"w1 e1 L e2 f e3", "[1]", "[1]"},
	} {
		steps := strings.Fields(c.steps)
		if got := fmt.Sprint(left(Config{Volatile: true}, steps)); got != c.volatile {
			t.Errorf("%s with a volatile cache: left %s, want %s", c.steps, got, c.volatile)
		}
		if got := fmt.Sprint(left(Config{}, steps)); got != c.safe {
			t.Errorf("%s without a volatile cache: left %s, want %s", c.steps, got, c.safe)
		}
	}
}

// permitted says from the definitions what a power cut may leave: every write that no write
// completed after it has made obsolete by being durable.
func permitted(volatile bool, steps []string) []int {
	type op struct {
		value, submitted, ended int
		fua, flush              bool
	}
	var ops []op
	for at, step := range steps {
		switch step[0] {
		case 'w', 'W':
			ops = append(ops, op{value: int(step[1] - '0'), submitted: at, fua: step[0] == 'W'})
		case 'f':
			ops = append(ops, op{submitted: at, flush: true})
		case 'e':
			ops[step[1]-'1'].ended = at
		}
	}
	durable := func(v op) bool {
		if v.ended == 0 || v.flush {
			return false
		}
		return !volatile || v.fua || slices.ContainsFunc(ops, func(f op) bool {
			return f.flush && f.ended > 0 && f.submitted > v.ended
		})
	}
	obsolete := func(v op) bool {
		return slices.ContainsFunc(ops, func(o op) bool { return durable(o) && o.ended > v.ended })
	}
	var values []int
	if !slices.ContainsFunc(ops, durable) {
		values = append(values, 0)
	}
	for _, v := range ops {
		if !v.flush && (v.ended == 0 || !obsolete(v)) {
			values = append(values, v.value)
		}
	}
	slices.Sort(values)
	return values
}

// TestEveryShortHistory compares the disk with the definitions in every history of up to 7 steps.
func TestEveryShortHistory(t *testing.T) {
	histories := 0
	var grow func(steps []string, open []int, ops int)
	grow = func(steps []string, open []int, ops int) {
		histories++
		for _, volatile := range []bool{true, false} {
			got, want := left(Config{Volatile: volatile}, steps), permitted(volatile, steps)
			if !slices.Equal(got, want) {
				t.Fatalf("%v, volatile %v: left %v, permitted %v", steps, volatile, got, want)
			}
		}
		if len(steps) == 7 {
			return
		}
		with := func(step string) []string { return append(slices.Clone(steps), step) }
		if ops < 4 {
			for _, step := range []string{fmt.Sprint("w", ops+1), fmt.Sprint("W", ops+1), "f"} {
				grow(with(step), append(slices.Clone(open), ops+1), ops+1)
			}
		}
		for i, o := range open {
			grow(with(fmt.Sprint("e", o)), slices.Delete(slices.Clone(open), i, i+1), ops)
		}
	}
	grow(nil, nil, 0)
	t.Logf("%d histories", histories)
}

func TestSectorsTearApart(t *testing.T) {
	for _, c := range []struct{ sector, results int }{{512, 256}, {4096, 2}} {
		seen := map[string]bool{}
		for e := new(Exhaust); ; {
			s := newScript(Config{SectorSize: c.sector})
			s.step("w1")
			s.w.Crash(e.Keep)
			p := page(0xFF)
			s.d.Peek(p, 0)
			for at := 0; at < len(p); at += c.sector {
				if got := p[at : at+c.sector]; slices.Max(got) != slices.Min(got) {
					t.Fatal("a sector is torn")
				}
			}
			seen[string(p)] = true
			if !e.Next() {
				break
			}
		}
		if len(seen) != c.results {
			t.Errorf("sectors of %d: %d results, want %d", c.sector, len(seen), c.results)
		}
	}
}

func TestBlocksOfOneWriteArriveApart(t *testing.T) {
	seen := map[string]bool{}
	for e := (&Exhaust{Whole: true}); ; {
		s := newScript(Config{})
		s.submit(&log.Op{Kind: log.Write, Bufs: [][]byte{page(1), page(2)}})
		s.w.Crash(e.Keep)
		p := Buffer(2 * log.BlockSize)
		s.d.Peek(p, 0)
		seen[fmt.Sprint(p[0], p[log.BlockSize])] = true
		if !e.Next() {
			break
		}
	}
	for _, want := range []string{"0 0", "1 0", "0 2", "1 2"} {
		if !seen[want] {
			t.Errorf("a cut never leaves %s", want)
		}
	}
}

func TestCacheEvictsTheOldest(t *testing.T) {
	s := newScript(Config{Volatile: true, CacheBytes: 2 * log.BlockSize})
	for i := range 4 {
		s.submit(&log.Op{Kind: log.Write, Off: int64(i) * log.BlockSize, Bufs: [][]byte{page(7)}})
		s.end(i + 1)
	}
	s.w.Crash(KeepNone)
	p := Buffer(4 * log.BlockSize)
	s.d.Peek(p, 0)
	for i, want := range []byte{7, 7, 0, 0} {
		if p[i*log.BlockSize] != want {
			t.Errorf("block %d holds %d, want %d", i, p[i*log.BlockSize], want)
		}
	}
}
