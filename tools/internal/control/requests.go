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

// RemoveRequest asks to delete a volume and its data.
type RemoveRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Name   string `json:"name" doc:"of the volume"`
	Force  bool   `json:"force,omitempty" doc:"even if somebody has it open"`
}

// AttachRequest asks for a volume's device.
type AttachRequest struct {
	Schema     Schema `json:"schema,omitempty"`
	Name       string `json:"name" doc:"of the volume"`
	QueueDepth int    `json:"queue_depth,omitempty" doc:"1 to 4096; absent: as it was"`
	ReadOnly   bool   `json:"read_only,omitempty" doc:"let guests read only"`
}

// DetachRequest asks to take a volume's device away.
type DetachRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Name   string `json:"name" doc:"of the volume"`
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
func (r *RemoveRequest) subject() string     { return r.Name }
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
	return validate(r.Schema, SchemaRemoveRequest, r.Name)
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
	return CheckName(name)
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
