package vmtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
)

// fileJournal keeps a journal in a file outside the machine, in fixed places that rise with time. A
// place that is still empty belongs to a record that the machine's end prevented.
type fileJournal struct {
	f    *os.File
	next atomic.Int64 // place
}

// journalRecord is one record, little-endian.
//
//	0      4      8        12       16       24       32
//	+------+------+--------+--------+--------+--------+
//	| what | kind | volume | number | offset | length |
//	+------+------+--------+--------+--------+--------+
type journalRecord struct {
	What, Kind, Volume, Number uint32
	Off, Len                   int64
}

const journalRecordSize = 32

const (
	journalBegun        = 1
	journalAcknowledged = 2
)

func createJournal(path string) (*fileJournal, error) {
	f, err := os.Create(path)
	return &fileJournal{f: f}, err
}

func (j *fileJournal) begun(op cutOp) error { return j.append(journalBegun, op) }

func (j *fileJournal) acknowledged(op cutOp) error { return j.append(journalAcknowledged, op) }

// append returns when the record is outside the machine.
func (j *fileJournal) append(what uint32, op cutOp) error {
	b, err := binary.Append(nil, binary.LittleEndian, journalRecord{
		what, uint32(op.kind), op.volume, op.number, op.Off, op.Len,
	})
	if err != nil {
		return err
	}
	_, err = j.f.WriteAt(b, (j.next.Add(1)-1)*journalRecordSize)
	return err
}

// replayJournal brings volumes, by their ids from 1 on, to what a journal says, and returns how
// many requests were acknowledged. No journal is an empty one.
func replayJournal(path string, vols []*cutVolume) (acks int, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for i := 0; i+journalRecordSize <= len(b); i += journalRecordSize {
		var r journalRecord
		if _, err := binary.Decode(b[i:], binary.LittleEndian, &r); err != nil {
			return 0, err
		}
		if r.What == 0 {
			continue
		}
		if r.Volume < 1 || int(r.Volume) > len(vols) {
			return 0, fmt.Errorf("%s: record at %d is of volume %d", path, i, r.Volume)
		}
		v := vols[r.Volume-1]
		op := cutOp{kind: cutKind(r.Kind), volume: r.Volume, number: r.Number}
		op.Off, op.Len = r.Off, r.Len
		v.last = max(v.last, r.Number)
		if r.What == journalBegun {
			v.open = append(v.open, op)
			continue
		}
		v.settle(op)
		acks++
	}
	return acks, nil
}

// statePath is where a volume's state is kept between two machines.
func statePath(dir string, v *cutVolume) string { return filepath.Join(dir, "state-"+v.name) }

// saveState keeps what a volume holds: the last number, then that of each sector.
func saveState(dir string, v *cutVolume) error {
	b, err := binary.Append(nil, binary.LittleEndian, append([]uint32{v.last}, v.holds...))
	if err != nil {
		return err
	}
	return os.WriteFile(statePath(dir, v), b, 0o644)
}

// loadState is the opposite of saveState.
func loadState(dir string, v *cutVolume) error {
	b, err := os.ReadFile(statePath(dir, v))
	if err != nil {
		return err
	}
	r := bytes.NewReader(b)
	if err := binary.Read(r, binary.LittleEndian, &v.last); err != nil {
		return err
	}
	return binary.Read(r, binary.LittleEndian, v.holds)
}
