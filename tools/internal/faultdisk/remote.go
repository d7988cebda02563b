package faultdisk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Remote controls a Server in another process through its control socket. Its methods are those of
// Server. It is not safe for concurrent use.
type Remote struct {
	nc    net.Conn
	lines *bufio.Scanner
}

// Dial connects to a control socket.
func Dial(path string) (*Remote, error) {
	nc, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	r := &Remote{nc: nc, lines: bufio.NewScanner(nc)}
	r.lines.Buffer(nil, lineMax)
	return r, nil
}

// Do sends one line of the control protocol and returns the line that answers it.
func (r *Remote) Do(line []byte) ([]byte, error) {
	if _, err := r.nc.Write(append(line[:len(line):len(line)], '\n')); err != nil {
		return nil, err
	}
	if !r.lines.Scan() {
		err := errors.Join(r.lines.Err(), net.ErrClosed)
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return r.lines.Bytes(), nil
}

func (r *Remote) do(c command) (answer, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return answer{}, err
	}
	if line, err = r.Do(line); err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return answer{}, fmt.Errorf("answer: %w", err)
	}
	if !a.OK {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Cut is Server.Cut.
func (r *Remote) Cut(seed uint64, mode Mode) (CutReport, error) {
	return r.cut(command{Verb: "cut", Seed: seed, Mode: mode})
}

// Off is Server.Off.
func (r *Remote) Off(seed uint64, mode Mode) (CutReport, error) {
	return r.cut(command{Verb: "off", Seed: seed, Mode: mode})
}

func (r *Remote) cut(c command) (CutReport, error) {
	a, err := r.do(c)
	if a.Cut == nil {
		a.Cut = new(CutReport)
	}
	return *a.Cut, err
}

// On is Server.On.
func (r *Remote) On() error {
	_, err := r.do(command{Verb: "on"})
	return err
}

// Stats is Server.Stats.
func (r *Remote) Stats() (Stats, error) {
	a, err := r.do(command{Verb: "stats"})
	if a.Stats == nil {
		a.Stats = new(Stats)
	}
	return *a.Stats, err
}

// Fail is Server.Fail.
func (r *Remote) Fail(f Fault) error {
	_, err := r.do(command{Verb: "fail", Fault: &f})
	return err
}

// Delay is Server.Delay.
func (r *Remote) Delay(disk string, op Op, d time.Duration) error {
	_, err := r.do(command{Verb: "delay", Disk: disk, Op: op, Delay: d.String()})
	return err
}

// Heal is Server.Heal.
func (r *Remote) Heal() error {
	_, err := r.do(command{Verb: "heal"})
	return err
}

// Attach is Server.Attach, by the other process.
func (r *Remote) Attach(disk, device string) error {
	_, err := r.do(command{Verb: "attach", Disk: disk, Device: device})
	return err
}

// Detach is Server.Detach.
func (r *Remote) Detach(device string) error {
	_, err := r.do(command{Verb: "detach", Device: device})
	return err
}

// Close ends the connection; the server goes on.
func (r *Remote) Close() error { return r.nc.Close() }
