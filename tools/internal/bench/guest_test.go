package bench

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestLines: outcomes are sorted out of what a machine writes, however it is cut.
func TestLines(t *testing.T) {
	o, err := json.Marshal(measured(three[0]))
	if err != nil {
		t.Fatal(err)
	}
	text := "bench: writing\n" + string(o) + "\nall is well\n{}\n"
	for _, step := range []int{1, 7, len(text)} {
		var said strings.Builder
		var got []Outcome
		l := &lines{say: &said, each: func(o Outcome) error {
			got = append(got, o)
			return nil
		}}
		for at := 0; at < len(text); at += step {
			if _, err := l.Write([]byte(text[at:min(at+step, len(text))])); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) != 1 || got[0].Cell != three[0] || len(got[0].Runs) != 4 {
			t.Errorf("%+v", got)
		}
		if want := "bench: writing\nbench: all is well\nbench: {}\n"; said.String() != want {
			t.Errorf("said %q, want %q", said.String(), want)
		}
	}
}
