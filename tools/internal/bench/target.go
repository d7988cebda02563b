package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// target is one side of a cell. What it makes, close takes away.
type target interface {
	// setup makes what lasts for the whole cell.
	setup() error
	// ready brings about the state in which a run begins.
	ready() ([]Disk, error)
	close() error
}

// newRival returns the contender's side of a cell.
func newRival(b *bed, c Cell) target {
	switch {
	case c.Contender == "raw":
		return newRaw(b, c)
	case c.Contender == "loop":
		return newLoop(b, c)
	case c.Contender == "null":
		return newNull(b, c)
	case strings.HasPrefix(c.Contender, "thin"):
		return newThin(b, c)
	}
	return newQcow(b, c)
}

// ranges are parts of one device, or devices on them, for as many volumes.
type ranges struct {
	b     *bed
	cell  Cell
	disks []Disk
}

// raw is the device itself.
type raw struct{ ranges }

func newRaw(b *bed, c Cell) target { return &raw{ranges{b: b, cell: c}} }

func (r *raw) setup() error {
	size := r.b.volumeSize(r.cell)
	for i := range r.cell.Volumes {
		r.disks = append(r.disks, Disk{r.b.part(partRival), int64(i) * size, size})
	}
	return Fill(r.b.ctx, r.disks)
}

func (r *raw) ready() ([]Disk, error) { return r.disks, nil }
func (r *raw) close() error           { return nil }

// loop is the kernel's loop device with direct I/O on the device, one for each volume.
type loop struct{ ranges }

func newLoop(b *bed, c Cell) target { return &loop{ranges{b: b, cell: c}} }

func (l *loop) setup() error {
	size := l.b.volumeSize(l.cell)
	for i := range l.cell.Volumes {
		path, err := Sh(l.b.ctx, "losetup --direct-io=on --show -f -o %d --sizelimit %d %s", int64(i)*size, size,
			l.b.part(partRival))
		if err != nil {
			return err
		}
		l.disks = append(l.disks, Disk{Path: path})
	}
	return Fill(l.b.ctx, l.disks)
}

func (l *loop) ready() ([]Disk, error) { return l.disks, nil }

func (l *loop) close() error {
	var errs []error
	for _, d := range l.disks {
		errs = append(errs, l.b.settle("losetup -d %s", d.Path))
	}
	return errors.Join(errs...)
}

// null is a ublk server that takes the bytes of writes and forgets them: a program of its own.
type null struct {
	b    *bed
	cell Cell
	cmd  *exec.Cmd
	stop io.Closer
	path string
}

func newNull(b *bed, c Cell) target { return &null{b: b, cell: c} }

// NullArg makes this program a null server; the device's size in bytes follows.
const NullArg = "null-server"

func (n *null) setup() error {
	cmd := exec.Command(n.b.self, NullArg, fmt.Sprint(n.b.volumeSize(n.cell)))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if n.stop, err = cmd.StdinPipe(); err != nil {
		return err
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("null server: %w", err)
	}
	n.cmd = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("null server: %w: %s", err, complaint.String())
	}
	n.path = strings.TrimSpace(line)
	return nil
}

func (n *null) ready() ([]Disk, error) { return Paths(n.path), nil }

func (n *null) close() error {
	if n.cmd == nil {
		return nil
	}
	return errors.Join(n.stop.Close(), n.cmd.Wait())
}
