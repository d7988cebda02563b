package placement

import (
	"cmp"
	"hash/crc32"
	"slices"

	"unblend/log"
	"unblend/log/simdisk"
)

// scopeWhole is up to how many combinations of whole blocks a moment is cut in all of: ten blocks, each
// as it was or as it was written last. Beyond that it is single blocks, pairs, and the beginnings and ends
// of what was written, in the order in which it was.
const scopeWhole = 1 << 10

const scopeSectors = log.BlockSize / SectorSize

// scopeHeld is a block that a cut decides about.
type scopeHeld struct {
	dev    int
	disk   *simdisk.Disk
	held   simdisk.Held
	digest []uint64 // with each of its versions
}

// scopeCut is one way to cut the power: which version each block keeps, in the order in which they were
// written, and the sectors of one block that keep what is durable although the others do not.
type scopeCut struct {
	number int
	blocks []scopeHeld // of all cuts of a moment
	pick   []uint16
	torn   int // a block; -1: none
	old    uint8
}

// keep is the cut as a simdisk.Keep.
func (c *scopeCut) keep(ch simdisk.Choice) int {
	for i := range c.blocks {
		b := &c.blocks[i]
		if b.disk.Name() != ch.Disk.Name() || b.held.Block != ch.Block {
			continue
		}
		if i == c.torn && c.old>>ch.Sector&1 != 0 {
			return 0
		}
		return int(c.pick[i])
	}
	panic("scope: a block that nobody knew of")
}

// scopeCutter goes through the cuts of one moment.
type scopeCutter struct {
	run     *scopeRun
	blocks  []scopeHeld
	durable uint64 // digest of what is left if nothing is kept
	number  int
}

// scopeIEEE is a second polynomial: two checksums make 64 bits.
var scopeIEEE = crc32.MakeTable(crc32.IEEE)

// scopeBlock is the digest of one block.
func scopeBlock(dev int, block int64, p []byte) uint64 {
	if [log.BlockSize]byte(p) == [log.BlockSize]byte(zeroBlock) {
		return 0
	}
	sum := uint64(checksum(p))<<32 | uint64(crc32.Checksum(p, scopeIEEE))
	return simMix(simMix(sum) + uint64(dev)<<56 + uint64(block))
}

// durable returns the digest of what is durable on the devices.
func (x *scopeRun) durable() uint64 {
	c := scopeCutter{run: x}
	c.look()
	return c.durable
}

// look takes the devices as they are.
func (c *scopeCutter) look() {
	c.blocks, c.durable, c.number = nil, 0, 0
	var p [log.BlockSize]byte
	for dev, d := range c.run.distinct() {
		from := len(c.blocks)
		d.Held(func(h simdisk.Held) {
			d.PeekVersion(p[:], h.Block, 0)
			base := scopeBlock(dev, h.Block, p[:])
			c.durable ^= base
			if h.N == 1 {
				return
			}
			b := scopeHeld{dev: dev, disk: d, held: h, digest: []uint64{base}}
			for v := 1; v < h.N; v++ {
				d.PeekVersion(p[:], h.Block, v)
				b.digest = append(b.digest, scopeBlock(dev, h.Block, p[:]))
			}
			c.blocks = append(c.blocks, b)
		})
		slices.SortFunc(c.blocks[from:], func(a, b scopeHeld) int {
			return cmp.Compare(a.held.Order, b.held.Order)
		})
	}
}

// each calls f with every cut and the digest of what that leaves.
func (c *scopeCutter) each(f func(scopeCut, uint64)) {
	all := 1
	for i := range c.blocks {
		if all *= c.blocks[i].held.N; all > scopeWhole {
			break
		}
	}
	if all <= scopeWhole {
		c.combinations(f)
	} else {
		c.few(f)
	}
	c.tears(f)
}

// emit calls f with a cut.
func (c *scopeCutter) emit(pick []uint16, torn int, old uint8, f func(scopeCut, uint64)) {
	digest := c.durable
	for i, v := range pick {
		b := &c.blocks[i]
		if i != torn {
			digest ^= b.digest[0] ^ b.digest[v]
			continue
		}
		var p, q [log.BlockSize]byte
		b.disk.PeekVersion(p[:], b.held.Block, int(v))
		b.disk.PeekVersion(q[:], b.held.Block, 0)
		for s := range scopeSectors {
			if old>>s&1 != 0 {
				copy(p[s*SectorSize:(s+1)*SectorSize], q[s*SectorSize:])
			}
		}
		digest ^= b.digest[0] ^ scopeBlock(b.dev, b.held.Block, p[:])
	}
	f(scopeCut{c.number, c.blocks, slices.Clone(pick), torn, old}, digest)
	c.number++
}

// combinations goes through all combinations of whole blocks.
func (c *scopeCutter) combinations(f func(scopeCut, uint64)) {
	pick := make([]uint16, len(c.blocks))
	for {
		c.emit(pick, -1, 0, f)
		i := 0
		for ; i < len(pick); i++ {
			if pick[i]++; int(pick[i]) < c.blocks[i].held.N {
				break
			}
			pick[i] = 0
		}
		if i == len(pick) {
			return
		}
	}
}

// newest returns the newest version of each block.
func (c *scopeCutter) newest() []uint16 {
	pick := make([]uint16, len(c.blocks))
	for i := range pick {
		pick[i] = uint16(c.blocks[i].held.N - 1)
	}
	return pick
}

// few goes through single blocks that are kept, or lost, pairs of those, and beginnings and ends.
func (c *scopeCutter) few(f func(scopeCut, uint64)) {
	none, all := make([]uint16, len(c.blocks)), c.newest()
	for k := range len(all) + 1 {
		c.emit(append(slices.Clone(all[:k]), none[k:]...), -1, 0, f)
		c.emit(append(slices.Clone(none[:k]), all[k:]...), -1, 0, f)
	}
	for i := range c.blocks {
		for v := range c.blocks[i].held.N {
			for _, rest := range [...][]uint16{none, all} {
				pick := slices.Clone(rest)
				pick[i] = uint16(v)
				c.emit(pick, -1, 0, f)
			}
		}
		for j := range i {
			kept, lost := slices.Clone(none), slices.Clone(all)
			kept[i], kept[j], lost[i], lost[j] = all[i], all[j], 0, 0
			c.emit(kept, -1, 0, f)
			c.emit(lost, -1, 0, f)
		}
	}
}

// tears goes through blocks of which only the first sectors were written, or only one, while all other
// blocks are kept, or lost.
func (c *scopeCutter) tears(f func(scopeCut, uint64)) {
	none, all := make([]uint16, len(c.blocks)), c.newest()
	for i := range c.blocks {
		for _, rest := range [...][]uint16{none, all} {
			pick := slices.Clone(rest)
			pick[i] = all[i]
			for s := range scopeSectors {
				c.emit(pick, i, uint8(0xff)<<s, f)
				c.emit(pick, i, ^(uint8(1) << s), f)
			}
		}
	}
}
