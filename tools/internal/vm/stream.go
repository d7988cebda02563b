package vm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// stream splits what comes out of a guest's port into the command's output and the marks that
// guest/start writes around it: TOKEN, a space, the mark, a newline. The token is random and starts
// with a byte that text does not hold, so nothing but a possible beginning of it is held back.
type stream struct {
	token   string
	out     io.Writer
	started func(release string) // the command starts
	exited  func(status int)     // the command has ended
	held    []byte
}

// Write implements io.Writer. An error is that of out.
func (s *stream) Write(p []byte) (int, error) {
	s.held = append(s.held, p...)
	for {
		i := bytes.Index(s.held, []byte(s.token))
		if i < 0 {
			return len(p), s.emit(len(s.held) - s.partial())
		}
		if err := s.emit(i); err != nil {
			return 0, err
		}
		end := bytes.IndexByte(s.held, '\n')
		if end < 0 {
			return len(p), nil
		}
		s.mark(strings.TrimSpace(string(s.held[len(s.token):end])))
		s.held = append(s.held[:0], s.held[end+1:]...)
	}
}

// emit passes the first n held bytes on.
func (s *stream) emit(n int) error {
	if n == 0 {
		return nil
	}
	_, err := s.out.Write(s.held[:n])
	s.held = append(s.held[:0], s.held[n:]...)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// partial returns how many bytes at the end of what is held may be the beginning of a token.
func (s *stream) partial() int {
	for n := min(len(s.token)-1, len(s.held)); n > 0; n-- {
		if strings.HasPrefix(s.token, string(s.held[len(s.held)-n:])) {
			return n
		}
	}
	return 0
}

func (s *stream) mark(m string) {
	var status int
	if _, err := fmt.Sscanf(m, "exit %d", &status); err == nil {
		s.exited(status)
	} else if release, ok := strings.CutPrefix(m, "start "); ok {
		s.started(release)
	}
}
