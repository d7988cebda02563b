package harddisk

import (
	"errors"
	"fmt"
	"io"

	"unblend/ublk"
)

// Serve makes a device, writes its path to out, and serves it until the end of in.
func Serve(cfg Config, in io.Reader, out io.Writer) error {
	t, err := newTarget(cfg)
	if err != nil {
		return err
	}
	c, err := ublk.OpenControl()
	if err != nil {
		return err
	}
	s, err := ublk.Serve(c, ublk.ServeConfig{
		Device: ublk.DeviceConfig{ID: ublk.AnyID, Depth: depth}, PoolSize: 32 << 20,
		RawWait: -1, // a request takes milliseconds
	}, t)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	if _, err = fmt.Fprintln(out, s.Path()); err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	return errors.Join(err, s.Stop(), c.Close())
}
