package vmbench

import (
	"errors"
	"fmt"
	"io"
	"os"

	"unblend/ublk"
)

// nullSize is what the null server pretends to have, in bytes: as much as the others.
const nullSize = diskMiB << 20

// serveNull is a program: it serves a null device that fetches the bytes of writes as a real server
// must, prints its path, and ends when its input does.
func serveNull() error {
	c, err := ublk.OpenControl()
	if err != nil {
		return err
	}
	n, err := ublk.NewNull(nullSize)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	n.Copy = true
	s, err := ublk.Serve(c, ublk.ServeConfig{Device: ublk.DeviceConfig{ID: ublk.AnyID}}, n)
	if err != nil {
		return errors.Join(err, n.Close(), c.Close())
	}
	fmt.Println(s.Path())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Stop(), n.Close(), c.Close())
}
