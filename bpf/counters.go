package bpf

import "github.com/cilium/ebpf"

// Counters is what was counted of one stream, since it is watched. Requests without data do not
// count.
type Counters struct {
	Writes          uint64
	Bytes           uint64
	Sequential      uint64 // writes that start where the one before them ended
	SequentialBytes uint64
	Recent          uint64 // writes that start where one of the Window before them ended
	Seeks           uint64 // all other writes than the sequential ones and the stream's first
	Travel          uint64 // sum of the seeks' distances, in bytes
	Reads           uint64
	ReadBytes       uint64

	// Of a volume: seeks of the merged stream that would not be there without this volume, and
	// those that would be there in their place.
	MergedSeeks, WithoutSeeks uint64

	Seek Histogram // distances of the seeks
	Run  Histogram // lengths of the runs that ended: of writes that continue each other
}

// Histogram counts lengths: bucket n those from 2^n up to 2^(n+1) sectors.
type Histogram [64]uint64

// Read returns what was counted of a stream.
func (a *Analyzer) Read(stream int) (Counters, error) {
	var s blendStream
	var perCPU []blendHistogram
	index := uint32(stream)
	if err := a.objs.Streams.LookupWithFlags(index, &s, ebpf.LookupLock); err != nil {
		return Counters{}, err
	}
	if err := a.objs.Histograms.Lookup(index, &perCPU); err != nil {
		return Counters{}, err
	}
	c := Counters{
		Writes: s.Writes, Bytes: s.Sectors * SectorSize,
		Sequential: s.Sequential, SequentialBytes: s.SequentialSectors * SectorSize,
		Recent: s.Recent, Seeks: s.Seeks, Travel: s.Travel * SectorSize,
		Reads: s.Reads, ReadBytes: s.ReadSectors * SectorSize,
		MergedSeeks: s.MergedSeeks, WithoutSeeks: s.WithoutSeeks,
	}
	for _, h := range perCPU {
		for i := range h.Seek {
			c.Seek[i] += h.Seek[i]
			c.Run[i] += h.Run[i]
		}
	}
	return c, nil
}

// Sub returns what was counted since earlier.
func (c Counters) Sub(earlier Counters) Counters {
	c.Writes -= earlier.Writes
	c.Bytes -= earlier.Bytes
	c.Sequential -= earlier.Sequential
	c.SequentialBytes -= earlier.SequentialBytes
	c.Recent -= earlier.Recent
	c.Seeks -= earlier.Seeks
	c.Travel -= earlier.Travel
	c.Reads -= earlier.Reads
	c.ReadBytes -= earlier.ReadBytes
	c.MergedSeeks -= earlier.MergedSeeks
	c.WithoutSeeks -= earlier.WithoutSeeks
	for i := range c.Seek {
		c.Seek[i] -= earlier.Seek[i]
		c.Run[i] -= earlier.Run[i]
	}
	return c
}

// Median returns the lower bound of the bucket that holds the median, in bytes; 0: nothing was
// counted. The true one is less than twice that.
func (h Histogram) Median() uint64 {
	var all, seen uint64
	for _, n := range h {
		all += n
	}
	for i, n := range h {
		seen += n
		if n > 0 && 2*seen >= all {
			return SectorSize << i
		}
	}
	return 0
}
