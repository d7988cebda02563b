package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"
)

// The times that a client has. Nothing that the daemon needs waits for a client meanwhile.
const (
	headerTime = 5 * time.Second  // to send the header of a request
	bodyTime   = 10 * time.Second // to send all of it
	idleTime   = 30 * time.Second // between two requests on a connection
	writeTime  = 30 * time.Second // to take the answer, beyond the verb's own time
	longest    = 10 * time.Minute // that a verb may take
	maxHeader  = 8 << 10          // bytes
)

// Server answers requests on the socket.
type Server struct {
	backend Backend
	group   int
	version string
	log     *slog.Logger
	mux     *http.ServeMux
	http    http.Server
}

// NewServer returns a server for b. version is the daemon's; what changes anything is logged to log
// with the user who asked.
func NewServer(b Backend, version string, log *slog.Logger) *Server {
	s := &Server{backend: b, version: version, log: log, group: -1}
	s.http = http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       bodyTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers on l until Shutdown or Close. It closes l. The error is nil after Shutdown or
// Close.
func (s *Server) Serve(l *Listener) error {
	s.group = l.group
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			l.released()
		}
	}
	err := errors.Join(s.http.Serve(l), ignoreClosed(l.Close()))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown lets requests under way end, until ctx does.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// Close ends at once.
func (s *Server) Close() error { return s.http.Close() }

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// verb is one entry of the table that the server works by.
type verb struct {
	method, path string
	audience     audience
	limit        time.Duration // how long the backend may take
	serve        func(s *Server, w http.ResponseWriter, r *http.Request) error
}

var verbs = []verb{
	{http.MethodGet, "version", members, 5 * time.Second, (*Server).getVersion},
	{http.MethodGet, "status", members, 15 * time.Second, (*Server).getStatus},
	{http.MethodGet, "list", members, time.Minute, (*Server).getList},
	{http.MethodGet, "layout", members, longest, (*Server).getLayout},
	{http.MethodGet, "flow", members, time.Minute, (*Server).getFlow},
	{http.MethodPost, "create", members, time.Minute, answer(SchemaVolume, createVolume)},
	{http.MethodPost, "rm", members, longest, answer(SchemaDone, removeVolume)},
	{http.MethodPost, "snapshot", members, time.Minute, answer(SchemaList, snapshotVolumes)},
	{http.MethodPost, "clone", members, time.Minute, answer(SchemaClone, cloneSnapshot)},
	{http.MethodPost, "diff", members, time.Minute, (*Server).getDiff},
	{http.MethodPost, "rollback", members, longest, answer(SchemaVolume, rollbackVolume)},
	{http.MethodPost, "rename", members, time.Minute, answer(SchemaVolume, renameVolume)},
	{http.MethodPost, "resize", members, time.Minute, answer(SchemaVolume, resizeVolume)},
	{http.MethodPost, "attach", members, time.Minute, answer(SchemaVolume, attachVolume)},
	{http.MethodPost, "detach", members, time.Minute, answer(SchemaVolume, detachVolume)},
	{http.MethodPost, "grow", owners, longest, answer(SchemaGrow, growPool)},
	{http.MethodGet, "scrub", members, 15 * time.Second, (*Server).getScrub},
	{http.MethodPost, "scrub-start", members, time.Minute, answer(SchemaScrub, startScrub)},
	{http.MethodPost, "scrub-stop", members, time.Minute, answer(SchemaScrub, stopScrub)},
	{http.MethodPost, "checkpoint", members, longest, answer(SchemaDone, checkpoint)},
	{http.MethodPost, "shutdown", owners, longest, answer(SchemaDone, shutdown)},
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.mux = mux
	for _, v := range verbs {
		mux.HandleFunc("/v1/"+v.path, func(w http.ResponseWriter, r *http.Request) {
			s.handle(v, w, r)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusNotFound, badRequest(
			fmt.Sprintf("request: no verb %q here", clip(r.URL.Path)), nil).Document())
	})
	return mux
}

// handle does what all verbs have in common: who may, with which method, for how long.
func (s *Server) handle(v verb, w http.ResponseWriter, r *http.Request) {
	peer, known := PeerOf(r.Context())
	if err := admit(peer, known, v.audience, s.group); err != nil {
		s.log.Warn("control request refused", "verb", v.path, "uid", peer.UID, "pid", peer.PID)
		writeError(w, err)
		return
	}
	if r.Method != v.method {
		w.Header().Set("Allow", v.method)
		writeJSON(w, http.StatusMethodNotAllowed, badRequest(
			fmt.Sprintf("request: %s takes %s", v.path, v.method), nil).Document())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), v.limit)
	defer cancel()
	if err := http.NewResponseController(w).SetWriteDeadline(
		time.Now().Add(v.limit + writeTime)); err != nil {
		s.log.Warn("control connection without deadline", "err", err)
	}
	if err := v.serve(s, w, r.WithContext(ctx)); err != nil {
		writeError(w, err)
	}
}

// note logs a request that changes something, with who sent it.
func (s *Server) note(r *http.Request, subject string, err error) {
	peer, _ := PeerOf(r.Context())
	attrs := []any{"path", r.URL.Path, "uid", peer.UID, "pid", peer.PID}
	if subject != "" {
		attrs = append(attrs, "volume", subject)
	}
	if err != nil {
		s.log.Warn("control request failed", append(attrs, "err", err)...)
		return
	}
	s.log.Info("control request", attrs...)
}

func (s *Server) getVersion(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, VersionInfo{
		Schema: SchemaVersion, Version: s.version, Go: runtime.Version(), Daemon: s.version,
		PID: os.Getpid(),
	})
	return nil
}

func (s *Server) getStatus(w http.ResponseWriter, r *http.Request) error {
	st, err := s.backend.Status(r.Context())
	if err != nil {
		return err
	}
	st.Schema = SchemaStatus
	// Lists that are empty are lists.
	st.Warnings = append([]Warning{}, st.Warnings...)
	st.Devices = append([]DeviceStatus{}, st.Devices...)
	st.Regions = append([]Region{}, st.Regions...)
	st.Scrub.Found = append([]ScrubFound{}, st.Scrub.Found...)
	writeJSON(w, http.StatusOK, st)
	return nil
}
