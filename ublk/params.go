package ublk

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// Params describe a device's disk to the kernel. Sizes are bytes.
type Params struct {
	Size          int64 // multiple of LogicalBlock
	LogicalBlock  int   // smallest addressable unit; default 512
	PhysicalBlock int   // what it writes without reading; default 4096
	IOMin         int   // preferred smallest request; default PhysicalBlock
	IOOpt         int   // preferred request; default PhysicalBlock
	MaxIO         int   // largest read or write; default the device's buffer size

	ReadOnly      bool
	Rotational    bool
	VolatileCache bool // without it the kernel sends neither flushes nor FUA
	FUA           bool // honoured with VolatileCache only

	DiscardGranularity int   // 0: no discards
	MaxDiscard         int64 // largest discard; rounded down to sectors
	MaxWriteZeroes     int64 // largest write-zeroes; 0: none, the kernel writes zeros itself
}

// maxSectors32 is the largest request length the parameters can say.
const maxSectors32 = int64(1<<32-1) << sectorShift

// withDefaults fills in what is zero and may be.
func (p Params) withDefaults(maxIO int) Params {
	if p.LogicalBlock == 0 {
		p.LogicalBlock = 512
	}
	if p.PhysicalBlock == 0 {
		p.PhysicalBlock = max(4096, p.LogicalBlock)
	}
	if p.IOMin == 0 {
		p.IOMin = p.PhysicalBlock
	}
	if p.IOOpt == 0 {
		p.IOOpt = p.PhysicalBlock
	}
	if p.MaxIO == 0 {
		p.MaxIO = maxIO
	}
	return p
}

// validate says in words what the kernel would refuse with EINVAL.
func (p Params) validate(maxIO int) error {
	sizes := []struct {
		name      string
		n, lo, hi int
	}{
		{"logical block", p.LogicalBlock, 512, 4096},
		{"physical block", p.PhysicalBlock, p.LogicalBlock, 256 << 20},
		{"minimum I/O", p.IOMin, 512, 256 << 20},
		{"optimal I/O", p.IOOpt, 512, 256 << 20},
	}
	for _, s := range sizes {
		if s.n < s.lo || s.n > s.hi || bits.OnesCount(uint(s.n)) != 1 {
			return fmt.Errorf("device parameters: %s of %d bytes, want a power of two in %d..%d",
				s.name, s.n, s.lo, s.hi)
		}
	}
	switch {
	case p.Size <= 0 || p.Size%int64(p.LogicalBlock) != 0:
		return fmt.Errorf("device parameters: size of %d bytes, want a positive multiple of %d",
			p.Size, p.LogicalBlock)
	case p.MaxIO < 4096 || p.MaxIO > maxIO || p.MaxIO%512 != 0:
		return fmt.Errorf("device parameters: largest I/O of %d bytes, want sectors in 4096..%d",
			p.MaxIO, maxIO)
	case p.DiscardGranularity < 0 || p.DiscardGranularity%512 != 0:
		return fmt.Errorf("device parameters: discard granularity of %d bytes",
			p.DiscardGranularity)
	case p.MaxDiscard < 0 || p.MaxDiscard > maxSectors32:
		return fmt.Errorf("device parameters: largest discard of %d bytes", p.MaxDiscard)
	case p.MaxWriteZeroes < 0 || p.MaxWriteZeroes > maxSectors32:
		return fmt.Errorf("device parameters: largest write-zeroes of %d bytes", p.MaxWriteZeroes)
	case p.MaxDiscard > 0 && p.DiscardGranularity == 0:
		return fmt.Errorf("device parameters: discards without a granularity")
	}
	return nil
}

// encode returns the kernel's form.
func (p Params) encode() rawParams {
	shift := func(n int) uint8 { return uint8(bits.TrailingZeros(uint(n))) }
	r := rawParams{
		len:   uint32(unsafe.Sizeof(rawParams{})),
		types: paramBasic,
		basic: rawBasic{
			logicalBSShift:  shift(p.LogicalBlock),
			physicalBSShift: shift(p.PhysicalBlock),
			ioOptShift:      shift(p.IOOpt),
			ioMinShift:      shift(p.IOMin),
			maxSectors:      uint32(p.MaxIO >> sectorShift),
			devSectors:      uint64(p.Size) >> sectorShift,
		},
	}
	for _, a := range p.attrs() {
		if *a.set {
			r.basic.attrs |= a.bit
		}
	}
	if p.MaxDiscard > 0 || p.MaxWriteZeroes > 0 {
		r.types |= paramDiscard
		r.discard = rawDiscard{
			granularity:           uint32(max(p.DiscardGranularity, p.LogicalBlock)),
			maxSectors:            uint32(p.MaxDiscard >> sectorShift),
			maxWriteZeroesSectors: uint32(p.MaxWriteZeroes >> sectorShift),
			maxSegments:           1, // the driver supports no more
		}
	}
	return r
}

// decodeParams reads what the kernel returned.
func decodeParams(r *rawParams) Params {
	p := Params{
		Size:          int64(r.basic.devSectors) << sectorShift,
		LogicalBlock:  1 << r.basic.logicalBSShift,
		PhysicalBlock: 1 << r.basic.physicalBSShift,
		IOMin:         1 << r.basic.ioMinShift,
		IOOpt:         1 << r.basic.ioOptShift,
		MaxIO:         int(r.basic.maxSectors) << sectorShift,
	}
	for _, a := range p.attrs() {
		*a.set = r.basic.attrs&a.bit != 0
	}
	if r.types&paramDiscard != 0 {
		p.DiscardGranularity = int(r.discard.granularity)
		p.MaxDiscard = int64(r.discard.maxSectors) << sectorShift
		p.MaxWriteZeroes = int64(r.discard.maxWriteZeroesSectors) << sectorShift
	}
	return p
}

// attr ties an attribute's bit to the field that says it.
type attr struct {
	bit uint32
	set *bool
}

func (p *Params) attrs() [4]attr {
	return [4]attr{
		{attrReadOnly, &p.ReadOnly},
		{attrRotational, &p.Rotational},
		{attrVolatileCache, &p.VolatileCache},
		{attrFUA, &p.FUA},
	}
}
