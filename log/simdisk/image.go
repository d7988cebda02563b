package simdisk

import "unblend/log"

// This file is for those who want to know beforehand what a power cut could leave.

// Held is a block that was ever written, and what of it a power cut now could keep.
type Held struct {
	Block int64  // number of the block on the disk
	N     int    // versions to choose from, as in Choice; 1: what is durable, and nothing else
	Order uint64 // rises with the completion of the newest version, then with its submission
}

// inFlight is the Order from which on the newest version of a block is in flight.
const inFlight = 1 << 62

// Held calls f for each block that was ever written, by number.
func (d *Disk) Held(f func(Held)) {
	for first := int64(0); first*log.BlockSize < d.cfg.Size; first += chunkBlocks {
		c := d.store.chunks[first]
		if c == nil {
			continue
		}
		for i := range c.blocks {
			b := &c.blocks[i]
			h := Held{Block: first + int64(i), N: len(b.vers) + 1}
			if k := len(b.vers); k > 0 {
				h.Order = b.vers[k-1].done
				if r := b.vers[k-1].r; r != nil {
					h.Order = inFlight + r.seq
				}
			}
			f(h)
		}
	}
}

// PeekVersion copies version v of a block to p: 0 is what is durable, as in Choice.
func (d *Disk) PeekVersion(p []byte, block int64, v int) {
	b := d.store.find(block)
	if b == nil {
		clear(p[:log.BlockSize])
		return
	}
	c := b.base
	if v > 0 {
		c = b.vers[v-1].c
	}
	c.read(p[:log.BlockSize], 0)
}
