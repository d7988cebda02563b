package main

import (
	"strings"
	"testing"
)

// Figures of a kind add up by kernel, peaks stay peaks, and the latest commit is the one that counts.
func TestTable(t *testing.T) {
	const lines = `{"kind":"cuts","kernel":"6.12.1+deb","commit":"bbb","time":"2026-02-01T00:00:00Z",
"cuts":1200,"longest_s":2.5,"failed":true}

{"kind":"cuts","kernel":"6.12.9","commit":"aaa","time":"2026-01-01T00:00:00Z",
"cuts":30,"longest_s":7.5,"failed":false}
{"kind":"seeds","commit":"ccc+","from":50,"seeds":50}
`
	sums, err := add(strings.NewReader(strings.ReplaceAll(lines, ",\n", ",")))
	if err != nil {
		t.Fatal(err)
	}
	got := table(sums, func(commit string) string { return "since " + commit })
	want := `| campaign | runs | last | engine commits since | in all |
|---|---|---|---|---|
| cuts, Linux 6.12 | 2 | 2026-02-01, bbb | since bbb | cuts 1,230; failures 1; most longest 7.5 s |
| seeds | 1 | , ccc+ | since ccc+ | seeds 50 |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, bad := range []string{"{", `{"seeds":1}`} {
		if _, err := add(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// The table goes between the marks of the page, and a page without is refused.
func TestBetween(t *testing.T) {
	got, err := between("a\n"+begin+"old\n"+end+"b\n", "new\n")
	if want := "a\n" + begin + "\nnew\n\n" + end + "b\n"; got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if _, err := between("a\n", "new\n"); err == nil {
		t.Error("a page without marks was taken")
	}
}
