package placement

import (
	"fmt"
	"strings"
)

// What an operation changes in the catalogue is in memory at once, and the cut of the next
// checkpoint has to hold it all. So an operation that changes much waits for a checkpoint first, a
// removal is split into marks with checkpoints between them, and what fits into no checkpoint is
// refused.

// changes returns how many pages of the catalogue an operation may change with its first mark.
func (p *Pool) changes(c *Control) int {
	switch n := p.names[c.Name]; {
	case c.Op == RenameVolume && n != nil:
		return p.renamePages(n)
	case c.Op == RemoveVolume:
		return recordPages(min(len(c.Names), p.removeMost()))
	}
	return recordPages(int(c.Count))
}

// recordPages returns the most catalogue pages with the records of count nodes whose ids follow each
// other.
func recordPages(count int) int {
	return count/nodesPerPage + count/(nodesPerPage*fanout) + 1
}

// removeMost returns how many nodes one mark removes at most. What becomes of their ancestors may
// change as many records again.
func (p *Pool) removeMost() int {
	return max(min(p.cache.cutLimit(), int(p.opt.reservePages))/8, 1) * nodesPerPage
}

// renamePages returns how many catalogue pages hold the records that renaming n changes: of n and,
// if it is a volume, of its snapshots.
func (p *Pool) renamePages(n *node) (pages int) {
	if n.frozen() || p.snapshots == 0 {
		return recordPages(1)
	}
	last := [2]uint32{^uint32(0), ^uint32(0)}
	for _, s := range p.order {
		if s != n && !strings.HasPrefix(s.rec.Name, n.rec.Name+"@") {
			continue
		}
		for level, per := range [...]uint32{nodesPerPage, nodesPerPage * fanout} {
			if at := s.rec.ID / per; at != last[level] {
				last[level] = at
				pages++
			}
		}
	}
	return pages
}

// cutBlocked reports whether a checkpoint has to come before so many more pages of the catalogue
// are changed, and sees to it that it comes.
func (p *Pool) cutBlocked(pages int) bool {
	idle := len(p.stale) == 0 && p.cache.dirty == 0
	if p.cutFits(pages) || idle || p.readOnly != nil || p.back.over {
		return false
	}
	p.back.tight = true
	return true
}

// mayRename checks that a checkpoint can write all that renaming n changes.
func (p *Pool) mayRename(n *node) error {
	if pages := p.renamePages(n); pages > catalogueLevels && !p.cutFits(pages) {
		return fmt.Errorf("volume %q: its snapshots stand in %d pages of the catalogue, more than one "+
			"checkpoint can write now; remove some of them first: %w", n.rec.Name, pages, ErrTooMany)
	}
	return nil
}
