package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// maxAnswer bounds what a client reads of one answer, in bytes: a list of 65,536 volumes, the most
// that a pool has by default, takes about half of it.
const maxAnswer = 128 << 20

// Client talks to the daemon on a socket.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client for the socket at path. timeout bounds each call; 0: the verb's own
// time.
func NewClient(path string, timeout time.Duration) *Client {
	c := &Client{path: path}
	c.http.Timeout = timeout
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableCompression: true,
	}
	return c
}

// Create makes a volume.
func (c *Client) Create(ctx context.Context, r CreateRequest) (VolumeResult, error) {
	r.Schema = SchemaCreateRequest
	return call[VolumeResult](ctx, c, "create", SchemaVolume, &r)
}

// Attach makes the device of a volume.
func (c *Client) Attach(ctx context.Context, r AttachRequest) (VolumeResult, error) {
	r.Schema = SchemaAttachRequest
	return call[VolumeResult](ctx, c, "attach", SchemaVolume, &r)
}

// Detach takes the device of a volume away.
func (c *Client) Detach(ctx context.Context, r DetachRequest) (VolumeResult, error) {
	r.Schema = SchemaDetachRequest
	return call[VolumeResult](ctx, c, "detach", SchemaVolume, &r)
}

// Snapshot freezes volumes as they are at one moment.
func (c *Client) Snapshot(ctx context.Context, r SnapshotRequest) (List, error) {
	r.Schema = SchemaSnapshotRequest
	return call[List](ctx, c, "snapshot", SchemaList, &r)
}

// Clone makes volumes that begin as a snapshot is.
func (c *Client) Clone(ctx context.Context, r CloneRequest) (CloneResult, error) {
	r.Schema = SchemaCloneRequest
	return call[CloneResult](ctx, c, "clone", SchemaClone, &r)
}

// Rollback makes a volume what a snapshot of it is.
func (c *Client) Rollback(ctx context.Context, r RollbackRequest) (VolumeResult, error) {
	r.Schema = SchemaRollbackRequest
	return call[VolumeResult](ctx, c, "rollback", SchemaVolume, &r)
}

// Rename gives a volume or snapshot another name.
func (c *Client) Rename(ctx context.Context, r RenameRequest) (VolumeResult, error) {
	r.Schema = SchemaRenameRequest
	return call[VolumeResult](ctx, c, "rename", SchemaVolume, &r)
}

// Resize makes a volume larger.
func (c *Client) Resize(ctx context.Context, r ResizeRequest) (VolumeResult, error) {
	r.Schema = SchemaResizeRequest
	return call[VolumeResult](ctx, c, "resize", SchemaVolume, &r)
}

// Remove deletes volumes and snapshots. Requests have a limit: see MaxNames.
func (c *Client) Remove(ctx context.Context, r RemoveRequest) (Done, error) {
	r.Schema = SchemaRemoveRequest
	return call[Done](ctx, c, "rm", SchemaDone, &r)
}

// Grow makes the pool larger.
func (c *Client) Grow(ctx context.Context, r GrowRequest) (GrowResult, error) {
	r.Schema = SchemaGrowRequest
	return call[GrowResult](ctx, c, "grow", SchemaGrow, &r)
}

// Checkpoint makes what is known durable in the maps.
func (c *Client) Checkpoint(ctx context.Context, r CheckpointRequest) (Done, error) {
	r.Schema = SchemaCheckpointRequest
	return call[Done](ctx, c, "checkpoint", SchemaDone, &r)
}

// Shutdown ends the daemon.
func (c *Client) Shutdown(ctx context.Context, r ShutdownRequest) (Done, error) {
	r.Schema = SchemaShutdownRequest
	return call[Done](ctx, c, "shutdown", SchemaDone, &r)
}

// List returns the volumes and what else is asked for, by name.
func (c *Client) List(ctx context.Context, r ListRequest) (List, error) {
	return call[List](ctx, c, "list?"+r.query(), SchemaList, nil)
}

// Status describes the pool.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, "status", SchemaStatus, nil)
}

// Layout says how a volume or snapshot lies on the capacity device.
func (c *Client) Layout(ctx context.Context, r LayoutRequest) (Layout, error) {
	return call[Layout](ctx, c, "layout?"+r.query(), SchemaLayout, nil)
}

// Flow says what guests wrote and what became of it.
func (c *Client) Flow(ctx context.Context) (Flow, error) {
	return call[Flow](ctx, c, "flow", SchemaFlow, nil)
}

// Version describes the daemon.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	return call[VersionInfo](ctx, c, "version", SchemaVersion, nil)
}

// call sends one request, a GET if there is nothing to send, and decodes the answer. Fields that a
// newer daemon added are ignored; a document of another schema is refused.
func call[T any](ctx context.Context, c *Client, verb string, want Schema, req request) (T, error) {
	var doc T
	b, err := c.exchange(ctx, verb, req)
	if err != nil {
		return doc, err
	}
	var head struct {
		Schema Schema `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return doc, c.garbled(err)
	}
	if head.Schema != want {
		return doc, &Error{
			Code: CodeUnsupported,
			Message: fmt.Sprintf("daemon on %s: it answers with %q, wanted %q", c.path,
				clip(string(head.Schema)), want),
			Next: "use the program of the daemon's version",
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return doc, c.garbled(err)
	}
	return doc, nil
}

// exchange returns the body of a good answer, or the Error in a bad one.
func (c *Client) exchange(ctx context.Context, verb string, req request) ([]byte, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if req != nil {
		if err := req.validate(); err != nil {
			return nil, err
		}
		b, err := json.Marshal(req)
		if err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		method, body = http.MethodPost, bytes.NewReader(b)
	}
	hr, err := http.NewRequestWithContext(ctx, method, "http://unblend/v1/"+verb, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	resp, err := c.http.Do(hr)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return b, nil
	}
	var doc ErrorDocument
	if err := json.Unmarshal(b, &doc); err != nil || doc.Schema != SchemaError {
		return nil, c.garbled(fmt.Errorf("status %s: %w", resp.Status, err))
	}
	return nil, &doc.Error
}

// failed says why there was no answer.
func (c *Client) failed(ctx context.Context, err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrPermission):
		return &Error{
			Code: CodeDenied, Message: fmt.Sprintf("control socket %s: permission denied", c.path),
			Next: "use sudo, or let your group in with: unblend serve --socket-group", Err: err,
		}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, syscall.ENOTDIR):
		return &Error{
			Code: CodeUnreachable, Message: fmt.Sprintf("no daemon listens on %s", c.path),
			Next: "start it: systemctl start unblend, or: unblend serve POOL", Err: err,
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		return &Error{
			Code: CodeTimeout, Message: fmt.Sprintf("daemon on %s: no answer in time", c.path),
			Next: "look: journalctl -u unblend", Err: err,
		}
	}
	return &Error{
		Code: CodeUnreachable, Message: fmt.Sprintf("daemon on %s: it went away: %v", c.path, err),
		Next: "look: journalctl -u unblend", Err: err,
	}
}

func (c *Client) garbled(err error) error {
	return &Error{
		Code:    CodeUnreachable,
		Message: fmt.Sprintf("%s: what answers there is no unblend daemon", c.path), Err: err,
	}
}
