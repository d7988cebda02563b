package device

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Report is what can be said of a device or file without claiming it.
type Report struct {
	Info  Info
	Users []string    // who uses it, such as "mounted on /srv"
	Holds []Signature // what it holds
}

// Inspect looks at what is at path and changes nothing. Errors are those of Stat, and of reading.
func Inspect(path string) (Report, error) {
	info, x, err := machine.stat(path)
	if err != nil {
		return Report{}, err
	}
	r := Report{Info: info, Users: machine.usage(x)}
	fd, err := openRetry(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err != nil {
		return r, pathError(path, err)
	}
	d := &Device{info: info, fd: fd}
	size, err := deviceSize(fd)
	if err == nil {
		d.setSize(size)
		r.Info.Size = size
		r.Holds, err = d.contents()
	}
	return r, errors.Join(err, d.Close())
}
