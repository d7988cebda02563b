package placement

import (
	"fmt"

	"unblend/log"
)

// catalogueLevels is the height of the catalogue's tree: 2^28 nodes in leaves of 16.
const catalogueLevels = 4

// blocks returns the size of n in blocks; the last may be partly beyond the volume's end.
func (n *node) blocks() uint64 { return (n.rec.Size + log.BlockSize - 1) / log.BlockSize }

// loadCatalogue reads all node records below the page that e points at.
func (p *Pool) loadCatalogue(e Entry, level uint8, page pageReader) error {
	if e.Flags == 0 {
		return nil
	}
	mem := alignedBytes(log.BlockSize)
	if err := page(e, mem); err != nil {
		return err
	}
	if level == 1 {
		for id := range uint32(nodesPerPage) {
			rec, err := decodeNode(nodeSlot(mem, id))
			if err != nil {
				return err
			}
			if rec.ID != 0 {
				if rec.ID >= p.nextNode || max(rec.Birth, rec.Frozen, rec.Floor) > p.epoch {
					return fmt.Errorf("catalogue: node %d comes after its root: %w", rec.ID, ErrDamaged)
				}
				if p.nodes[rec.ID] != nil {
					return fmt.Errorf("catalogue: node %d stands in it twice: %w", rec.ID, ErrDamaged)
				}
				p.addNode(&rec, p.continues(&rec))
			}
		}
		return nil
	}
	for i := range fanout {
		if err := p.loadCatalogue(entryAt(mem, i), level-1, page); err != nil {
			return err
		}
	}
	return nil
}

// continues reports whether a node from the catalogue is to continue its parent's line. If it was
// born when that was frozen it may have been a snapshot that made it, or a clone right after one;
// the first will do. Which one it was matters no more: what the log holds is told apart by node.
func (p *Pool) continues(rec *NodeRecord) bool {
	parent := p.nodes[rec.Parent]
	return parent != nil && parent.kid == nil && rec.Birth == parent.rec.Frozen+1
}

// open returns the volume of a node, for use.
func (p *Pool) open(n *node) *Volume {
	if n.vol == nil {
		n.vol = &Volume{node: n}
		n.line.beginFlow()
		if p.ring != nil {
			n.vol.lane = p.ring.Lane(p.laneOf(n.rec.ID))
		}
	}
	return n.vol
}

// Home has the writes of a volume that nobody uses go into a lane: that of the thread that serves its
// device. Until then, and after a restart, they go into the lane that its number gives.
func (p *Pool) Home(v *Volume, lane int) {
	if v.open == 0 && p.ring != nil {
		v.lane = p.ring.Lane(lane % p.opt.Lanes)
	}
}

// Lanes returns how many lanes the log is written by: those that were asked for, or as many as there is
// room for.
func (p *Pool) Lanes() int { return p.opt.Lanes }

// laneOf returns the lane in which a node's marks go, and the writes of a volume without a home.
func (p *Pool) laneOf(id uint32) int { return int(id) % p.opt.Lanes }

// Volume returns the volume with the name, or nil.
func (p *Pool) Volume(name string) *Volume {
	n := p.names[name]
	if n == nil {
		return nil
	}
	return p.open(n)
}
