package bench

import (
	"errors"
	"fmt"
	"io"
	"os"

	"unblend/ublk"
)

// ServeNull is a program: it serves a null device of some bytes that fetches the bytes of writes as a
// real server must, prints its path, and ends when its input does.
func ServeNull(size int64) error {
	c, err := ublk.OpenControl()
	if err != nil {
		return err
	}
	n, err := ublk.NewNull(size)
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
