package placement

import (
	"strings"
	"syscall"
	"testing"

	"unblend/log"
)

// The oracle has to be trusted, so it is tested by hand-made histories: what must be let pass, and
// what must not.

// history drives the oracle's view of one volume.
type history struct {
	t *testing.T
	v *simVolume
}

func newHistory(t *testing.T, flush bool) *history {
	return &history{t, newOracle(flush).create("vol", 1<<20)}
}

// submit begins a write of n sectors.
func (h *history) submit(sector, n int64) *simOp {
	return h.v.submit(Write, sector*SectorSize, n*SectorSize, fillStamp, nil, false)
}

func (h *history) write(sector, n int64) *simOp {
	op := h.submit(sector, n)
	h.v.ack(op)
	return op
}

// content returns what n sectors hold when each has what its op wrote; nil: zeros.
func content(sector uint32, ops ...*simOp) []byte {
	b := make([]byte, len(ops)*SectorSize)
	for i, op := range ops {
		if op != nil {
			op.render(b[i*SectorSize:(i+1)*SectorSize], sector+uint32(i))
		}
	}
	return b
}

// read reads sectors that hold what the ops wrote, and expects the oracle to find what says want;
// "": nothing.
func (h *history) read(want string, sector uint32, ops ...*simOp) {
	h.t.Helper()
	r := h.v.beginRead(int64(sector)*SectorSize, int64(len(ops))*SectorSize)
	h.expect(want, h.v.check(r, content(sector, ops...)))
}

func (h *history) expect(want string, err error) {
	h.t.Helper()
	switch {
	case want == "" && err != nil:
		h.t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		h.t.Errorf("let pass, want %q", want)
	case err != nil && !strings.Contains(err.Error(), want):
		h.t.Errorf("got %q, want %q", err, want)
	}
}

const wrong = "a read"

func TestOracleKnowsTheLastAcknowledged(t *testing.T) {
	h := newHistory(t, false)
	h.read("", 0, nil)
	a := h.write(0, 2)
	h.read("", 0, a, a)
	h.read(wrong, 0, nil)
	b := h.write(1, 1)
	h.read("", 0, a, b)
	h.read(wrong, 0, a, a)
	other := h.v.o.create("other", 1<<20)
	foreign := other.submit(Write, 0, SectorSize, fillStamp, nil, false)
	h.read(wrong, 0, foreign)
}

func TestOracleOfWritesUnderWay(t *testing.T) {
	h := newHistory(t, false)
	a := h.write(0, 1)
	b, c := h.submit(0, 1), h.submit(0, 1)
	h.read("", 0, a)
	h.read("", 0, b)
	h.read(wrong, 0, a) // b was seen: a is gone for good
	h.v.ack(b)
	h.v.ack(c)
	h.read("", 0, b)
	h.read(wrong, 0, c) // both had ended: the first look decided
}

func TestOracleOfAReadUnderWay(t *testing.T) {
	h := newHistory(t, false)
	a := h.write(0, 1)
	r1, r2 := h.v.beginRead(0, SectorSize), h.v.beginRead(0, SectorSize)
	b := h.write(0, 1)
	c := h.write(0, 1)
	h.expect("", h.v.check(r1, content(0, a)))
	h.expect("", h.v.check(r2, content(0, b)))
	h.read("", 0, c)
	h.read(wrong, 0, b)
}

func TestOracleOfZeros(t *testing.T) {
	h := newHistory(t, false)
	h.write(0, 32)
	d := h.v.submit(Discard, 4*SectorSize, 20*SectorSize, fillZero, nil, false)
	if d.first != 8 || d.n != 16 {
		t.Fatalf("discard of %d+%d, want whole blocks only", d.first, d.n)
	}
	h.v.ack(d)
	h.read("", 8, nil, nil)
	h.read(wrong, 7, nil)
	z := h.v.submit(WriteZeroes, SectorSize, 2*SectorSize, fillZero, nil, false)
	h.v.ack(z)
	h.read("", 1, nil, nil)
	h.read(wrong, 0, nil)
}

func TestOracleOfACrash(t *testing.T) {
	h := newHistory(t, false)
	a := h.write(0, 3)
	b := h.submit(0, 3)
	h.v.crash(true)
	h.v.recovered()
	h.read("", 0, b)
	h.read(wrong, 0, a) // it stays as it was seen
	h.read("torn", 1, a)

	h = newHistory(t, false)
	a = h.write(0, 1)
	h.submit(0, 1)
	h.v.crash(true)
	h.v.recovered()
	c := h.write(0, 1)
	h.read("", 0, c)
	h.read(wrong, 0, a)
}

func TestOracleOfRepeatedCrashes(t *testing.T) {
	h := newHistory(t, false)
	h.write(0, 1)
	b := h.submit(0, 1)
	h.v.crash(true)
	h.v.crash(true)
	h.v.recovered()
	c := h.submit(0, 1)
	h.v.crash(false)
	h.v.recovered()
	h.read("", 0, b)
	h.read(wrong, 0, c)
}

func TestOracleOfTheOrderOfWrites(t *testing.T) {
	h := newHistory(t, false)
	a, b := h.submit(0, 2), h.submit(0, 2)
	h.v.ack(a)
	h.v.ack(b)
	h.read("", 0, a)
	h.read("each replace", 1, b)
}

func TestOracleOfAFlushPool(t *testing.T) {
	h := newHistory(t, true)
	a := h.write(0, 1)
	h.v.flushed(h.v.o.tick())
	b := h.write(0, 1)
	c := h.write(8, 1)
	h.read("", 0, b)
	h.read(wrong, 0, a)
	h.v.crash(true)
	h.v.recovered()
	h.read("", 0, a) // b was not durable
	h.read("", 8, c) // but what came after it is there
	h.expect("is there, but", h.v.verified())

	h = newHistory(t, true)
	h.write(0, 1)
	h.v.flushed(h.v.o.tick())
	h.v.crash(true)
	h.v.recovered()
	h.read(wrong, 0, nil) // it was flushed
}

func TestOracleOfAFlushPoolThatIsKilled(t *testing.T) {
	h := newHistory(t, true)
	a := h.write(0, 1)
	h.v.crash(false)
	h.v.recovered()
	h.read("", 0, a)
	h.v.crash(true) // recovery has flushed
	h.v.recovered()
	h.read(wrong, 0, nil)
}

func TestOracleOfFUA(t *testing.T) {
	h := newHistory(t, true)
	op := h.v.submit(Write, 0, SectorSize, fillStamp, nil, true)
	h.v.ack(op)
	h.v.crash(true)
	h.v.recovered()
	h.read(wrong, 0, nil)
}

func TestOracleOfErrors(t *testing.T) {
	h := newHistory(t, false)
	a := h.write(0, 8)
	fail := func(want string) {
		t.Helper()
		r := h.v.beginRead(0, SectorSize)
		h.expect(want, h.v.failedRead(r, syscall.EIO))
	}
	fail("input/output")
	h.v.lost[0] = lostBlock{since: h.v.o.tick()}
	fail("")
	b := h.write(0, log.BlockSize/SectorSize)
	fail("input/output") // healed
	h.read("", 0, b)
	h.v.refused(h.submit(0, 1))
	h.read("", 0, b)
	h.read(wrong, 0, a)
}
