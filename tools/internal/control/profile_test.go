package control

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// TestProfiles: where profiles are offered there are some, elsewhere there are none.
func TestProfiles(t *testing.T) {
	ask := func(path, name string) (int, []byte) {
		t.Helper()
		c := http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		}}
		defer c.CloseIdleConnections()
		r, err := c.Get("http://unblend/debug/pprof/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, b
	}
	if code, _ := ask(serve(t, newFake(), nil), "heap"); code != http.StatusNotFound {
		t.Errorf("not offered: %d", code)
	}
	path := serve(t, newFake(), (*Server).OfferProfiles)
	for _, name := range []string{"heap", "profile?seconds=1"} {
		code, b := ask(path, name)
		if code != http.StatusOK || !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) { // gzip
			t.Errorf("%s: %d, %d bytes", name, code, len(b))
		}
	}
}
