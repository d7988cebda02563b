package bpf

import (
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"
)

// put counts a time, as the kernel does.
func (p *Part) put(d time.Duration) {
	p.Sum += d
	p.Buckets[max(0, bits.Len64(uint64(d))-1)]++
}

// logWrite is when a write to the log was issued and done.
type logWrite struct{ issued, done time.Duration }

// latencyModel is the same in plain Go. It keeps all writes to the log.
type latencyModel struct {
	logs  []logWrite
	times map[int]*[2]Times
}

func (m *latencyModel) add(stream int, op Op, queued, issued, done time.Duration) {
	if m.times[stream] == nil {
		m.times[stream] = &[2]Times{}
	}
	w := &m.times[stream][op]
	w.Requests++
	w.Queue.put(issued - queued)
	w.Served.put(done - issued)
	w.Total.put(done - queued)
	if op == OpRead {
		return
	}
	if stream == Log {
		m.logs = append(m.logs, logWrite{issued, done})
		return
	}
	var best logWrite
	for _, l := range m.logs[max(0, len(m.logs)-16):] {
		if l.issued >= issued && l.done <= done && l.done >= best.done {
			best = l
		}
	}
	if best.done > 0 {
		w.Split++
		w.Batch.put(best.issued - issued)
		w.Log.put(best.done - best.issued)
		w.Reply.put(done - best.done)
	}
}

// TestLatency replays guests' requests, and writes to the log while they are under way, and compares
// what was counted with the model.
func TestLatency(t *testing.T) {
	guests, backing := rig()
	r := follow(t, guests, backing, RequestOptions{Times: true})
	rng := rand.New(rand.NewPCG(8, 8))
	below := func(n time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(n))) }
	m := latencyModel{times: map[int]*[2]Times{}}
	now := time.Duration(1000)
	for id := range uint64(enough(2000, 400)) {
		g, op := guests[rng.IntN(3)], Op(rng.IntN(2)) // those with queues
		queued := now + below(50)
		issued := queued + below(1<<rng.IntN(12))
		done := issued + 1 + below(1<<rng.IntN(12))
		now += below(500)
		steps := way(id+1, g.Device, queued, issued, done)
		for i := range steps {
			steps[i].Op = op
		}
		step(t, r, steps[0])
		step(t, r, steps[1])
		for range rng.IntN(3) { // the log's device has no queues
			l := logWrite{issued: issued - 10 + below(done-issued+10)}
			l.done = l.issued + 1 + below(done-l.issued+10)
			s := Step{
				Kind: BioQueued, Time: l.issued, ID: 1 << 40, Device: backing[0].Device, Op: OpWrite,
				Sector: 20, Sectors: 8,
			}
			step(t, r, s)
			s.Kind, s.Time = BioDone, l.done
			step(t, r, s)
			m.add(Log, OpWrite, l.issued, l.issued, l.done)
		}
		step(t, r, steps[2])
		m.add(g.Stream, op, queued, issued, done)
	}
	var split uint64
	for stream, w := range m.times {
		reads, writes, err := r.Latency(stream)
		if err != nil {
			t.Fatal(err)
		}
		if reads != w[OpRead] || writes != w[OpWrite] {
			t.Errorf("stream %d:\n got %+v\n     %+v\nwant %+v\n     %+v", stream, reads, writes, w[0], w[1])
		}
		split += writes.Split
		if sub := writes.Sub(writes); sub != (Times{}) {
			t.Errorf("%+v less itself: %+v", writes, sub)
		}
	}
	if split < 50 {
		t.Errorf("only %d writes could be split", split)
	}
	if _, _, err := r.Latency(FirstGuest + len(guests)); err == nil {
		t.Error("a stream that is none has times")
	}
}

func TestQuantile(t *testing.T) {
	var p Part
	if p.Quantile(0.5) != 0 {
		t.Error("of nothing there is a median")
	}
	p.Buckets[10], p.Buckets[20] = 98, 2
	if got := p.Quantile(0.49); got != 1024+512 {
		t.Errorf("the middle of the bucket is %d", got)
	}
	if got := p.Quantile(0.99); got != 1<<20+1<<19 {
		t.Errorf("p99 is %d", got)
	}
}
