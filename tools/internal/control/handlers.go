package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// answer makes the handler of a verb that takes one document and returns one.
func answer[R any, P interface {
	*R
	request
}](schema Schema, do func(context.Context, Backend, R, Schema) (any, error),
) func(*Server, http.ResponseWriter, *http.Request) error {
	return func(s *Server, w http.ResponseWriter, r *http.Request) error {
		var req R
		var doc any
		err := decodeRequest(r.Body, P(&req))
		if err == nil {
			doc, err = do(r.Context(), s.backend, req, schema)
			s.note(r, P(&req).subject(), err)
		}
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, doc)
		return nil
	}
}

func createVolume(ctx context.Context, b Backend, r CreateRequest, s Schema) (any, error) {
	v, err := b.Create(ctx, r)
	return VolumeResult{s, v}, err
}

func attachVolume(ctx context.Context, b Backend, r AttachRequest, s Schema) (any, error) {
	v, err := b.Attach(ctx, r)
	return VolumeResult{s, v}, err
}

func detachVolume(ctx context.Context, b Backend, r DetachRequest, s Schema) (any, error) {
	v, err := b.Detach(ctx, r)
	return VolumeResult{s, v}, err
}

func removeVolume(ctx context.Context, b Backend, r RemoveRequest, s Schema) (any, error) {
	return Done{Schema: s, Verb: "rm", Name: r.Name, Count: len(r.All())}, b.Remove(ctx, r)
}

func snapshotVolumes(ctx context.Context, b Backend, r SnapshotRequest, s Schema) (any, error) {
	made, err := b.Snapshot(ctx, r)
	return List{s, made}, err
}

func cloneSnapshot(ctx context.Context, b Backend, r CloneRequest, s Schema) (any, error) {
	v, err := b.Clone(ctx, r)
	doc := CloneResult{Schema: s, Source: r.Source, Count: max(r.Count, 1), Volume: v}
	if r.Count > 1 {
		doc.Last = r.CloneName(r.Count - 1)
	}
	return doc, err
}

func rollbackVolume(ctx context.Context, b Backend, r RollbackRequest, s Schema) (any, error) {
	v, err := b.Rollback(ctx, r)
	return VolumeResult{s, v}, err
}

func renameVolume(ctx context.Context, b Backend, r RenameRequest, s Schema) (any, error) {
	v, err := b.Rename(ctx, r)
	return VolumeResult{s, v}, err
}

func resizeVolume(ctx context.Context, b Backend, r ResizeRequest, s Schema) (any, error) {
	v, err := b.Resize(ctx, r)
	return VolumeResult{s, v}, err
}

func checkpoint(ctx context.Context, b Backend, r CheckpointRequest, s Schema) (any, error) {
	return Done{Schema: s, Verb: "checkpoint"}, b.Checkpoint(ctx, r)
}

func shutdown(ctx context.Context, b Backend, r ShutdownRequest, s Schema) (any, error) {
	return Done{Schema: s, Verb: "shutdown"}, b.Shutdown(ctx, r)
}

// ListRequest says what list is to list beside the volumes. It travels as the query of the URL.
type ListRequest struct {
	Snapshots bool // snapshots
	All       bool // these, and what was removed and is still needed or not yet freed
}

// The words of the query, which have the value 1.
const (
	querySnapshots = "snapshots"
	queryAll       = "all"
)

func (r ListRequest) query() string {
	q := url.Values{}
	if r.Snapshots {
		q.Set(querySnapshots, "1")
	}
	if r.All {
		q.Set(queryAll, "1")
	}
	return q.Encode()
}

// parseList reads what query wrote, as strictly as a body is read.
func parseList(query string) (r ListRequest, err error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return r, badRequest("request: "+clip(err.Error()), err)
	}
	for name, values := range q {
		switch {
		case len(values) != 1 || values[0] != "1":
			return r, badRequest(fmt.Sprintf("request: %s is given with 1 as its value", clip(name)), nil)
		case name == querySnapshots:
			r.Snapshots = true
		case name == queryAll:
			r.All = true
		default:
			return r, badRequest(fmt.Sprintf("request: list does not know %q", clip(name)), nil)
		}
	}
	return r, nil
}

// getList streams the volumes: fifty thousand of them are never in memory at once. An error after
// the first one cuts the connection, so that no client takes a part for the whole.
func (s *Server) getList(w http.ResponseWriter, r *http.Request) error {
	req, err := parseList(r.URL.RawQuery)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 16<<10)
	begun := false
	begin := func() {
		w.Header().Set("Content-Type", "application/json")
		begun = true
		put(out, `{"schema":"`+string(SchemaList)+`","volumes":[`)
	}
	err = s.backend.List(r.Context(), req, func(v Volume) error {
		if begun {
			put(out, ",")
		} else {
			begin()
		}
		b, err := json.Marshal(v)
		if err == nil {
			_, err = out.Write(b)
		}
		return err
	})
	if err != nil && !begun {
		return err
	}
	if err == nil {
		if !begun {
			begin()
		}
		put(out, "]}\n")
		err = out.Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// put writes to a buffer, which keeps its first error for Flush.
func put(out *bufio.Writer, s string) {
	if _, err := out.WriteString(s); err != nil {
		return
	}
}
