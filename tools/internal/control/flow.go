package control

import (
	"net/http"
	"time"
)

// Flow says what guests wrote and what became of it since the daemon started. At any moment
//
//	began + logged = absorbed + dropped + destaged + lost + live
//
// for the pool and for each volume. While no request is under way, and none has failed,
//
//	logged = write_bytes + merge_bytes - zero_bytes
type Flow struct {
	Schema  Schema        `json:"schema"`
	Time    time.Time     `json:"time" doc:"when this was true"`
	Total   FlowCounts    `json:"total" doc:"of the pool"`
	Volumes []VolumeFlow  `json:"volumes" doc:"that are, or were, in use; by name"`
	Written DeviceTraffic `json:"written" doc:"bytes that the pool's devices were sent, by class"`

	DestageReads     uint64 `json:"destage_reads" doc:"reads of the log for destage"`
	DestageReadBytes uint64 `json:"destage_read_bytes" doc:"bytes"`
	ReplacedBytes    uint64 `json:"replaced_bytes" doc:"moved to better places, of what is written there"`
	Pressure         int    `json:"pressure" doc:"fullness of the log in thousandths"`
	LogUsed          int64  `json:"log_used" doc:"bytes in segments that are not free"`
	LogSize          int64  `json:"log_size" doc:"bytes"`
}

// VolumeFlow is the flow of one volume, with its snapshots.
type VolumeFlow struct {
	Name   string     `json:"name" doc:"of the volume"`
	Line   uint32     `json:"line" doc:"another one: it was rolled back, and is counted from then on"`
	Counts FlowCounts `json:"counts" doc:"what became of what it wrote"`
}

// FlowCounts counts bytes where nothing else is said; but for the first three of whole blocks.
type FlowCounts struct {
	WriteBytes uint64 `json:"write_bytes" doc:"that guests wrote"`
	MergeBytes uint64 `json:"merge_bytes" doc:"that completing partial blocks adds"`
	ZeroBytes  uint64 `json:"zero_bytes" doc:"zeros found among them, and not logged"`

	Began    uint64 `json:"began" doc:"that the log had at the start"`
	Logged   uint64 `json:"logged" doc:"that have entered the log"`
	Absorbed uint64 `json:"absorbed" doc:"overwritten there"`
	Dropped  uint64 `json:"dropped" doc:"zeroed, discarded or removed there"`
	Destaged uint64 `json:"destaged" doc:"moved to their places"`
	Lost     uint64 `json:"lost" doc:"that could not be read when they were to be moved"`
	Live     uint64 `json:"live" doc:"that the log has now"`

	Placed     uint64   `json:"placed" doc:"destaged, with what was overwritten on its way"`
	Runs       []uint64 `json:"runs" doc:"its ranges in one piece of 2^n to 2^(n+1) blocks"`
	Ages       []uint64 `json:"ages" doc:"destaged blocks by time in the log: up to 1 ms, then 4 a doubling"`
	StallNanos uint64   `json:"stall_nanos" doc:"time that writes waited for room, in ns"`
}

// DeviceTraffic is bytes of the regions' classes.
type DeviceTraffic struct {
	Log      uint64 `json:"log" doc:"of the log"`
	Data     uint64 `json:"data" doc:"of volumes' places: destage, re-placement"`
	Metadata uint64 `json:"metadata" doc:"of maps, catalogue and roots"`
}

func (s *Server) getFlow(w http.ResponseWriter, r *http.Request) error {
	doc, err := s.backend.Flow(r.Context())
	if err != nil {
		return err
	}
	doc.Schema = SchemaFlow
	writeJSON(w, http.StatusOK, doc)
	return nil
}
