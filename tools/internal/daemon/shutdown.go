package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"unblend/placement"
)

// checkpointTime is how long the last checkpoint may take. The next start replays what it missed.
const checkpointTime = 60 * time.Second

// shutdown ends the service in order: devices that nobody has open go, those that guests hold stay
// for the next daemon, and what is known goes into a checkpoint.
func (d *daemon) shutdown() error {
	d.notify.status("stopping")
	held := d.takeAllDown()
	err := d.lastCheckpoint(held)
	if len(held) > 0 {
		d.log.Warn("volumes stay for the next daemon: guests hold them and wait", "volumes", held)
	}
	err = errors.Join(err, d.shards.Stop())
	d.mu.Lock()
	ctl := d.ublk
	d.mu.Unlock()
	if ctl != nil {
		err = errors.Join(err, ctl.Close())
	}
	if len(held) == 0 {
		err = errors.Join(err, d.backing.Close())
	}
	d.log.Info("stopped", "served for", time.Since(d.started).Round(time.Second), "err", err)
	return err
}

// takeAllDown removes the devices that nobody has open and returns the names of the other volumes.
// The catalogue keeps them attached: the next daemon gives them a device again.
func (d *daemon) takeAllDown() (held []string) {
	var mu sync.Mutex
	atOnce(d.servedVolumes(), func(s *served) {
		if err := d.takeDown(s, false, "detach"); err != nil {
			d.log.Info("device stays", "err", err)
			mu.Lock()
			held = append(held, s.name)
			mu.Unlock()
		}
	})
	return held
}

// lastCheckpoint makes the next start short.
func (d *daemon) lastCheckpoint(held []string) error {
	if st, err := d.shards.Status(); err != nil || st.ReadOnly != nil {
		return err
	}
	c := &placement.Control{Op: placement.Shutdown}
	if len(held) > 0 {
		c.Op = placement.Checkpoint // guests go on writing
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkpointTime)
	defer cancel()
	if err := d.shards.Control(ctx, c); err != nil {
		return fmt.Errorf("last checkpoint: %w", err)
	}
	return nil
}
