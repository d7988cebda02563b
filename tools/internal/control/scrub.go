package control

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// ScrubRequest asks to verify all that the pool holds, in the background.
type ScrubRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Rate   int64  `json:"rate,omitempty" doc:"bytes a second at most; absent: the default"`
}

// ScrubStopRequest asks to end the scrub that is under way.
type ScrubStopRequest struct {
	Schema Schema `json:"schema,omitempty"`
}

// ScrubResult says how the scrub stands.
type ScrubResult struct {
	Schema Schema      `json:"schema"`
	Scrub  ScrubStatus `json:"scrub" doc:"the one under way, or the last"`
}

// States of a scrub.
const (
	ScrubNone    = "none" // there was none since the daemon started
	ScrubRunning = "running"
	ScrubDone    = "done"
	ScrubStopped = "stopped" // before it was through
)

// ScrubStatus describes the scrub that is under way, or the last one since the daemon started.
type ScrubStatus struct {
	State     string       `json:"state" doc:"none, running, done or stopped"`
	Reason    string       `json:"reason,omitempty" doc:"why it was stopped"`
	Began     time.Time    `json:"began,omitzero" doc:"when"`
	Ended     time.Time    `json:"ended,omitzero" doc:"when; absent: it has not"`
	Rate      int64        `json:"rate" doc:"bytes a second at most"`
	Done      int64        `json:"done" doc:"bytes read and compared with their checksums"`
	Total     int64        `json:"total" doc:"bytes that there are, about"`
	Blocks    uint64       `json:"blocks" doc:"blocks of 4 KiB of data read"`
	Pages     uint64       `json:"pages" doc:"copies of metadata pages read"`
	BadBlocks uint64       `json:"bad_blocks" doc:"blocks of data that are damaged or unreadable"`
	BadPages  uint64       `json:"bad_pages" doc:"metadata pages of which no copy is good"`
	BadCopies uint64       `json:"bad_copies" doc:"bad copies of metadata pages"`
	Repaired  uint64       `json:"repaired" doc:"of these, written anew"`
	Found     []ScrubFound `json:"found" doc:"the first of the bad blocks and pages"`
}

// ScrubFound is a block of data that is damaged, or a page without a good copy.
type ScrubFound struct {
	Volume  string `json:"volume" doc:"or snapshot; empty: it is the whole pool's"`
	Offset  int64  `json:"offset" doc:"in the volume, in bytes"`
	Role    string `json:"role" doc:"of the device: log, data or log+data"`
	At      int64  `json:"at" doc:"on the device, in bytes"`
	Message string `json:"message" doc:"what is wrong"`
}

// Damage returns how much is bad, and was not repaired.
func (s *ScrubStatus) Damage() uint64 { return s.BadBlocks + s.BadCopies - s.Repaired }

func (r *ScrubRequest) subject() string     { return "" }
func (r *ScrubStopRequest) subject() string { return "" }

func (r *ScrubRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaScrubRequest); err != nil {
		return err
	}
	if r.Rate < 0 {
		return badRequest(fmt.Sprintf("scrub: a rate of %d bytes a second", r.Rate), nil)
	}
	return nil
}

func (r *ScrubStopRequest) validate() error {
	return checkSchema(r.Schema, SchemaScrubStopRequest)
}

func startScrub(ctx context.Context, b Backend, r ScrubRequest, s Schema) (any, error) {
	st, err := b.StartScrub(ctx, r)
	return ScrubResult{s, st}, err
}

func stopScrub(ctx context.Context, b Backend, _ ScrubStopRequest, s Schema) (any, error) {
	st, err := b.StopScrub(ctx)
	return ScrubResult{s, st}, err
}

func (s *Server) getScrub(w http.ResponseWriter, r *http.Request) error {
	st, err := s.backend.Scrub(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ScrubResult{SchemaScrub, st})
	return nil
}

// StartScrub begins to verify all that the pool holds.
func (c *Client) StartScrub(ctx context.Context, r ScrubRequest) (ScrubResult, error) {
	r.Schema = SchemaScrubRequest
	return call[ScrubResult](ctx, c, "scrub-start", SchemaScrub, &r)
}

// StopScrub ends that.
func (c *Client) StopScrub(ctx context.Context) (ScrubResult, error) {
	return call[ScrubResult](ctx, c, "scrub-stop", SchemaScrub,
		&ScrubStopRequest{Schema: SchemaScrubStopRequest})
}

// Scrub says how the scrub stands.
func (c *Client) Scrub(ctx context.Context) (ScrubResult, error) {
	return call[ScrubResult](ctx, c, "scrub", SchemaScrub, nil)
}
