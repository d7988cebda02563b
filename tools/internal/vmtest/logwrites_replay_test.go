package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"unblend/tools/internal/load"
)

// replay goes through a log of dm-log-writes and looks at what a power cut would have left.
type replay struct {
	log     io.ReaderAt
	entries []logEntry
	h       *history
	image   imageDisk // after the entries so far

	mark   int // number of the last mark; -1: none
	allows map[string]*permitted
	states int       // opened
	torn   int       // of them, with the last write in part
	cuts   int       // moments at which the device was durable, from the first mark on
	early  imageDisk // the first state
}

// run opens the pool at limit moments, evenly spread over all from the first mark on.
func (r *replay) run(limit int) error {
	r.mark = -1
	first := slices.IndexFunc(r.entries, func(e logEntry) bool { return e.mark != "" })
	for _, e := range r.entries[max(first, 0):] {
		if e.durable() {
			r.cuts++
		}
	}
	seen := 0
	for i, e := range r.entries {
		at := e.durable() && r.mark >= 0
		// The last one always counts: it is the end in order.
		look := at && (seen+1)*limit/r.cuts > seen*limit/r.cuts
		if at {
			seen++
		}
		if look && e.data > 0 {
			if err := r.tornAt(i); err != nil {
				return fmt.Errorf("entry %d, in part: %w", i, err)
			}
		}
		if err := e.apply(r.image, r.log, nil); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if e.mark != "" && r.mark+1 < len(r.h.Marks) {
			r.mark++
			r.allows = map[string]*permitted{}
		}
		if look {
			if r.early == nil {
				r.early = slices.Clone(r.image)
			}
			if err := r.look(slices.Clone(r.image)); err != nil {
				return fmt.Errorf("behind entry %d, %+v: %w", i, e, err)
			}
		}
	}
	if r.mark+1 != len(r.h.Marks) {
		return fmt.Errorf("the log has %d marks of %d", r.mark+1, len(r.h.Marks))
	}
	if err := r.look(r.early); err == nil {
		return errors.New("the first state passes for the last one: this sees nothing")
	}
	return nil
}

// tornAt looks at the state in which some sectors of an entry have arrived.
func (r *replay) tornAt(i int) error {
	image := slices.Clone(r.image)
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	err := r.entries[i].apply(image, r.log, func() bool { return rng.IntN(2) == 0 })
	if err != nil {
		return err
	}
	r.torn++
	return r.look(image)
}

// look opens the pool in an image and compares all that is in it with what may be.
func (r *replay) look(image imageDisk) error {
	r.states++
	s := interval{r.h.Marks[r.mark].Before, len(r.h.Events)}
	if r.mark+1 < len(r.h.Marks) {
		s.After = r.h.Marks[r.mark+1].After
	}
	p, err := openImage(image)
	if err != nil {
		return err
	}
	there, known, content := p.names(), 0, map[string][]byte{}
	for _, v := range r.h.Volumes {
		switch {
		case slices.Contains(there, v.Name):
			known++
		case v.Made.After <= s.Before:
			return fmt.Errorf("%s is missing", v.Name)
		default:
			continue
		}
		if content[v.Name], err = p.read(v.Name); err != nil {
			return err
		}
		moment := s
		if v.Frozen {
			moment = v.Made
		}
		if r.allows[v.Name] == nil {
			r.allows[v.Name] = r.h.permits(v, moment)
		}
		if err := v.compare(content[v.Name], content[v.Origin], r.allows[v.Name]); err != nil {
			return err
		}
	}
	if known != len(there) {
		return fmt.Errorf("there are %q, and %d of them are known", there, known)
	}
	return p.finish()
}

// compare compares what a volume holds with what it may hold.
func (v historyVolume) compare(got, origin []byte, may *permitted) error {
	if int64(len(got)) != v.Size {
		return fmt.Errorf("%s has %d bytes, want %d", v.Name, len(got), v.Size)
	}
	for i := range int64(len(may.want)) {
		p := got[i*load.SectorSize : (i+1)*load.SectorSize]
		holds := func(number uint32) bool {
			switch number {
			case asOrigin:
				return bytes.Equal(p, origin[i*load.SectorSize:(i+1)*load.SectorSize])
			case 0:
				return load.Stamp{}.Holds(p)
			}
			return load.Stamp{Disk: v.ID, Write: number, Sector: uint64(i)}.Holds(p)
		}
		if !holds(may.want[i]) && !slices.ContainsFunc(may.also[i], holds) {
			return fmt.Errorf("%s, sector %d: want write %d or %d, got %s", v.Name, i, may.want[i],
				may.also[i], load.Describe(p))
		}
	}
	return nil
}
