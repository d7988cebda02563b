package vmtest

import (
	"encoding/json"
	"os"
	"sync"

	"unblend/tools/internal/load"
)

// history is what a workload has done in a machine, for the host that looks at what a power cut
// would have left. It is a cutJournal. A moment is a number of events that were noted before it.
type history struct {
	mu      sync.Mutex
	Events  []journalRecord
	Marks   []interval // of the log: what was sent between
	Volumes []historyVolume
}

// interval is an interval in which something took effect.
type interval struct{ Before, After int }

// historyVolume is a volume, snapshot or clone.
type historyVolume struct {
	Name   string
	ID     uint32 // of a volume that is written; of a snapshot, that of the volume it was taken of
	Size   int64
	Made   interval
	Origin string // of a clone: the snapshot
	Frozen bool   // it is a snapshot
}

func (h *history) begun(op cutOp) error { return h.note(journalBegun, op) }

func (h *history) acknowledged(op cutOp) error { return h.note(journalAcknowledged, op) }

func (h *history) note(what uint32, op cutOp) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Events = append(h.Events, journalRecord{
		what, uint32(op.kind), op.volume, op.number, op.Off, op.Len,
	})
	return nil
}

// now returns the moment.
func (h *history) now() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.Events)
}

// during returns the moments before and after f.
func (h *history) during(f func()) interval {
	s := interval{Before: h.now()}
	f()
	s.After = h.now()
	return s
}

// save and loadHistory carry a history to the host.
func (h *history) save(path string) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func loadHistory(path string) (*history, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	h := &history{}
	return h, json.Unmarshal(text, h)
}

// asOrigin stands for what the origin of a clone holds.
const asOrigin = ^uint32(0)

// permitted says what the sectors of a volume may hold: the number of a write, 0 for zeros, or
// asOrigin.
type permitted struct {
	want []uint32           // by sector: what was acknowledged last
	also map[int64][]uint32 // what was under way, or came later
}

// permits returns what a volume may hold if all is there that was acknowledged before s.Before, and
// perhaps some of what was begun before s.After. Requests that overlap were never under way at one
// time, so their numbers are in the order in which they took effect.
func (h *history) permits(v historyVolume, s interval) *permitted {
	p := &permitted{make([]uint32, v.Size/load.SectorSize), map[int64][]uint32{}}
	if v.Origin != "" {
		for i := range p.want {
			p.want[i] = asOrigin
		}
	}
	acked := map[uint32]bool{}
	for _, e := range h.Events[:s.Before] {
		if e.Volume == v.ID && e.What == journalAcknowledged {
			acked[e.Number] = true
		}
	}
	for _, e := range h.Events[:s.After] {
		if e.Volume != v.ID || e.What != journalBegun {
			continue
		}
		op := cutOp{kind: cutKind(e.Kind), number: e.Number}
		op.Off, op.Len = e.Off, e.Len
		for i, end := op.sectors(); i < end; i++ {
			if acked[e.Number] {
				p.want[i] = op.leaves()
				delete(p.also, i)
			} else {
				p.also[i] = append(p.also[i], op.leaves())
			}
		}
	}
	return p
}
