package harddisk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Disk is a disk that another process serves.
type Disk struct {
	Path string // of the device

	cmd  *exec.Cmd
	stop io.Closer
}

// Start starts a program that is harddiskd and returns when the device is there.
func Start(program string, cfg Config) (*Disk, error) {
	d := &Disk{cmd: exec.Command(program, fmt.Sprintf("--size=%d", cfg.Size),
		fmt.Sprintf("--volatile=%t", cfg.Volatile))}
	var complaint strings.Builder
	d.cmd.Stderr = &complaint
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		d.stop, err = d.cmd.StdinPipe()
	}
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("hard disk: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("hard disk: %w: %s", errors.Join(err, d.Stop()), complaint.String())
	}
	d.Path = strings.TrimSpace(line)
	return d, nil
}

// Stop removes the device, which nobody may have open, and forgets what was written.
func (d *Disk) Stop() error { return errors.Join(d.stop.Close(), d.cmd.Wait()) }
