package control

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
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
	return Done{Schema: s, Verb: "rm", Name: r.Name}, b.Remove(ctx, r)
}

func checkpoint(ctx context.Context, b Backend, r CheckpointRequest, s Schema) (any, error) {
	return Done{Schema: s, Verb: "checkpoint"}, b.Checkpoint(ctx, r)
}

func shutdown(ctx context.Context, b Backend, r ShutdownRequest, s Schema) (any, error) {
	return Done{Schema: s, Verb: "shutdown"}, b.Shutdown(ctx, r)
}

// getList streams the volumes: fifty thousand of them are never in memory at once. An error after
// the first one cuts the connection, so that no client takes a part for the whole.
func (s *Server) getList(w http.ResponseWriter, r *http.Request) error {
	out := bufio.NewWriterSize(w, 16<<10)
	begun := false
	begin := func() {
		w.Header().Set("Content-Type", "application/json")
		begun = true
		put(out, `{"schema":"`+string(SchemaList)+`","volumes":[`)
	}
	err := s.backend.List(r.Context(), func(v Volume) error {
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
