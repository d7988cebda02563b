package control

import (
	"fmt"
	"runtime"
	"time"

	"unblend/placement"
	"unblend/tools/internal/units"
)

// ServeConfig is what `unblend serve` was told. Zero values mean the daemon's defaults.
type ServeConfig struct {
	Paths       []string      // of the pool: one device or file, or both devices of a pool of two
	Socket      string        // path of the control socket
	SocketGroup string        // name or number of the group that is let in, or ""
	WithoutLog  bool          // open the last checkpoint read-only, without the fast device
	Memory      int64         // bytes that the daemon may take in all
	LogInFlight int           // log writes under way, of each shard
	Shards      int           // threads that serve; 0: as the log's device and the CPUs allow
	Low, High   int           // percent of the log: destage begins, writers are slowed
	CPUs        []int         // to run on, of which each shard has a part; rising; empty: any
	NoReplace   bool          // leave in pieces what became scattered
	OnFull      string        // OnFullWait or OnFullFail: what writes do when the pool is full
	Wait        time.Duration // for a claim that a killed daemon's requests still hold
	LinkDir     string        // where the links to the devices are made
	Version     string        // of the program
	Profiles    bool          // root may take Go profiles over the socket

	// DropPrivileges leaves the whole process only the capabilities that serving takes.
	DropPrivileges bool
}

// What writes do when the pool is full.
const (
	OnFullWait = "wait"
	OnFullFail = "fail"
)

// Defaults and limits of ServeConfig.
const (
	DefaultMemory      = 100 << 20
	MinMemory          = 64 << 20
	MaxMemory          = 64 << 30
	DefaultLogInFlight = 2
	MaxLogInFlight     = 64
	MaxShards          = placement.MaxShards
	DefaultLow         = 25
	DefaultHigh        = 75
	DefaultWait        = 30 * time.Second
	DefaultLinkDir     = "/dev/unblend"
	maxCPU             = 1023 // of the kernel's CPU sets
)

// Validate checks what can be checked before a device is touched. The error is an Error with
// CodeBadRequest.
func (c *ServeConfig) Validate() error {
	refuse := func(format string, args ...any) error {
		return &Error{Code: CodeBadRequest, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(c.Paths) == 0 || len(c.Paths) > 2:
		return refuse("serve: %d devices given, a pool has one or two", len(c.Paths))
	case c.Memory < MinMemory || c.Memory > MaxMemory:
		return refuse("--memory %s: want %s to %s", units.FormatSize(c.Memory),
			units.FormatSize(MinMemory), units.FormatSize(MaxMemory))
	case c.LogInFlight < 1 || c.LogInFlight > MaxLogInFlight:
		return refuse("--log-inflight %d: want 1 to %d", c.LogInFlight, MaxLogInFlight)
	case c.Shards < 0 || c.Shards > MaxShards:
		return refuse("--shards %d: want 1 to %d, or 0 for as many as fit", c.Shards, MaxShards)
	case c.Low < 1 || c.Low >= c.High || c.High > 99:
		return refuse("--low %d%% --high %d%%: want 1%% or more, high above low, 99%% at most",
			c.Low, c.High)
	case c.OnFull != OnFullWait && c.OnFull != OnFullFail:
		return refuse("--on-full %q: want %s or %s", clip(c.OnFull), OnFullWait, OnFullFail)
	}
	for _, cpu := range c.CPUs {
		if cpu < 0 || cpu > maxCPU {
			return refuse("--cpu %d: want 0 to %d", cpu, runtime.NumCPU()-1)
		}
	}
	if _, err := groupID(c.SocketGroup); err != nil {
		return err
	}
	return CheckSocket(c.Socket)
}
