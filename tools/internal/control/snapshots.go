package control

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"unblend/placement"
)

// SnapshotRequest asks for a snapshot of each of some volumes, all of the same moment.
type SnapshotRequest struct {
	Schema  Schema   `json:"schema,omitempty"`
	Volumes []string `json:"volumes" doc:"names, 1 to 112"`
	Name    string   `json:"name" doc:"what follows the @ in the names of the snapshots"`
}

// CloneRequest asks for volumes that begin as a snapshot is.
type CloneRequest struct {
	Schema     Schema `json:"schema,omitempty"`
	Source     string `json:"source" doc:"the snapshot: volume@snapshot"`
	Name       string `json:"name" doc:"of the clone; with count what comes before the number"`
	Count      int    `json:"count,omitempty" doc:"so many numbered clones; absent: one, with the name"`
	First      int    `json:"first,omitempty" doc:"number of the first"`
	Width      int    `json:"width,omitempty" doc:"digits that the numbers have at least"`
	QueueDepth int    `json:"queue_depth,omitempty" doc:"1 to 4096; absent: as the snapshot's"`
	Attach     bool   `json:"attach,omitempty" doc:"make the device of the one clone"`
}

// RollbackRequest asks to make a volume again what a snapshot of it is.
type RollbackRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Name   string `json:"name" doc:"the snapshot: volume@snapshot"`
}

// CloneResult answers clone.
type CloneResult struct {
	Schema Schema `json:"schema"`
	Source string `json:"source" doc:"the snapshot"`
	Count  int    `json:"count" doc:"how many clones were made"`
	Volume Volume `json:"volume" doc:"the clone; of several the first"`
	Last   string `json:"last,omitempty" doc:"name of the last of several"`
}

func (r *SnapshotRequest) subject() string { return some(r.Volumes) + ", @" + r.Name }
func (r *CloneRequest) subject() string    { return r.Name }
func (r *RollbackRequest) subject() string { return r.Name }

// some names one of several names, for the log.
func some(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}

func (r *SnapshotRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaSnapshotRequest); err != nil {
		return err
	}
	switch n := len(r.Volumes); {
	case n == 0:
		return badRequest("snapshot: no volume is named", nil)
	case n > placement.MaxMembers:
		return badRequest(fmt.Sprintf("snapshot: %d volumes, %d at most at one moment", n,
			placement.MaxMembers), nil)
	}
	for i, v := range r.Volumes {
		if err := CheckName(v); err != nil {
			return err
		}
		if slices.Contains(r.Volumes[:i], v) {
			return badRequest(fmt.Sprintf("snapshot: volume %q is named twice", v), nil)
		}
	}
	return CheckNode(r.Volumes[0] + "@" + r.Name)
}

func (r *CloneRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaCloneRequest); err != nil {
		return err
	}
	if err := CheckSnapshot(r.Source); err != nil {
		return err
	}
	switch {
	case r.Count < 0 || r.Count > placement.MaxNode:
		return badRequest(fmt.Sprintf("clone: %d clones: want 1 to %d", r.Count, placement.MaxNode), nil)
	case r.Count == 0 && (r.First != 0 || r.Width != 0):
		return badRequest("clone: numbers without a count", nil)
	case r.First < 0 || int64(r.First) > math.MaxUint32:
		return badRequest(fmt.Sprintf("clone: first number %d: want 0 to %d", r.First,
			uint32(math.MaxUint32)), nil)
	case r.Width < 0 || r.Width > placement.MaxName:
		return badRequest(fmt.Sprintf("clone: %d digits: want 0 to %d", r.Width, placement.MaxName), nil)
	case r.Count > 0 && r.Attach:
		return badRequest("clone: many clones are made without devices, attach those that are wanted", nil)
	}
	for _, i := range []int{0, max(r.Count-1, 0)} {
		if err := CheckName(r.CloneName(i)); err != nil {
			return err
		}
	}
	return CheckDepth(r.QueueDepth)
}

// CloneName returns the name of clone i, from 0.
func (r *CloneRequest) CloneName(i int) string {
	if r.Count == 0 {
		return r.Name
	}
	return fmt.Sprintf("%s%0*d", r.Name, r.Width, r.First+i)
}

func (r *RollbackRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaRollbackRequest); err != nil {
		return err
	}
	return CheckSnapshot(r.Name)
}

// CheckNode checks the name of a volume or snapshot. The error is an Error with CodeBadRequest.
func CheckNode(name string) error {
	if err := placement.ValidNodeName(name); err != nil {
		return badRequest(kind(name)+": "+err.Error(), err)
	}
	return nil
}

// CheckSnapshot checks the name of a snapshot. The error is an Error with CodeBadRequest.
func CheckSnapshot(name string) error {
	if err := CheckNode(name); err != nil {
		return err
	}
	if !IsSnapshot(name) {
		return &Error{
			Code: CodeBadRequest, Message: fmt.Sprintf("%q is the name of a volume", name),
			Next: fmt.Sprintf("name a snapshot: %s@SNAPSHOT; see: unblend list --snapshots", name),
		}
	}
	return nil
}

// IsSnapshot reports whether a name is that of a snapshot.
func IsSnapshot(name string) bool { return strings.Contains(name, "@") }

// VolumeOf returns the name of the volume that a name belongs to: of a snapshot the part before
// the @.
func VolumeOf(name string) string {
	volume, _, _ := strings.Cut(name, "@")
	return volume
}

// Object names a volume or snapshot as messages do.
func Object(name string) string { return placement.Object(name) }

func kind(name string) string {
	if IsSnapshot(name) {
		return "snapshot"
	}
	return "volume"
}
