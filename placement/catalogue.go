package placement

import (
	"fmt"
	"slices"

	"unblend/log"
)

// catalogueLevels is the height of the catalogue's tree: 2^28 nodes in leaves of 16.
const catalogueLevels = 4

// addNode adds a node to the catalogue in memory.
func (p *Pool) addNode(rec *NodeRecord) *node {
	n := &node{rec: *rec, parent: p.nodes[rec.Parent]}
	n.tree = tree{
		node: n, root: rec.Root, levels: levelsFor(rec.Size / log.BlockSize),
		birth: rec.Birth, floor: rec.Floor,
	}
	p.nodes[rec.ID] = n
	i, _ := slices.BinarySearchFunc(p.order, rec.ID, func(n *node, id uint32) int {
		return int(n.rec.ID) - int(id)
	})
	p.order = slices.Insert(p.order, i, n)
	if rec.Name != "" {
		p.names[rec.Name] = n
	}
	if n.gone() {
		p.gone++
	}
	return n
}

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
				if p.nodes[rec.ID] != nil {
					return fmt.Errorf("catalogue: node %d stands in it twice: %w", rec.ID, ErrDamaged)
				}
				p.addNode(&rec)
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

// open returns the volume of a node, for use.
func (p *Pool) open(n *node) *Volume {
	if n.vol == nil {
		n.vol = &Volume{node: n}
		if p.ring != nil {
			n.vol.lane = p.ring.Lane(p.laneOf(n.rec.ID))
		}
	}
	return n.vol
}

// laneOf returns the lane in which a node's writes and marks go.
func (p *Pool) laneOf(id uint32) int { return int(id) % p.opt.Lanes }

// Volume returns the volume with the name, or nil.
func (p *Pool) Volume(name string) *Volume {
	n := p.names[name]
	if n == nil {
		return nil
	}
	return p.open(n)
}
