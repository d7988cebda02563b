// Package daemon is `unblend serve`: one process that serves one pool to the guests of a host.
//
// # Start
//
// The daemon claims its socket and its directory of links, then the pool's devices: a killed
// daemon's claim lasts until its last writes have landed. Both devices are flushed before anything
// is read, the pool is recovered, the shard's loop runs, and every volume that was attached gets
// its device back, all at once. Then the socket answers and systemd is told.
//
// # Devices
//
// A volume's device number stands in the catalogue before the device is made and after it is gone,
// so there is never a device of ours that the catalogue does not name. A device that outlived its
// daemon is Quiesced and is continued under its number; after a reboot it is made again, under its
// old number where that is free.
//
// # End
//
// SIGTERM and SIGINT end the daemon in order: devices that nobody has open are removed, what is
// known is written down by a checkpoint, and the process ends. Devices that guests hold stay; their
// requests wait for the next daemon. A failure of the ring ends the process at once, which for the
// guests is the same.
//
// # Ownership
//
// The engine and the ring are the shard's thread's. A volume's attachment is changed by whoever
// holds its name in daemon.names; daemon.mu guards the tables.
package daemon
