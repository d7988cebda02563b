package blend

import (
	"time"

	"unblend/bpf"
	"unblend/tools/internal/control"
)

// sample is what the counters have grown by in one time.
type sample struct {
	start   time.Time
	length  time.Duration
	lost    uint64
	fixed   [bpf.FirstGuest]bpf.Counters
	guests  []guest
	backing backing
}

// guest is what was counted of one volume.
type guest struct {
	name, dev string
	count     bpf.Counters
}

const mib = 1 << 20

// report makes the document of a sample.
func (s *sample) report() control.TraceBlend {
	doc := control.TraceBlend{
		Schema: control.SchemaTraceBlend, Start: s.start.UTC().Truncate(time.Second),
		Seconds: s.length.Seconds(), EventsLost: s.lost, Layout: control.LayoutEndToEnd,
		Volumes: len(s.guests), Streams: []control.TraceStream{},
	}
	merged := &s.fixed[bpf.Merged]
	for _, g := range s.guests {
		x := figures(control.StreamVolume, &g.count)
		x.Name, x.Dev = g.name, g.dev
		x.Without = without(merged, &g.count)
		doc.Streams = append(doc.Streams, x)
	}
	doc.Streams = append(doc.Streams, figures(control.StreamMerged, merged))
	for _, k := range []struct {
		kind   string
		stream int
	}{
		{control.StreamLog, bpf.Log},
		{control.StreamData, bpf.Data},
		{control.StreamMetadata, bpf.Metadata},
		{control.StreamOther, bpf.Other},
	} {
		doc.Streams = append(doc.Streams, figures(k.kind, &s.fixed[k.stream]))
	}
	for i, b := range s.backing.disks {
		x := figures(control.StreamDevice, &s.fixed[b.Stream])
		x.Name, x.Dev = s.backing.names[i].name, s.backing.names[i].number
		doc.Streams = append(doc.Streams, x)
	}
	doc.Blend = s.blend()
	return doc
}

// figures describes a stream.
func figures(kind string, c *bpf.Counters) control.TraceStream {
	x := control.TraceStream{
		Kind: kind, Writes: c.Writes, Bytes: c.Bytes,
		Sequential: ratio(c.Sequential, c.Writes), SeqBytes: ratio(c.SequentialBytes, c.Bytes),
		Windowed: ratio(c.Recent, c.Writes), Seeks: c.Seeks, SeekRate: rate(c.Seeks, c.Bytes),
		MeanRun: c.Bytes / max(1, c.Seeks), MedianRun: c.Run.Median(),
		MeanSeek: c.Travel / max(1, c.Seeks), MedianSeek: c.Seek.Median(),
		Reads: c.Reads, ReadBytes: c.ReadBytes,
		Seek: trimmed(c.Seek), Run: trimmed(c.Run),
	}
	return x
}

// without returns what the merged stream would be without a volume.
func without(merged, own *bpf.Counters) *control.WithoutVolume {
	if own.Writes == 0 {
		return nil
	}
	// The counters of the two streams were read one after the other: in between, seeks may have come.
	seeks := merged.Seeks - min(merged.Seeks, own.MergedSeeks) + own.WithoutSeeks
	bytes := merged.Bytes - min(merged.Bytes, own.Bytes)
	return &control.WithoutVolume{
		Seeks: seeks, SeekRate: rate(seeks, bytes),
		Added: int64(merged.Seeks) - int64(seeks) - int64(own.Seeks),
	}
}

// blend compares the streams.
func (s *sample) blend() control.BlendFigures {
	var writes, sequential uint64
	for _, g := range s.guests {
		writes += g.count.Writes
		sequential += g.count.Sequential
	}
	merged, log := &s.fixed[bpf.Merged], &s.fixed[bpf.Log]
	f := control.BlendFigures{
		Own: ratio(sequential, writes), Merged: ratio(merged.Sequential, merged.Writes),
		Log: ratio(log.Sequential, log.Writes), SeeksAsIs: merged.Seeks,
		SeeksSent: s.fixed[bpf.FastDevice].Seeks + s.fixed[bpf.CapacityDevice].Seeks,
		SentKnown: s.backing.known,
	}
	f.Index = f.Own - f.Merged
	if log.Writes > 0 {
		f.Recovered = f.Log - f.Merged
	}
	if f.SeeksSent > 0 {
		f.Avoided = float64(f.SeeksAsIs) / float64(f.SeeksSent)
	}
	return f
}

// ratio returns a part as a share, 0 of nothing.
func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// rate returns seeks for each MiB.
func rate(seeks, bytes uint64) float64 {
	if bytes == 0 {
		return 0
	}
	return float64(seeks) * mib / float64(bytes)
}

// trimmed returns the buckets up to the last that counts.
func trimmed(h bpf.Histogram) []uint64 {
	n := len(h)
	for n > 0 && h[n-1] == 0 {
		n--
	}
	return h[:n:n]
}
