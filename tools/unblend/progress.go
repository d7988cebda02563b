package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progressEvery is how often a line of progress is drawn anew.
const progressEvery = 200 * time.Millisecond

// progress draws one line on standard error, if that is a terminal and people are watching.
type progress struct {
	w     io.Writer // nil: nobody watches
	what  string
	last  time.Time
	drawn bool
}

func newProgress(in *invocation, what string) *progress {
	p := &progress{what: what}
	if f, ok := in.err.(*os.File); ok && !in.common.json && isTerminal(f) {
		p.w = f
	}
	return p
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// show draws how far it is.
func (p *progress) show(done, total int64) {
	if p.w == nil || total <= 0 || time.Since(p.last) < progressEvery {
		return
	}
	p.last, p.drawn = time.Now(), true
	fmt.Fprintf(p.w, "\r%s: %d %%", p.what, done*100/total)
}

// end clears the line.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
