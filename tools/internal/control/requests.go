package control

import (
	"fmt"

	"unblend/placement"
	"unblend/ublk"
)

// CreateRequest asks for a new volume.
type CreateRequest struct {
	Schema     Schema `json:"schema,omitempty"`
	Name       string `json:"name" doc:"1 to 63 of A-Z a-z 0-9 . _ + -, not . or - first"`
	Size       int64  `json:"size" doc:"bytes: 1 MiB to 256 TiB, a multiple of 4 KiB"`
	QueueDepth int    `json:"queue_depth,omitempty" doc:"1 to 4096; absent: the default"`
	NoAttach   bool   `json:"no_attach,omitempty" doc:"leave it without a device"`
}

// RemoveRequest asks to delete volumes and snapshots, one or several. A volume's snapshots may be
// among them; else it has to have none.
type RemoveRequest struct {
	Schema Schema   `json:"schema,omitempty"`
	Name   string   `json:"name" doc:"of the volume or snapshot; empty with names"`
	Names  []string `json:"names,omitempty" doc:"of several, instead"`
	Force  bool     `json:"force,omitempty" doc:"even if somebody has it open"`
}

// All returns the names of what is to be removed.
func (r *RemoveRequest) All() []string {
	if r.Name == "" {
		return r.Names
	}
	return []string{r.Name}
}

// RenameRequest asks for another name of a volume, its snapshots included, or of one snapshot.
type RenameRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Name   string `json:"name" doc:"of the volume or snapshot"`
	To     string `json:"to" doc:"the new name; of a snapshot with its volume's: volume@new"`
}

// ResizeRequest asks for a larger volume.
type ResizeRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Name   string `json:"name" doc:"of the volume"`
	Size   int64  `json:"size" doc:"bytes: as with create, and not below what it is"`
}

// AttachRequest asks for a volume's device.
type AttachRequest struct {
	Schema     Schema `json:"schema,omitempty"`
	Name       string `json:"name" doc:"of the volume or snapshot"`
	QueueDepth int    `json:"queue_depth,omitempty" doc:"1 to 4096; absent: as it was"`
	ReadOnly   bool   `json:"read_only,omitempty" doc:"let guests read only; of snapshots always"`
}

// DetachRequest asks to take a volume's device away.
type DetachRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Name   string `json:"name" doc:"of the volume or snapshot"`
	Force  bool   `json:"force,omitempty" doc:"even if somebody has it open"`
}

// CheckpointRequest asks to make what is known durable in the maps.
type CheckpointRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Drain  bool   `json:"drain,omitempty" doc:"move everything out of the log first"`
}

// ShutdownRequest asks the daemon to end.
type ShutdownRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Force  bool   `json:"force,omitempty" doc:"even if volumes are open; their users wait"`
}

// request is what every request type has.
type request interface {
	validate() error // checks what can be checked without the pool
	subject() string // the volume that it is about, for the log
}

func (r *CreateRequest) subject() string     { return r.Name }
func (r *RemoveRequest) subject() string     { return some(r.All()) }
func (r *RenameRequest) subject() string     { return r.Name + " to " + r.To }
func (r *ResizeRequest) subject() string     { return r.Name }
func (r *AttachRequest) subject() string     { return r.Name }
func (r *DetachRequest) subject() string     { return r.Name }
func (r *CheckpointRequest) subject() string { return "" }
func (r *ShutdownRequest) subject() string   { return "" }

func (r *CreateRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaCreateRequest); err != nil {
		return err
	}
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if err := CheckSize(r.Size); err != nil {
		return err
	}
	return CheckDepth(r.QueueDepth)
}

func (r *RemoveRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaRemoveRequest); err != nil {
		return err
	}
	if r.Name != "" && len(r.Names) > 0 {
		return badRequest("request: both name and names", nil)
	}
	if len(r.Names) == 0 {
		return CheckNode(r.Name)
	}
	seen := map[string]bool{}
	for _, name := range r.Names {
		if err := CheckNode(name); err != nil {
			return err
		}
		if seen[name] {
			return badRequest(fmt.Sprintf("rm: %s is named twice", Object(name)), nil)
		}
		seen[name] = true
	}
	return nil
}

func (r *RenameRequest) validate() error {
	if err := validate(r.Schema, SchemaRenameRequest, r.Name); err != nil {
		return err
	}
	if err := CheckNode(r.To); err != nil {
		return err
	}
	switch {
	case IsSnapshot(r.Name) && !IsSnapshot(r.To):
		return &Error{
			Code: CodeBadRequest, Message: fmt.Sprintf("%s cannot become a volume", Object(r.Name)),
			Next: fmt.Sprintf("make one that begins as it is: unblend clone %s %s", r.Name, r.To),
		}
	case IsSnapshot(r.To) && VolumeOf(r.Name) != VolumeOf(r.To):
		return badRequest(fmt.Sprintf("%s cannot become %s: it stays with its volume",
			Object(r.Name), r.To), nil)
	case IsSnapshot(r.To) && !IsSnapshot(r.Name):
		return &Error{
			Code: CodeBadRequest, Message: fmt.Sprintf("%s cannot become a snapshot", Object(r.Name)),
			Next: "to take one: unblend snapshot " + r.To,
		}
	}
	return nil
}

func (r *ResizeRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaResizeRequest); err != nil {
		return err
	}
	if err := CheckName(r.Name); err != nil {
		return err
	}
	return CheckSize(r.Size)
}

func (r *AttachRequest) validate() error {
	if err := validate(r.Schema, SchemaAttachRequest, r.Name); err != nil {
		return err
	}
	return CheckDepth(r.QueueDepth)
}

func (r *DetachRequest) validate() error {
	return validate(r.Schema, SchemaDetachRequest, r.Name)
}

func (r *CheckpointRequest) validate() error {
	return checkSchema(r.Schema, SchemaCheckpointRequest)
}

func (r *ShutdownRequest) validate() error { return checkSchema(r.Schema, SchemaShutdownRequest) }

func validate(got, want Schema, name string) error {
	if err := checkSchema(got, want); err != nil {
		return err
	}
	return CheckNode(name)
}

// checkSchema lets a request name no schema, as one typed by hand does, but no other than want.
func checkSchema(got, want Schema) error {
	if got != "" && got != want {
		return &Error{
			Code:    CodeBadRequest,
			Message: fmt.Sprintf("request: schema %q, this verb takes %q", clip(string(got)), want),
		}
	}
	return nil
}

// CheckName checks a volume's name. The error is an Error with CodeBadRequest.
func CheckName(name string) error {
	if err := placement.ValidName(name); err != nil {
		return &Error{Code: CodeBadRequest, Message: "volume: " + err.Error(), Err: err}
	}
	return nil
}

// CheckSize checks a volume's size in bytes. The error is an Error with CodeBadRequest.
func CheckSize(size int64) error {
	if err := placement.ValidSize(size); err != nil {
		return &Error{Code: CodeBadRequest, Message: "volume: " + err.Error(), Err: err}
	}
	return nil
}

// CheckDepth checks a queue depth, 0 being the default. The error is an Error with CodeBadRequest.
func CheckDepth(depth int) error {
	if depth < 0 || depth > ublk.MaxDepth {
		return &Error{
			Code:    CodeBadRequest,
			Message: fmt.Sprintf("queue depth %d: want 1 to %d", depth, ublk.MaxDepth),
		}
	}
	return nil
}

// clip bounds what of a request is repeated in an error. It is longer than any valid name.
func clip(s string) string { return s[:min(len(s), 2*placement.MaxName)] }
