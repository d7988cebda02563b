package placement

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"unblend/log"
)

var corruptAll = flag.Bool("corrupt", false, "damage everything, not only a sample of it")

// harm is damage to one block.
type harm struct {
	at   place
	what string
	bit  int // -1: the whole block
	edit func(b []byte)
}

func (h harm) String() string {
	return fmt.Sprintf("%s device, block %d, %s", h.at.dev, h.at.off/log.BlockSize, h.what)
}

func flipBit(at place, bit int) harm {
	return harm{at, fmt.Sprintf("bit %d", bit), bit, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) }}
}

func zeroBlockAt(at place) harm { return harm{at, "zeroed", -1, func(b []byte) { clear(b) }} }

func garbageAt(at place) harm {
	return harm{at, "garbage", -1, func(b []byte) {
		rng := rand.New(rand.NewPCG(uint64(at.off), uint64(at.dev)))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}}
}

// fateOf returns what has to become of a harm, and the kind of what it hits.
func (c *corruptPool) fateOf(h harm) (piece, fate) {
	p := c.parts[h.at.dev][h.at.off/log.BlockSize]
	switch {
	case p.fate == unused:
	case h.bit >= 8*p.size:
		return piece{kind: "padding of a " + p.kind}, unused
	case h.bit < 0 && h.same(c.at(h.at)):
		return piece{kind: "block that had that content"}, unused
	}
	return p, p.fate
}

// same reports whether the harm leaves a block as it is.
func (h harm) same(b []byte) bool {
	after := bytes.Clone(b)
	h.edit(after)
	return bytes.Equal(after, b)
}

// try does a harm to the pool, has check repair what it can, and compares what came of it with what
// has to. The pool is opened and read, except where it has become what it was.
func (c *corruptPool) try(h harm) error {
	p, want := c.fateOf(h)
	d, all := c.disks()
	bad := bytes.Clone(c.at(h.at))
	h.edit(bad)
	all[h.at.dev].blocks[h.at.off] = bad
	rep, err := Check(d, CheckOptions{
		Data: true, Repair: want == mended || h.bit%2 == 0, entries: 1 << 12,
	})
	if err != nil {
		return fmt.Errorf("%s: %s: check ends: %w", h, p.kind, err)
	}
	named, others := c.findings(rep, h.at, p.check)
	now := all[h.at.dev].block(h.at.off)
	switch {
	case len(others) > 0 && want != refused:
		err = fmt.Errorf("check finds %v", others)
	case want == unused || want == tail:
		if named != nil {
			err = fmt.Errorf("check finds %v", named)
		}
	case named == nil:
		err = fmt.Errorf("check does not name it: %v, %v", rep.Problems, rep.Notes)
	case !strings.Contains(named.String(), "want ") || !strings.Contains(named.String(), "got "):
		err = fmt.Errorf("check says %v", named)
	case named.Repaired != (want == mended):
		err = fmt.Errorf("repaired %v: %v", named.Repaired, named)
	}
	if err == nil && want == mended && bytes.Equal(now, c.at(h.at)) {
		return nil
	}
	if err == nil && want == mended && p.kind != "record header" {
		err = fmt.Errorf("repaired, but not what it was: %v", named)
	}
	if err == nil && (want != unused || h.bit%16 < 1) { // of what nothing reads, a part
		err = c.readAll(d, h, want)
	}
	if err != nil {
		return fmt.Errorf("%s: %s, has to be %s: %w", h, p.kind, want, err)
	}
	return nil
}

// findings returns what check has found at a place, and what else, without what a pool unharmed has.
func (c *corruptPool) findings(rep *CheckReport, at place, structure string) (
	named *Problem, others []Problem,
) {
	for _, pr := range append(rep.Problems, rep.Notes...) {
		where, ok := placeOf(pr.Err)
		if c.one {
			where.dev = log.Fast
		}
		switch {
		case ok && where == at && pr.Structure == structure:
			named = &pr
		case pr.Structure == "log" && strings.Contains(pr.Err.Error(), "summary") &&
			strings.HasSuffix(pr.Err.Error(), "got none"): // of the segment that a restart closed
		default:
			others = append(others, pr)
		}
	}
	return named, others
}

// placeOf returns the block that an error names.
func placeOf(err error) (place, bool) {
	var ours *CorruptError
	var logs *log.CorruptError
	switch {
	case errors.As(err, &ours):
		return place{ours.Dev, ours.Off}, true
	case errors.As(err, &logs):
		return place{logs.Dev, logs.Off}, true
	}
	return place{}, false
}

// readAll opens the pool and reads everything.
func (c *corruptPool) readAll(d Disks, h harm, want fate) error {
	p, err := openCorrupt(d)
	if want == refused {
		if at, ok := placeOf(err); !ok || at.off != h.at.off {
			return fmt.Errorf("open: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	gone := c.goneWith(h.at, want)
	for name, was := range c.content {
		is, bad := readNode(p, d, name)
		for b := range int64(len(was)) / log.BlockSize {
			at := blockOf{name, b}
			from, to := b*log.BlockSize, (b+1)*log.BlockSize
			differs := !bytes.Equal(is[from:to], was[from:to])
			switch {
			case bad[b] != (gone[at] && want == lost):
				return fmt.Errorf("%s, block %d: cannot be read %v (%v)", name, b, bad[b], p.stats.LastError)
			case differs && !bad[b] && !gone[at]:
				return fmt.Errorf("%s, block %d: wrong content", name, b)
			}
		}
	}
	return nil
}

// goneWith returns which blocks of volumes may not be what they were when a block of a device is
// damaged: those with their content there, or in the record that is taken for a tail.
func (c *corruptPool) goneWith(at place, want fate) map[blockOf]bool {
	gone := map[blockOf]bool{}
	for _, b := range c.where[at] {
		gone[b] = want == lost || want == tail
	}
	if want == tail {
		for where, blocks := range c.where {
			if c.parts[where.dev][where.off/log.BlockSize].fate == tail {
				for _, b := range blocks {
					gone[b] = true
				}
			}
		}
	}
	return gone
}

// harms calls f for every harm of a full sweep: of one block of each kind every bit, of the others a
// bit in every 64th byte, and all blocks as a whole, each in two ways.
func (c *corruptPool) harms(f func(harm)) {
	whole := map[string]bool{}
	for dev := range c.parts {
		if c.one && dev > 0 {
			continue
		}
		for b, p := range c.parts[dev] {
			at := place{log.Dev(dev), int64(b) * log.BlockSize}
			f(zeroBlockAt(at))
			f(garbageAt(at))
			if p.fate != unused && p.kind != "data" && !strings.HasSuffix(p.kind, "payload") && !whole[p.kind] {
				whole[p.kind] = true
				for bit := range 8 * log.BlockSize {
					f(flipBit(at, bit))
				}
				continue
			}
			for i := 0; i < log.BlockSize; i += 64 {
				f(flipBit(at, 8*(i+(b+i/64)%64)+(b+i/64)%8))
			}
		}
	}
}

// corruptKinds are the structures that have to be in the pool.
var corruptKinds = []string{
	"label", "root", "block bitmap", "block bitmap references", "page bitmap", "catalogue page",
	"node records", "inner map page", "map leaf", "segment header", "open segment's header",
	"record header", "record header without a summary", "open segment's record header",
	"last record's header", "segment summary", "data", "payload", "last record's payload",
}

// TestCorruption damages a pool at rest in one place at a time. A sample of each kind is taken, and
// with -corrupt all of it, which is what the record in docs/campaigns.jsonl is of.
func TestCorruption(t *testing.T) {
	for _, one := range []bool{false, true} {
		t.Run(map[bool]string{false: "two devices", true: "one device"}[one], func(t *testing.T) {
			t.Parallel()
			c := newCorruptPool(t, one)
			kinds := map[string]int{}
			for dev := range c.parts {
				for _, p := range c.parts[dev] {
					kinds[p.kind]++
				}
			}
			for _, kind := range corruptKinds {
				if kinds[kind] == 0 {
					t.Errorf("the pool has no %s", kind)
				}
			}
			c.sweep(t)
		})
	}
}

// corruptSample is how many harms of each kind and sort a sample has.
const corruptSample = 10

func (c *corruptPool) sweep(t *testing.T) {
	tally := newCorruptTally(c.one)
	seen := map[string]int{}
	total := map[string]int{}
	c.harms(func(h harm) {
		p, _ := c.fateOf(h)
		total[p.kind+h.sort()]++
	})
	c.harms(func(h harm) {
		p, want := c.fateOf(h)
		key := p.kind + h.sort()
		seen[key]++
		if n := total[key]; !*corruptAll && n > corruptSample && seen[key]%(n/corruptSample) != 0 {
			return
		}
		err := c.try(h)
		tally.add(p.kind, want, err)
		if err != nil && tally.Failures < 20 {
			t.Error(err)
		}
	})
	tally.log(t)
	if *corruptAll && *simRecord {
		if err := tally.record(); err != nil {
			t.Error(err)
		}
	}
}

// sort tells harms to a part of a block from those to all of it.
func (h harm) sort() string {
	if h.bit < 0 {
		return ", block"
	}
	return ", bit"
}
