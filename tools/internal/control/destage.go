package control

import "time"

// TraceDestage is one report of trace destage: what guests wrote in a time and what became of it. For
// each row and the total, in bytes of whole blocks,
//
//	logged = absorbed + dropped + destaged + lost + live_change
//
// and, but for requests that were under way when the time began or ended,
//
//	logged = write_bytes + merge_bytes - zero_bytes
type TraceDestage struct {
	Schema     Schema        `json:"schema"`
	Start      time.Time     `json:"start" doc:"when the time that this is about began"`
	Seconds    float64       `json:"seconds" doc:"and how long it lasted"`
	EventsLost uint64        `json:"events_lost" doc:"requests that were not counted"`
	Total      DestageRow    `json:"total" doc:"of the pool"`
	Volumes    []DestageRow  `json:"volumes" doc:"by name"`
	Devices    DestageDisks  `json:"devices" doc:"what the pool's devices got"`
	LogFill    float64       `json:"log_fill" doc:"share of the log that is in use, at the end"`
	Pressure   float64       `json:"pressure" doc:"the same, or of its index if that is fuller"`
	Efficiency *Efficiency   `json:"efficiency,omitempty" doc:"absent: nothing was written"`
	Verify     *VerifyResult `json:"verify,omitempty" doc:"if it was asked for"`
	Notes      []string      `json:"notes,omitempty" doc:"what could not be seen, and why"`
}

// DestageRow is the pool's figures, or those of one volume with its snapshots. Shares of nothing are 0.
type DestageRow struct {
	Name       string `json:"name,omitempty" doc:"of the volume"`
	WriteBytes uint64 `json:"write_bytes" doc:"that guests wrote"`
	MergeBytes uint64 `json:"merge_bytes" doc:"that completing partial blocks adds"`
	ZeroBytes  uint64 `json:"zero_bytes" doc:"zeros found among them, and not logged"`
	Logged     uint64 `json:"logged" doc:"that have entered the log"`
	Absorbed   uint64 `json:"absorbed" doc:"overwritten there"`
	Dropped    uint64 `json:"dropped" doc:"zeroed, discarded or removed there"`
	Destaged   uint64 `json:"destaged" doc:"moved to their places"`
	Lost       uint64 `json:"lost" doc:"that could not be read when they were to be moved"`
	LiveChange int64  `json:"live_change" doc:"by which what the log has has grown"`
	Live       uint64 `json:"live" doc:"that the log has at the end"`
	Placed     uint64 `json:"placed" doc:"destaged, with what was overwritten on its way"`

	AbsorbedShare float64 `json:"absorbed_fraction" doc:"absorbed and dropped, of what has left the log"`
	Fill          float64 `json:"fill_fraction" doc:"destaged, of what was written to volumes' places"`
	Runs          uint64  `json:"runs" doc:"ranges in one piece that were destaged"`
	MeanRun       uint64  `json:"mean_run" doc:"bytes"`
	MedianRun     uint64  `json:"median_run" doc:"the power of two at or below it"`
	SeekRate      float64 `json:"seeks_per_mib" doc:"of what was destaged; of the pool, as it was sent"`
	AgeP50        float64 `json:"age_p50_seconds" doc:"half of the destaged bytes were in the log less"`
	AgeP99        float64 `json:"age_p99_seconds" doc:"all but a hundredth of them were"`
	StallSeconds  float64 `json:"stall_seconds" doc:"sum of the times that writes waited for room"`
}

// DestageDisks is what the pool's devices got: as the kernel sent it where that could be seen, else as
// the daemon has counted it.
type DestageDisks struct {
	Seen             bool    `json:"seen" doc:"whether the kernel was watched sending it"`
	Log              uint64  `json:"log" doc:"bytes written to the log"`
	Data             uint64  `json:"data" doc:"to volumes' places: destage, re-placement"`
	Metadata         uint64  `json:"metadata" doc:"of maps, catalogue and roots"`
	DestageReads     uint64  `json:"destage_reads" doc:"reads of the log for destage"`
	DestageReadBytes uint64  `json:"destage_read_bytes" doc:"bytes of these"`
	ReplacedBytes    uint64  `json:"replaced_bytes" doc:"re-placement's part of data"`
	Amplification    float64 `json:"write_amplification" doc:"bytes written for each that guests wrote"`
	Floor            float64 `json:"write_amplification_floor" doc:"logged once, and what is left moved once"`
}

// Efficiency compares what the guests' writes would cost a disk as they are with what was sent: a seek
// costs a time, and each byte. Each read for destage counts as a seek.
type Efficiency struct {
	Gain        float64 `json:"gain" doc:"cost as is for each of what was sent; above 1 it was worth it"`
	AsIsSeconds float64 `json:"as_is_seconds" doc:"cost of the merged stream"`
	SentSeconds float64 `json:"sent_seconds" doc:"of log, destage, metadata, and reads for destage"`
	SeekMillis  float64 `json:"seek_ms" doc:"that a seek takes"`
	MBPerSecond float64 `json:"mbps" doc:"million bytes in a second"`
}

// VerifyResult compares what the kernel was seen to write with what the daemon counts.
type VerifyResult struct {
	OK      bool          `json:"ok" doc:"no class is off by more than the limit"`
	Limit   float64       `json:"limit" doc:"share by which a class may be off"`
	Classes []VerifyClass `json:"classes" doc:"log, data, metadata"`
}

// VerifyClass compares one class. The daemon is asked before and after the kernel, so its count is
// between two.
type VerifyClass struct {
	Class string  `json:"class" doc:"log, data or metadata"`
	Seen  uint64  `json:"seen" doc:"bytes that the kernel sent"`
	Least uint64  `json:"least" doc:"bytes that the daemon has counted at least"`
	Most  uint64  `json:"most" doc:"and at most"`
	Off   float64 `json:"off" doc:"share by which what was seen lies outside of that"`
}
