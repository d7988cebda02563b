package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Settings say under what terms cells were measured: those of equal settings belong together.
type Settings struct {
	Commit  string        `json:"commit"`          // with a hash of what is not committed
	Kernel  string        `json:"kernel"`          // of the machine, as vm.Find takes it; empty: this host's
	Device  string        `json:"device"`          // natively
	Pairs   int           `json:"pairs"`           // of each cell
	Run     time.Duration `json:"run_ns"`          // of one run
	Total   int64         `json:"total"`           // bytes that the volumes of a cell have together
	Serve   string        `json:"serve,omitempty"` // more arguments of unblend serve
	Counted bool          `json:"counted,omitempty"`
}

// Machine is where something was measured.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory"` // bytes
}

// Run is one run of fio.
type Run struct {
	Pair int  `json:"pair"` // from 1; two runs have each number
	Ours bool `json:"ours"` // of unblend, not of the contender
	Figures
	Log int `json:"log,omitempty"` // how full unblend's log was at the end, in thousandths
}

// Outcome is a cell that was measured, or could not be.
type Outcome struct {
	Schema   string   `json:"schema"`
	Settings Settings `json:"settings"`
	Cell     Cell     `json:"cell"`
	Machine  Machine  `json:"machine"`
	Host     *Machine `json:"host,omitempty"` // under an emulated machine
	Load     float64  `json:"load"`           // the host's load average when the cell was done
	Runs     []Run    `json:"runs,omitempty"`
	Error    string   `json:"error,omitempty"`
	Seconds  float64  `json:"seconds"` // that the cell took
}

// SchemaOutcome names the document that holds an Outcome.
const SchemaOutcome = "unblend/bench-cell/v1"

// State is a file of outcomes, one a line, to which each is added as it comes.
type State struct {
	path string
	set  Settings
	done map[Cell]Outcome
}

// OpenState reads the outcomes of equal settings from the file at path; there may be none yet. A last
// line that was cut off counts as not written.
func OpenState(path string, set Settings) (*State, error) {
	s := &State{path: path, set: set, done: map[Cell]Outcome{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o Outcome
		if json.Unmarshal(lines.Bytes(), &o) == nil && o.Schema == SchemaOutcome && o.Settings == set &&
			o.Error == "" {
			s.done[o.Cell] = o
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("state %s: %w", path, err)
	}
	return s, nil
}

// Add keeps an outcome, durably if the cell was measured: one that could not be is wanted again.
func (s *State) Add(o Outcome) error {
	s.done[o.Cell] = o
	if o.Error != "" {
		return nil
	}
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	// The newline in front ends a line that was cut off.
	_, err = f.Write(append(append([]byte{'\n'}, line...), '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// Done returns the outcome of a cell, and whether it was measured.
func (s *State) Done(c Cell) (Outcome, bool) {
	o, ok := s.done[c]
	return o, ok && o.Error == ""
}

// Outcomes returns what is known of the cells, in their order.
func (s *State) Outcomes(cells []Cell) []Outcome {
	var all []Outcome
	for _, c := range cells {
		if o, ok := s.done[c]; ok {
			all = append(all, o)
		}
	}
	return all
}
