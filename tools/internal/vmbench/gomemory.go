package vmbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"unblend/tools/internal/operate"
)

// goMemory is what Go's runtime of a daemon that serves with --pprof says of its memory.
type goMemory struct {
	allocations uint64
	collections uint64
	stops       []uint64 // of the last collections, in ns: that of number n is at n-1 modulo the length
}

// memoryOf asks a daemon.
func memoryOf(ctx context.Context, p operate.Program) (m goMemory, err error) {
	c := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", p.Socket())
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://unblend/debug/pprof/heap?debug=1", nil)
	if err != nil {
		return m, err
	}
	answer, err := c.Do(req)
	if err != nil {
		return m, err
	}
	text, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("a heap profile: %s: %s", answer.Status, text)
	}
	if err != nil {
		return m, err
	}
	return parseMemory(string(text))
}

// parseMemory reads the figures at the end of a heap profile in text.
func parseMemory(text string) (m goMemory, err error) {
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		switch name {
		case "# Mallocs":
			_, err = fmt.Sscan(value, &m.allocations)
		case "# NumGC":
			_, err = fmt.Sscan(value, &m.collections)
		case "# PauseNs":
			m.stops, err = parseStops(value)
		default:
			continue
		}
		if err != nil {
			return m, fmt.Errorf("%s: %w", name, err)
		}
		found++
	}
	if found != 3 {
		return m, errors.New("a heap profile without the runtime's figures")
	}
	return m, nil
}

// parseStops reads a list of numbers in brackets.
func parseStops(s string) ([]uint64, error) {
	var list []uint64
	for _, word := range strings.Fields(strings.Trim(s, "[]")) {
		var n uint64
		if _, err := fmt.Sscan(word, &n); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return nil, errors.New("an empty list")
	}
	return list, nil
}

// longestSince returns the longest stop of the collections since before, in ns, of those that the runtime
// still knows.
func (m goMemory) longestSince(before goMemory) int64 {
	longest := uint64(0)
	size := uint64(len(m.stops))
	for n := max(before.collections, m.collections-min(m.collections, size)); n < m.collections; n++ {
		longest = max(longest, m.stops[n%size])
	}
	return int64(longest)
}
