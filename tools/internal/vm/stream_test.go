package vm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const testToken = "\x1eunblend-vm-0123"

// TestStreamSplits feeds one conversation in pieces of every size: what comes out is the same.
func TestStreamSplits(t *testing.T) {
	text := testToken + " start 6.12.1\none\x1etwo\n\x1eunblend\nno newline" +
		testToken + " exit 42\nlate"
	for size := 1; size <= len(text); size++ {
		var out strings.Builder
		var marks []string
		s := &stream{
			token: testToken, out: &out,
			started: func(r string) { marks = append(marks, "start "+r) },
			exited:  func(n int) { marks = append(marks, fmt.Sprint("exit ", n)) },
		}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if _, err := s.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if got, want := out.String(), "one\x1etwo\n\x1eunblend\nno newlinelate"; got != want {
			t.Errorf("pieces of %d: output %q, want %q", size, got, want)
		}
		if got, want := strings.Join(marks, ","), "start 6.12.1,exit 42"; got != want {
			t.Errorf("pieces of %d: marks %q, want %q", size, got, want)
		}
	}
}

// TestStreamHoldsNothingBack shows that a finished line is passed on at once: tests act on lines.
func TestStreamHoldsNothingBack(t *testing.T) {
	var out strings.Builder
	s := &stream{token: testToken, out: &out}
	if _, err := s.Write([]byte("ready\n")); err != nil {
		t.Fatal(err)
	}
	if out.String() != "ready\n" {
		t.Errorf("passed on %q", out.String())
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestStreamReportsOutputError(t *testing.T) {
	s := &stream{token: testToken, out: brokenWriter{}}
	if _, err := s.Write([]byte("text")); !errors.Is(err, errBroken) {
		t.Errorf("error %v, want %v", err, errBroken)
	}
}
