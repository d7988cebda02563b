// Package shard is the loop that joins the queues of ublk devices, one io_uring and the engine: one
// OS thread that takes the guests' requests, hands them to the pool, performs the pool's device
// operations and answers the guests. Nothing on that path allocates, locks, or passes through a
// channel.
//
// One turn of the loop:
//
//	wait ----> completions of the ring: requests, device operations, a wake-up
//	           requests that waited for memory
//	           the pool's background work, the log records of what arrived
//	           answers and device operations go into the submission queue
//	submit and wait, in one system call
//
// # Memory
//
// Requests of all devices share what memory there is (see class). Reads have a part of their own,
// so that writes which wait for room in the pool never keep a read waiting; and in each part a
// device may hold only as much as is still free, so that no volume takes what the others need.
//
// # Errors
//
// A request whose bytes cannot be copied ends with EIO. A tag that the kernel takes away with an
// error is reported to Config.Fault, and the device goes on with the others. Only an error of the
// ring itself ends the loop, and then the process has to end: its thread must not leave the
// devices it serves, and the kernel keeps those for the next daemon.
//
// # Other threads
//
// Whatever else has to happen on the thread (attaching a device, asking for the pool's state) is
// sent to it as a function, by Do.
package shard
