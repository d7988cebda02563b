package faultdisk

import (
	"errors"
	"fmt"
)

var (
	// ErrMemory is in the error that Server.Err, Cut and Off return after a request was refused
	// because the disks' contents and caches had reached Config.MemoryLimit.
	ErrMemory = errors.New("memory limit reached")

	// ErrNoDisk is returned when a call names a disk that the server does not have.
	ErrNoDisk = errors.New("no such disk")

	// ErrClosed is returned by calls on a server after its Close.
	ErrClosed = errors.New("server is closed")

	// ErrOff is returned by Attach between Off and On.
	ErrOff = errors.New("power is off")

	// ErrProtocol is in the error that ends a connection whose client broke the protocol.
	ErrProtocol = errors.New("protocol error")

	errCut = errors.New("connection was cut")
)

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}
