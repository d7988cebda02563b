package control

import (
	"fmt"
	"net/http"
	"net/url"
)

// Layout says how a volume or snapshot lies on the capacity device, as its map has it; what is still
// in the log has no place yet.
type Layout struct {
	Schema  Schema         `json:"schema"`
	Name    string         `json:"name" doc:"of the volume or snapshot"`
	Size    int64          `json:"size" doc:"what the guest sees, in bytes"`
	Mapped  int64          `json:"mapped" doc:"bytes with a place on the capacity device"`
	InLog   int64          `json:"in_log" doc:"bytes whose newest content is in the log"`
	Home    int64          `json:"home" doc:"mapped bytes at their natural places in a chunk"`
	Shared  int64          `json:"shared" doc:"mapped bytes that are others' too; they never move"`
	Lost    int64          `json:"lost" doc:"bytes that could not be moved out of the log"`
	Runs    uint64         `json:"runs" doc:"ranges that lie in one piece"`
	MeanRun int64          `json:"mean_run" doc:"bytes"`
	Lengths []LayoutLength `json:"lengths" doc:"the runs by their length, the shortest first"`
	First   int64          `json:"first" doc:"where the first of it lies on the device, in bytes"`
	Last    int64          `json:"last" doc:"where the last of it ends"`
	Picture *LayoutPicture `json:"picture,omitempty" doc:"if it was asked for"`
}

// LayoutLength counts the runs of one class of lengths.
type LayoutLength struct {
	Length int64  `json:"length" doc:"bytes; up to the next class, twice as long"`
	Runs   uint64 `json:"runs" doc:"how many"`
	Bytes  int64  `json:"bytes" doc:"in them"`
}

// LayoutPicture is a layout in few cells: the volume from left to right, the part of the device
// between first and last from top to bottom.
type LayoutPicture struct {
	Width  int          `json:"width" doc:"cells"`
	Height int          `json:"height" doc:"cells"`
	Cells  []LayoutCell `json:"cells" doc:"those in which something lies, row by row"`
}

// LayoutCell is one cell of a picture.
type LayoutCell struct {
	X     int   `json:"x" doc:"from the left"`
	Y     int   `json:"y" doc:"from the top"`
	Bytes int64 `json:"bytes" doc:"of this part of the volume in this part of the device"`
}

// LayoutRequest says whose layout is wanted. It travels as the query of the URL.
type LayoutRequest struct {
	Name    string // of a volume or snapshot
	Picture bool
}

// The words of its query.
const (
	queryName    = "name"
	queryPicture = "picture" // has the value 1
)

func (r LayoutRequest) query() string {
	q := url.Values{queryName: {r.Name}}
	if r.Picture {
		q.Set(queryPicture, "1")
	}
	return q.Encode()
}

// parseLayout reads what query wrote, as strictly as a body is read.
func parseLayout(query string) (r LayoutRequest, err error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return r, badRequest("request: "+clip(err.Error()), err)
	}
	for name, values := range q {
		switch {
		case name == queryName && len(values) == 1:
			r.Name = values[0]
		case name == queryPicture && len(values) == 1 && values[0] == "1":
			r.Picture = true
		default:
			return r, badRequest(fmt.Sprintf("request: layout does not know this %q", clip(name)), nil)
		}
	}
	return r, CheckNode(r.Name)
}

func (s *Server) getLayout(w http.ResponseWriter, r *http.Request) error {
	req, err := parseLayout(r.URL.RawQuery)
	if err != nil {
		return err
	}
	doc, err := s.backend.Layout(r.Context(), req)
	if err != nil {
		return err
	}
	doc.Schema = SchemaLayout
	writeJSON(w, http.StatusOK, doc)
	return nil
}
