package control

import (
	"context"
	"net/http"

	"unblend/log"
)

// DiffRequest asks for one page of what differs between two volumes or snapshots. The first page is
// asked for by name; the later ones say with the numbers that it gave which two were compared.
type DiffRequest struct {
	Schema Schema `json:"schema,omitempty"`
	From   string `json:"from,omitempty" doc:"volume or snapshot; absent: all that the other has"`
	To     string `json:"to" doc:"volume or snapshot that is compared with it"`
	FromID uint32 `json:"from_id,omitempty" doc:"of later pages: from_id of the first"`
	ToID   uint32 `json:"to_id,omitempty" doc:"of later pages: to_id of the first"`
	Offset int64  `json:"offset,omitempty" doc:"of later pages: next of the page before"`
}

// DiffPage answers diff.
type DiffPage struct {
	Schema   Schema       `json:"schema"`
	FromID   uint32       `json:"from_id,omitempty" doc:"number of the one, for the next page"`
	ToID     uint32       `json:"to_id" doc:"number of the other"`
	FromSize int64        `json:"from_size" doc:"of the one, in bytes"`
	Size     int64        `json:"size" doc:"of the other; what lies beyond is not compared"`
	Next     int64        `json:"next" doc:"bytes; where the next page begins; size: there is none"`
	Extents  []DiffExtent `json:"extents" doc:"in ascending order"`
}

// What an extent that differs holds.
const (
	DiffData = "data"
	DiffZero = "zero"
)

// DiffExtent is a range that differs. diff --json prints each as a line.
type DiffExtent struct {
	Offset int64  `json:"offset" doc:"bytes"`
	Length int64  `json:"length" doc:"bytes"`
	Type   string `json:"type" doc:"data: to be copied; zero: it reads as zeros now"`
}

// DiffHead is the first line of diff --json.
type DiffHead struct {
	Schema   Schema `json:"schema"`
	From     string `json:"from,omitempty" doc:"absent: all that the other has"`
	To       string `json:"to" doc:"volume or snapshot that is compared with it"`
	FromSize int64  `json:"from_size" doc:"of the one, in bytes"`
	Size     int64  `json:"size" doc:"of the other; what lies beyond is not compared"`
}

// DiffEnd is the last line of diff --json. Without it the answer is not whole.
type DiffEnd struct {
	Schema  Schema `json:"schema"`
	Extents int64  `json:"extents" doc:"how many lines came before, without the first"`
	Data    int64  `json:"data" doc:"bytes in those of type data"`
	Zero    int64  `json:"zero" doc:"bytes in those of type zero"`
}

func (r *DiffRequest) subject() string { return r.To }

func (r *DiffRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaDiffRequest); err != nil {
		return err
	}
	if r.From != "" {
		if err := CheckNode(r.From); err != nil {
			return err
		}
	} else if r.FromID != 0 {
		return badRequest("diff: from_id without from", nil)
	}
	if r.Offset < 0 || r.Offset%log.BlockSize != 0 {
		return badRequest("diff: the offset is not a multiple of 4096", nil)
	}
	return CheckNode(r.To)
}

// Diff returns one page of what differs between two volumes or snapshots.
func (c *Client) Diff(ctx context.Context, r DiffRequest) (DiffPage, error) {
	r.Schema = SchemaDiffRequest
	return call[DiffPage](ctx, c, "diff", SchemaDiffPage, &r)
}

// getDiff answers a page. It changes nothing, and there may be many: the log does not hear of it.
func (s *Server) getDiff(w http.ResponseWriter, r *http.Request) error {
	var req DiffRequest
	if err := decodeRequest(r.Body, &req); err != nil {
		return err
	}
	page, err := s.backend.Diff(r.Context(), req)
	if err != nil {
		return err
	}
	page.Schema = SchemaDiffPage
	page.Extents = append([]DiffExtent{}, page.Extents...)
	writeJSON(w, http.StatusOK, page)
	return nil
}
