package faultdisk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// lineMax bounds one line of the control protocol, in bytes.
const lineMax = 64 << 10

// command is one line to the control socket: a JSON object with a verb and what the verb needs.
//
//	{"verb":"cut","seed":7,"mode":"random"}      as Server.Cut; "off" as Server.Off
//	{"verb":"on"}                                as Server.On
//	{"verb":"stats"}                             as Server.Stats
//	{"verb":"fail","fault":{"disk":"d0","op":"write","nth":3}}
//	{"verb":"delay","disk":"d0","op":"write","delay":"5ms"}
//	{"verb":"heal"}                              as Server.Heal
//	{"verb":"attach","disk":"d0","device":"/dev/nbd0"}
//	{"verb":"detach","device":"/dev/nbd0"}
type command struct {
	Verb  string `json:"verb"`
	Seed  uint64 `json:"seed,omitempty"`
	Mode  Mode   `json:"mode,omitempty"`
	Fault *Fault `json:"fault,omitempty"`
	Disk  string `json:"disk,omitempty"`
	Op    Op     `json:"op,omitempty"`
	Delay string `json:"delay,omitempty"` // as time.ParseDuration takes it

	Device string `json:"device,omitempty"`
}

// answer is the one line that answers a command.
type answer struct {
	OK    bool       `json:"ok"`
	Error string     `json:"error,omitempty"`
	Cut   *CutReport `json:"cut,omitempty"`
	Stats *Stats     `json:"stats,omitempty"`
}

// ListenControl serves the control protocol on a unix socket.
func (s *Server) ListenControl(path string) error {
	l, err := s.listen("unix", path)
	if err != nil {
		return err
	}
	s.wg.Go(func() { s.acceptControl(l) })
	return nil
}

// acceptControl serves control connections until the listener is closed, and ends them then.
func (s *Server) acceptControl(l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	defer close(done)
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		ended := make(chan struct{})
		wg.Go(func() {
			defer close(ended)
			s.serveControl(nc)
		})
		wg.Go(func() {
			select {
			case <-done:
			case <-ended:
			}
			nc.Close()
		})
	}
}

func (s *Server) serveControl(nc net.Conn) {
	lines := bufio.NewScanner(nc)
	lines.Buffer(nil, lineMax)
	out := json.NewEncoder(nc)
	for lines.Scan() {
		a, err := s.command(lines.Bytes())
		a.OK = err == nil
		if err != nil {
			a.Error = err.Error()
		}
		if out.Encode(a) != nil {
			return // the client is gone
		}
	}
}

// command performs one line.
func (s *Server) command(line []byte) (answer, error) {
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		return answer{}, fmt.Errorf("command: %w", err)
	}
	switch c.Verb {
	case "cut", "off":
		rep, err := s.cut(c.Seed, c.Mode, c.Verb == "off")
		return answer{Cut: &rep}, err
	case "on":
		s.On()
		return answer{}, nil
	case "stats":
		st := s.Stats()
		return answer{Stats: &st}, nil
	case "fail":
		if c.Fault == nil {
			return answer{}, errors.New("fail: no fault")
		}
		return answer{}, s.Fail(*c.Fault)
	case "delay":
		d, err := time.ParseDuration(c.Delay)
		if err != nil {
			return answer{}, fmt.Errorf("delay: %w", err)
		}
		return answer{}, s.Delay(c.Disk, c.Op, d)
	case "heal":
		s.Heal()
		return answer{}, nil
	case "attach":
		return answer{}, s.Attach(c.Disk, c.Device)
	case "detach":
		return answer{}, s.Detach(c.Device)
	}
	return answer{}, fmt.Errorf("unknown verb %q", c.Verb)
}
