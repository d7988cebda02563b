package main

import (
	"context"

	"unblend/log"
	"unblend/placement"
)

// interruptible is a disk that fails once the user has broken the call off: init and check are
// plain code that may take minutes, and end at the next operation then.
type interruptible struct {
	log.Disk
	ctx context.Context
}

// interruptibly wraps the disks of a pool. One that stands in both places does so afterwards.
func interruptibly(ctx context.Context, d placement.Disks) placement.Disks {
	one := d[log.Fast] == d[log.Capacity]
	for i := range d {
		if d[i] != nil {
			d[i] = &interruptible{d[i], ctx}
		}
	}
	if one {
		d[log.Capacity] = d[log.Fast]
	}
	return d
}

func (d *interruptible) ReadAt(p []byte, off int64) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	return d.Disk.ReadAt(p, off)
}

func (d *interruptible) WriteAt(p []byte, off int64) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	return d.Disk.WriteAt(p, off)
}

func (d *interruptible) Flush() error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	return d.Disk.Flush()
}
