package control

import "time"

// TraceLatency is one report of trace latency.
type TraceLatency struct {
	Schema  Schema       `json:"schema"`
	Start   time.Time    `json:"start" doc:"when the time that this is about began"`
	Seconds float64      `json:"seconds" doc:"and how long it lasted"`
	Lost    uint64       `json:"events_lost" doc:"requests that were not followed"`
	Rows    []TraceTimes `json:"rows" doc:"volumes by name, then the pool's devices; what had requests"`
	Notes   []string     `json:"notes,omitempty" doc:"what could not be seen, and why"`
}

// TraceTimes is how long requests of one kind took.
type TraceTimes struct {
	Kind     string   `json:"kind" doc:"volume; log, data, metadata or other of the pool's devices"`
	Name     string   `json:"name,omitempty" doc:"of the volume"`
	Op       string   `json:"op" doc:"read or write"`
	Requests uint64   `json:"requests" doc:"that were done"`
	Total    TimePart `json:"total" doc:"from when they were handed to the device until they were done"`
	Queue    TimePart `json:"queue" doc:"in the device's queue, until its driver got them"`
	Device   TimePart `json:"device" doc:"from then on; a volume's driver is unblend"`

	Split uint64    `json:"split,omitempty" doc:"writes of a volume whose parts of device are known"`
	Batch *TimePart `json:"batch,omitempty" doc:"of those: until the log's write was issued; inferred"`
	Log   *TimePart `json:"log,omitempty" doc:"of those: until that was done; inferred"`
	Reply *TimePart `json:"reply,omitempty" doc:"of those: until the request was; inferred"`
}

// TimePart is one part of the time that requests took.
type TimePart struct {
	Mean      int64    `json:"mean_ns" doc:"in ns"`
	P50       int64    `json:"p50_ns" doc:"estimated from the histogram"`
	P99       int64    `json:"p99_ns" doc:"likewise"`
	Histogram []uint64 `json:"histogram" doc:"requests of 2^n to 2^(n+1) ns, from n = 0; the first: or less"`
}
