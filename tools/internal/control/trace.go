package control

import "time"

// TraceBlend is one report of trace blend. Writes are in the order in which the kernel issued them.
// What describes writes is 0 for a stream without any.
type TraceBlend struct {
	Schema     Schema        `json:"schema"`
	Start      time.Time     `json:"start" doc:"when the time that this is about began"`
	Seconds    float64       `json:"seconds" doc:"and how long it lasted"`
	EventsLost uint64        `json:"events_lost" doc:"requests that were not counted"`
	Layout     string        `json:"layout" doc:"of the merged stream's disk: end-to-end"`
	Volumes    int           `json:"volumes" doc:"that had a device"`
	Streams    []TraceStream `json:"streams" doc:"volumes by name, then merged, then what was sent"`
	Blend      BlendFigures  `json:"blend" doc:"what merging costs, and what was won back"`
	Notes      []string      `json:"notes,omitempty" doc:"what could not be seen, and why"`
}

// Kinds of a stream.
const (
	StreamVolume   = "volume"   // a guest's writes to its volume
	StreamMerged   = "merged"   // all guests' writes, as one disk would have got them
	StreamLog      = "log"      // writes to the log
	StreamData     = "data"     // destage
	StreamMetadata = "metadata" // writes of maps, catalogue and roots
	StreamOther    = "other"    // writes to the pool's devices outside of these regions
	StreamDevice   = "device"   // all writes of the four kinds before to one device
)

// LayoutEndToEnd is how the merged stream's disk holds the volumes: thick, one after the other.
const LayoutEndToEnd = "end-to-end"

// TraceStream is what was counted of one stream.
type TraceStream struct {
	Kind       string  `json:"kind" doc:"volume, merged, log, data, metadata, other or device"`
	Name       string  `json:"name,omitempty" doc:"of the volume or device"`
	Dev        string  `json:"dev,omitempty" doc:"major:minor of the disk"`
	Writes     uint64  `json:"writes" doc:"requests"`
	Bytes      uint64  `json:"bytes" doc:"written"`
	Sequential float64 `json:"seq_fraction" doc:"of writes that start where the one before them ended"`
	SeqBytes   float64 `json:"seq_bytes_fraction" doc:"the same, by bytes"`
	Windowed   float64 `json:"windowed_fraction" doc:"of writes that start where one of 16 before them ended"`
	Seeks      uint64  `json:"seeks" doc:"writes that start elsewhere than where the one before ended"`
	SeekRate   float64 `json:"seeks_per_mib" doc:"of what was written"`
	MeanRun    uint64  `json:"mean_run" doc:"bytes of writes that continue each other"`
	MedianRun  uint64  `json:"median_run,omitempty" doc:"the power of two below it; absent: no run ended"`
	MeanSeek   uint64  `json:"mean_seek" doc:"bytes between the end of a write and the next one's start"`
	MedianSeek uint64  `json:"median_seek" doc:"the power of two at or below it"`
	Reads      uint64  `json:"reads" doc:"requests"`
	ReadBytes  uint64  `json:"read_bytes" doc:"bytes"`

	Without *WithoutVolume `json:"without,omitempty" doc:"of a volume: the merged stream without it"`
	Seek    []uint64       `json:"seek_histogram,omitempty" doc:"seeks of 2^n to 2^(n+1) sectors, from n = 0"`
	Run     []uint64       `json:"run_histogram,omitempty" doc:"ended runs, likewise"`
}

// WithoutVolume is the merged stream with one volume's writes left out.
type WithoutVolume struct {
	Seeks    uint64  `json:"seeks" doc:"that would be left"`
	SeekRate float64 `json:"seeks_per_mib" doc:"of what would be left"`
	Added    int64   `json:"added" doc:"seeks that come from mixing it with the others, beyond its own"`
}

// BlendFigures compare the streams.
type BlendFigures struct {
	Index     float64 `json:"index" doc:"sequential share lost by merging: own less merged"`
	Own       float64 `json:"own" doc:"sequential share of the volumes' own streams, by requests"`
	Merged    float64 `json:"merged" doc:"of the merged stream"`
	Log       float64 `json:"log" doc:"of the log"`
	Recovered float64 `json:"recovered" doc:"log less merged; 0 where the log was not written"`
	SeeksAsIs uint64  `json:"seeks_as_is" doc:"of the merged stream"`
	SeeksSent uint64  `json:"seeks_sent" doc:"of the devices: log, destage, metadata, and between them"`
	Avoided   float64 `json:"avoided,omitempty" doc:"seeks as is for each one sent; absent: none sent"`
	SentKnown bool    `json:"sent_known" doc:"whether the pool's devices could be seen"`
}
