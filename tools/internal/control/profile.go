package control

import (
	"net/http"
	"net/http/pprof"
	"time"
)

// OfferProfiles lets root take profiles of the daemon while it serves, in the way of package
// net/http/pprof. It is called before Serve:
//
//	curl --unix-socket /run/unblend/unblend.sock http://unblend/debug/pprof/profile?seconds=10 >cpu
//	go tool pprof -top /usr/sbin/unblend cpu
func (s *Server) OfferProfiles() {
	for path, serve := range map[string]http.HandlerFunc{
		"": pprof.Index, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		s.mux.HandleFunc("/debug/pprof/"+path, func(w http.ResponseWriter, r *http.Request) {
			peer, known := PeerOf(r.Context())
			if err := admit(peer, known, owners, s.group); err != nil {
				writeError(w, err)
				return
			}
			err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(longest))
			if err != nil {
				s.log.Warn("control connection without deadline", "err", err)
			}
			serve(w, r)
		})
	}
}
