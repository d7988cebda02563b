package control

import "time"

// Operations of a request that is traced.
const (
	OpRead        = "read"
	OpWrite       = "write"
	OpDiscard     = "discard"
	OpWriteZeroes = "write-zeroes"
)

// TraceEvents is the first line of trace events --json and of the file of trace record.
type TraceEvents struct {
	Schema Schema    `json:"schema"`
	Start  time.Time `json:"start" doc:"when it began"`
	Layout string    `json:"layout" doc:"of the disk that bases are for: end-to-end"`
	Sample int       `json:"sample" doc:"one request in so many follows, by chance"`
	Notes  []string  `json:"notes,omitempty" doc:"what cannot be seen, and why"`
}

// TraceEventsStream is a line that names a volume or device before requests of it follow.
type TraceEventsStream struct {
	Schema Schema `json:"schema"`
	Kind   string `json:"kind" doc:"volume or device"`
	Name   string `json:"name" doc:"of the volume or device"`
	Dev    string `json:"dev" doc:"major:minor of the disk"`
	Base   int64  `json:"base,omitempty" doc:"of a volume: where one disk would have it that holds all"`
	Size   int64  `json:"size" doc:"bytes"`
}

// TraceEvent is one request that is done. Each is a line, roughly in the order in which they were done.
type TraceEvent struct {
	At     int64  `json:"at_ns" doc:"when its driver got it, in ns since the start"`
	Kind   string `json:"kind" doc:"volume; log, data, metadata or other of the pool's devices"`
	Name   string `json:"name" doc:"of the volume or device"`
	Op     string `json:"op" doc:"read, write, discard or write-zeroes"`
	Offset int64  `json:"offset" doc:"bytes from the start of the volume or device"`
	Bytes  int64  `json:"bytes" doc:"length"`
	Queue  int64  `json:"queue_ns" doc:"that it waited in the device's queue"`
	Device int64  `json:"device_ns" doc:"from when its driver got it until it was done"`
	Failed bool   `json:"failed,omitempty" doc:"whether it ended with an error"`
}

// TraceEventsEnd is the last line. Without it the record is not whole.
type TraceEventsEnd struct {
	Schema  Schema  `json:"schema"`
	File    string  `json:"file,omitempty" doc:"that was written, by trace record"`
	Seconds float64 `json:"seconds" doc:"how long it lasted"`
	Events  uint64  `json:"events" doc:"requests in the lines before"`
	Dropped uint64  `json:"events_dropped" doc:"requests that came faster than they could be taken"`
	Lost    uint64  `json:"events_lost" doc:"requests that could not be followed"`
}

// TracePlot is what trace plot has drawn.
type TracePlot struct {
	Schema  Schema   `json:"schema"`
	Files   []string `json:"files" doc:"pictures that were written"`
	Seconds float64  `json:"seconds" doc:"length of the record"`
	Volumes int      `json:"volumes" doc:"in it"`
	Writes  int      `json:"writes" doc:"of guests, in the picture"`
	Sent    int      `json:"sent" doc:"writes to the pool's devices, in the picture"`
	Dropped uint64   `json:"events_dropped" doc:"requests that the record lacks"`
	Whole   bool     `json:"whole" doc:"whether the record has its end"`
}
