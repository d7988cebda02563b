package control

import (
	"cmp"
	"slices"
	"time"
)

// Schema names a kind of document and its version.
type Schema string

// The documents.
const (
	SchemaVersion           Schema = "unblend/version/v1"
	SchemaStatus            Schema = "unblend/status/v1"
	SchemaList              Schema = "unblend/list/v1"
	SchemaLayout            Schema = "unblend/layout/v1"
	SchemaFlow              Schema = "unblend/flow/v1"
	SchemaVolume            Schema = "unblend/volume/v1"
	SchemaDone              Schema = "unblend/done/v1"
	SchemaError             Schema = "unblend/error/v1"
	SchemaClone             Schema = "unblend/clone/v1"
	SchemaDiff              Schema = "unblend/diff/v1"
	SchemaDiffEnd           Schema = "unblend/diff-end/v1"
	SchemaDiffPage          Schema = "unblend/diff-page/v1"
	SchemaGrow              Schema = "unblend/grow/v1"
	SchemaScrub             Schema = "unblend/scrub/v1"
	SchemaInit              Schema = "unblend/init/v1"
	SchemaImport            Schema = "unblend/import/v1"
	SchemaCheck             Schema = "unblend/check/v1"
	SchemaDoctor            Schema = "unblend/doctor/v1"
	SchemaTraceBlend        Schema = "unblend/trace-blend/v1"
	SchemaTraceDestage      Schema = "unblend/trace-destage/v1"
	SchemaTraceEvents       Schema = "unblend/trace-events/v1"
	SchemaTraceEventsStream Schema = "unblend/trace-events-stream/v1"
	SchemaTraceEventsEnd    Schema = "unblend/trace-events-end/v1"
	SchemaTracePlot         Schema = "unblend/trace-plot/v1"
	SchemaTraceLatency      Schema = "unblend/trace-latency/v1"
	SchemaCreateRequest     Schema = "unblend/create-request/v1"
	SchemaRemoveRequest     Schema = "unblend/rm-request/v1"
	SchemaAttachRequest     Schema = "unblend/attach-request/v1"
	SchemaDetachRequest     Schema = "unblend/detach-request/v1"
	SchemaSnapshotRequest   Schema = "unblend/snapshot-request/v1"
	SchemaCloneRequest      Schema = "unblend/clone-request/v1"
	SchemaDiffRequest       Schema = "unblend/diff-request/v1"
	SchemaRollbackRequest   Schema = "unblend/rollback-request/v1"
	SchemaRenameRequest     Schema = "unblend/rename-request/v1"
	SchemaResizeRequest     Schema = "unblend/resize-request/v1"
	SchemaGrowRequest       Schema = "unblend/grow-request/v1"
	SchemaScrubRequest      Schema = "unblend/scrub-request/v1"
	SchemaScrubStopRequest  Schema = "unblend/scrub-stop-request/v1"
	SchemaCheckpointRequest Schema = "unblend/checkpoint-request/v1"
	SchemaShutdownRequest   Schema = "unblend/shutdown-request/v1"
)

// VersionInfo says what program answers.
type VersionInfo struct {
	Schema  Schema `json:"schema"`
	Version string `json:"version" doc:"of the program"`
	Go      string `json:"go" doc:"version of the Go runtime"`
	Kernel  string `json:"kernel,omitempty" doc:"release of the running kernel"`
	Daemon  string `json:"daemon,omitempty" doc:"version of the daemon; absent: none was reached"`
	PID     int    `json:"pid,omitempty" doc:"of the daemon"`
}

// List is volumes and snapshots by name. The server streams it.
type List struct {
	Schema  Schema   `json:"schema"`
	Volumes []Volume `json:"volumes" doc:"by name; snapshots too where they are asked for"`
}

// VolumeResult answers what changes one volume or snapshot.
type VolumeResult struct {
	Schema Schema `json:"schema"`
	Volume Volume `json:"volume" doc:"as it is now"`
}

// Done answers what has nothing to tell.
type Done struct {
	Schema Schema `json:"schema"`
	Verb   string `json:"verb" doc:"what was done"`
	Name   string `json:"name,omitempty" doc:"the volume or snapshot it was done to"`
	Count  int    `json:"count,omitempty" doc:"how many volumes and snapshots it was done to"`
}

// States of a volume.
const (
	VolumeAttached = "attached" // there is a device for it
	VolumeDetached = "detached"
	VolumeRemoved  = "removed" // it stays while others need it, and until it is freed
)

// Volume describes one volume or snapshot, or what is left of one that was removed while others
// need it. Counters start with the daemon.
type Volume struct {
	Name       string    `json:"name" doc:"of the volume or snapshot; empty: removed"`
	ID         uint32    `json:"id" doc:"number of its node; never used again after it"`
	State      string    `json:"state" doc:"attached, detached or removed"`
	Snapshot   bool      `json:"snapshot" doc:"whether it is a snapshot, or was one"`
	Hidden     bool      `json:"hidden" doc:"removed, and needed by others or not yet freed"`
	Parent     uint32    `json:"parent,omitempty" doc:"id of the snapshot that it continues"`
	Origin     string    `json:"origin,omitempty" doc:"name of that; absent: none, or removed"`
	Children   int       `json:"children" doc:"snapshots and volumes that continue it"`
	Size       int64     `json:"size" doc:"what the guest sees, in bytes"`
	DeviceSize int64     `json:"device_size,omitempty" doc:"what it sees until the next attach"`
	Mapped     int64     `json:"mapped" doc:"bytes that have a place on the capacity device"`
	Unique     int64     `json:"unique" doc:"of these, bytes that nothing older shares"`
	Freed      int64     `json:"freed" doc:"bytes that removing it frees; 0 with several children"`
	Counting   bool      `json:"counting,omitempty" doc:"freed is being counted, and not known yet"`
	InLog      int64     `json:"in_log" doc:"bytes whose newest content is in the log"`
	Link       string    `json:"link" doc:"the path to use; it is there while attached"`
	Device     string    `json:"device,omitempty" doc:"what the link points at; absent: detached"`
	QueueDepth int       `json:"queue_depth" doc:"requests under way at most"`
	ReadOnly   bool      `json:"read_only" doc:"whether guests cannot write"`
	Created    time.Time `json:"created" doc:"when"`
	InFlight   int       `json:"in_flight" doc:"requests under way"`
	IO         VolumeIO  `json:"io" doc:"what guests did since the daemon started"`
}

// VolumeIO counts what guests did to one volume since the daemon started.
type VolumeIO struct {
	Reads        uint64 `json:"reads" doc:"requests"`
	ReadBytes    uint64 `json:"read_bytes" doc:"bytes"`
	Writes       uint64 `json:"writes" doc:"requests, write-zeroes included"`
	WriteBytes   uint64 `json:"write_bytes" doc:"bytes"`
	ZeroBytes    uint64 `json:"zero_bytes" doc:"bytes of zeros that took no space"`
	Discards     uint64 `json:"discards" doc:"requests"`
	DiscardBytes uint64 `json:"discard_bytes" doc:"bytes"`
	Flushes      uint64 `json:"flushes" doc:"requests"`
	Merges       uint64 `json:"merges" doc:"partial blocks completed from their old content"`
	Errors       uint64 `json:"errors" doc:"requests that ended with an error"`
	StallNanos   uint64 `json:"stall_nanos" doc:"time that writes waited for room, in ns"`
}

// States of a pool.
const (
	PoolOK       = "ok"
	PoolDegraded = "degraded"  // it serves everything, but something has to be mended
	PoolReadOnly = "read-only" // it accepts no writes until it is served anew
)

// Status is the state of the pool. Counters start with the daemon.
type Status struct {
	Schema   Schema         `json:"schema"`
	Time     time.Time      `json:"time" doc:"when this was true"`
	State    string         `json:"state" doc:"ok, degraded or read-only"`
	Warnings []Warning      `json:"warnings" doc:"why it is not ok, and what comes near that"`
	Daemon   DaemonStatus   `json:"daemon" doc:"the process that serves the pool"`
	Pool     PoolStatus     `json:"pool" doc:"the pool"`
	Devices  []DeviceStatus `json:"devices" doc:"fast device first"`
	Log      LogStatus      `json:"log" doc:"the log"`
	Space    SpaceStatus    `json:"space" doc:"the capacity device"`
	Cache    CacheStatus    `json:"cache" doc:"what is kept in memory"`
	Volumes  VolumeCounts   `json:"volumes" doc:"how many; list names them"`
	Work     WorkStatus     `json:"work" doc:"what was done since the daemon started"`
	Damage   DamageStatus   `json:"damage" doc:"what was found bad since the daemon started"`
	Scrub    ScrubStatus    `json:"scrub" doc:"the last one, or the one under way"`
	Regions  []Region       `json:"regions" doc:"what the ranges of the devices are for"`
}

// Warning is one thing an operator should know of.
type Warning struct {
	Code    string `json:"code" doc:"for scripts; stays the same"`
	Message string `json:"message" doc:"object and cause"`
	Next    string `json:"next,omitempty" doc:"what to do"`
}

// DaemonStatus describes the process that serves the pool.
type DaemonStatus struct {
	Version  string    `json:"version" doc:"of the program"`
	PID      int       `json:"pid" doc:"process"`
	Started  time.Time `json:"started" doc:"when"`
	RSS      int64     `json:"rss" doc:"memory it has, in bytes"`
	Ublk     bool      `json:"ublk" doc:"whether volumes can be attached"`
	Restored int       `json:"restored" doc:"volumes attached again at the start"`
	Shards   int       `json:"shards" doc:"threads that serve, and streams of the log"`
	CPUs     string    `json:"cpus" doc:"that it was told to run on, as a list; empty: any"`
}

// PoolStatus identifies the pool.
type PoolStatus struct {
	UUID       string    `json:"uuid" doc:"in hexadecimal, with hyphens"`
	Created    time.Time `json:"created" doc:"when"`
	Durability string    `json:"durability" doc:"write or flush: when an acknowledged write lasts"`
	Generation uint64    `json:"generation" doc:"of the newest durable root"`
	Checkpoint time.Time `json:"checkpoint" doc:"when that was written"`
	WithoutLog bool      `json:"without_log" doc:"served without its fast device"`
	Reason     string    `json:"reason,omitempty" doc:"why it is read-only"`
}

// Roles of a device.
const (
	RoleLog  = "log"
	RoleData = "data"
	RoleBoth = "log+data"
)

// DeviceStatus describes one backing device.
type DeviceStatus struct {
	Role          string `json:"role" doc:"log, data or log+data"`
	Path          string `json:"path" doc:"as the daemon was told, or found it"`
	Present       bool   `json:"present" doc:"false: served without it"`
	Kind          string `json:"kind,omitempty" doc:"block device or file"`
	Number        string `json:"number,omitempty" doc:"major:minor, of a file /inode behind it"`
	Size          int64  `json:"size" doc:"bytes"`
	Rotational    bool   `json:"rotational" doc:"whether it turns"`
	VolatileCache bool   `json:"volatile_cache" doc:"whether it must be flushed"`
	FUA           bool   `json:"fua" doc:"whether it makes single writes durable itself"`
	ReadErrors    uint64 `json:"read_errors" doc:"operations"`
	WriteErrors   uint64 `json:"write_errors" doc:"operations, flushes included"`
}

// LogStatus describes the log.
type LogStatus struct {
	Size         int64  `json:"size" doc:"bytes"`
	Used         int64  `json:"used" doc:"bytes in segments that are not free"`
	SegmentSize  int64  `json:"segment_size" doc:"bytes"`
	Segments     int    `json:"segments" doc:"all"`
	SegmentsFree int    `json:"segments_free" doc:"free"`
	Pressure     int    `json:"pressure" doc:"fullness in thousandths, the index's if higher"`
	Low          int    `json:"low" doc:"pressure at which destage begins"`
	High         int    `json:"high" doc:"pressure at which writers are slowed"`
	Index        int    `json:"index" doc:"blocks that the index holds"`
	IndexLimit   int    `json:"index_limit" doc:"blocks that it can hold"`
	Extents      int    `json:"extents" doc:"zeroed ranges that it holds"`
	Writes       uint64 `json:"writes" doc:"operations on the log"`
	WriteBytes   uint64 `json:"write_bytes" doc:"bytes"`
	Stalled      int    `json:"stalled" doc:"volumes with writes that wait for room"`
}

// SpaceStatus describes the capacity device and the metadata.
type SpaceStatus struct {
	Size         int64 `json:"size" doc:"bytes for volumes' data"`
	Free         int64 `json:"free" doc:"of these"`
	Promised     int64 `json:"promised" doc:"of the free ones, to what is in the log"`
	MetadataSize int64 `json:"metadata_size" doc:"bytes for maps and catalogue, one copy"`
	MetadataFree int64 `json:"metadata_free" doc:"of these"`

	Growth []VolumeGrowth `json:"growth" doc:"the ten volumes that grew most, most first"`
}

// VolumeGrowth says how much more space a volume takes, with its snapshots, than when the daemon
// started.
type VolumeGrowth struct {
	Name    string `json:"name" doc:"of the volume"`
	Bytes   int64  `json:"bytes" doc:"more than at the start of the daemon"`
	PerHour int64  `json:"per_hour" doc:"bytes an hour, on average"`
}

// CacheStatus describes the memory for metadata pages and for blocks that volumes share. Hits and
// misses count since the daemon started.
type CacheStatus struct {
	Size        int64  `json:"size" doc:"bytes for both"`
	Dirty       int64  `json:"dirty" doc:"of these, pages that the next checkpoint writes"`
	Shared      int64  `json:"shared" doc:"of these, blocks that clones have from their snapshot"`
	PageHits    uint64 `json:"page_hits" doc:"lookups of metadata pages that were there"`
	PageMisses  uint64 `json:"page_misses" doc:"that had to be read"`
	BlockHits   uint64 `json:"block_hits" doc:"shared blocks that were there"`
	BlockMisses uint64 `json:"block_misses" doc:"shared blocks that had to be read"`
}

// VolumeCounts says how many volumes there are.
type VolumeCounts struct {
	Total     int   `json:"total" doc:"all; snapshots do not count"`
	Attached  int   `json:"attached" doc:"volumes and snapshots with a device"`
	Snapshots int   `json:"snapshots" doc:"of all volumes"`
	Size      int64 `json:"size" doc:"sum of what guests see, in bytes"`
	Mapped    int64 `json:"mapped" doc:"sum of what has a place; what is shared counts each time"`
}

// WorkStatus counts the back end's work since the daemon started.
type WorkStatus struct {
	Now            string `json:"now" doc:"idle, destage, re-place, scrub, checkpoint"`
	Checkpoints    uint64 `json:"checkpoints" doc:"completed"`
	DestagedBytes  uint64 `json:"destaged_bytes" doc:"moved from the log to their place"`
	DestageWrites  uint64 `json:"destage_writes" doc:"device writes that this took"`
	ReplacedBytes  uint64 `json:"replaced_bytes" doc:"moved to better places while guests were idle"`
	AbsorbedBytes  uint64 `json:"absorbed_bytes" doc:"overwritten in the log, so never moved"`
	DiscardedBytes uint64 `json:"discarded_bytes" doc:"discarded in the log, so never moved"`
	IndexStalls    uint64 `json:"index_stalls" doc:"times that a write found the index full"`
	SpaceStalls    uint64 `json:"space_stalls" doc:"times that a write found no space promised"`
	PageWrites     uint64 `json:"page_writes" doc:"metadata pages, both copies"`
}

// DamageStatus counts what was found bad since the daemon started.
type DamageStatus struct {
	ReadErrors  uint64 `json:"read_errors" doc:"blocks that could not be read"`
	Mismatches  uint64 `json:"mismatches" doc:"reads done again because of a checksum or an error"`
	LostBlocks  uint64 `json:"lost_blocks" doc:"acknowledged blocks that the log lost"`
	BadBlocks   uint64 `json:"bad_blocks" doc:"blocks of the capacity device not used any more"`
	PageDamage  uint64 `json:"page_damage" doc:"bad copies of metadata pages"`
	PageRepairs uint64 `json:"page_repairs" doc:"of these, written anew from the other copy"`
	Last        string `json:"last,omitempty" doc:"the latest: volume, address, device"`
}

// Region is a range of a device that serves one purpose.
type Region struct {
	Role  string `json:"role" doc:"of the device: log, data or log+data"`
	Class string `json:"class" doc:"log, data or metadata"`
	Start int64  `json:"start" doc:"bytes from the start of the device"`
	End   int64  `json:"end" doc:"likewise, behind the last byte"`
}

// UTC returns Unix seconds as the documents carry times.
func UTC(unix int64) time.Time { return time.Unix(unix, 0).UTC() }

// SortVolumes orders volumes as List has them.
func SortVolumes(v []Volume) {
	slices.SortFunc(v, func(a, b Volume) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
}
