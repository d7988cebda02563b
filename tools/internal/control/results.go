package control

import "time"

// InitResult is what init did.
type InitResult struct {
	Schema      Schema         `json:"schema"`
	UUID        string         `json:"uuid" doc:"of the new pool"`
	Created     time.Time      `json:"created" doc:"when"`
	Durability  string         `json:"durability" doc:"write or flush"`
	Devices     []DeviceStatus `json:"devices" doc:"fast device first"`
	LogSize     int64          `json:"log_size" doc:"bytes"`
	SegmentSize int64          `json:"segment_size" doc:"bytes"`
	DataSize    int64          `json:"data_size" doc:"bytes for volumes' data"`
	Metadata    int64          `json:"metadata" doc:"bytes for maps and catalogue, one copy"`
	Wiped       []string       `json:"wiped,omitempty" doc:"what --force destroyed"`
}

// ImportResult is what import did.
type ImportResult struct {
	Schema  Schema  `json:"schema"`
	File    string  `json:"file" doc:"the image, as it was named"`
	Format  string  `json:"format" doc:"of the image, in the words of qemu-img"`
	Size    int64   `json:"size" doc:"bytes that the image has as a disk"`
	Volume  Volume  `json:"volume" doc:"as it is now"`
	Seconds float64 `json:"seconds" doc:"it took"`
}

// CheckResult is what check found.
type CheckResult struct {
	Schema    Schema         `json:"schema"`
	UUID      string         `json:"uuid,omitempty" doc:"of the pool"`
	State     string         `json:"state" doc:"ok, repaired or damaged"`
	Problems  []CheckProblem `json:"problems" doc:"what is not as it should be"`
	Notes     []CheckProblem `json:"notes" doc:"what a crash leaves, too; the next start mends it"`
	Repaired  int            `json:"repaired" doc:"bad copies that were written anew"`
	Volumes   uint64         `json:"volumes" doc:"reachable"`
	Pages     uint64         `json:"pages" doc:"metadata pages, reachable"`
	Blocks    uint64         `json:"blocks" doc:"blocks of 4 KiB of data, reachable"`
	LogBlocks uint64         `json:"log_blocks" doc:"live blocks in the log"`
	BadBlocks int            `json:"bad_blocks" doc:"blocks not used any more"`
	Data      bool           `json:"data" doc:"whether every block of data was read"`
	Seconds   float64        `json:"seconds" doc:"it took"`
}

// States of a check.
const (
	CheckOK       = "ok"
	CheckRepaired = "repaired"
	CheckDamaged  = "damaged"
)

// CheckProblem is one thing that is not as it should be.
type CheckProblem struct {
	Structure string `json:"structure" doc:"such as label, root, map page, data"`
	Message   string `json:"message" doc:"where and what"`
	Repaired  bool   `json:"repaired" doc:"the good copy was written over it"`
}

// DoctorResult is what doctor found.
type DoctorResult struct {
	Schema Schema        `json:"schema"`
	OK     bool          `json:"ok" doc:"nothing that is needed is missing"`
	Checks []DoctorCheck `json:"checks" doc:"in the order of their importance"`
}

// States of a doctor's check.
const (
	DoctorOK   = "ok"
	DoctorFix  = "fix"  // needed, and missing
	DoctorWarn = "warn" // useful, and missing
)

// DoctorCheck is one thing that doctor looked at.
type DoctorCheck struct {
	Name   string `json:"name" doc:"for scripts; stays the same"`
	State  string `json:"state" doc:"ok, warn or fix"`
	Detail string `json:"detail" doc:"what was found"`
	Fix    string `json:"fix,omitempty" doc:"the command that mends it"`
}
