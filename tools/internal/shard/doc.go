// Package shard has the threads that join the queues of ublk devices and the engine. Each is a loop on an
// OS thread of its own, with an io_uring, the devices that it serves and a lane of the log: it takes these
// guests' requests, hands them to the pool, performs device operations for the pool and answers the
// guests. Nothing on that path allocates or passes through a channel.
//
// One turn of a loop:
//
//	wait ----> completions of the ring: requests, device operations, a wake-up
//	           requests that waited for memory; what guests write is copied in
//	           with the pool: outcomes and requests go in; background work; records of
//	              the shard's own lane are formed; what is done, and is to be done, comes out
//	           what guests read is copied out; answers and device operations go into
//	              the submission queue
//	submit and wait, in one system call
//
// # One pool, several threads
//
// The engine is driven by one thread at a time, under a lock that is held for the middle part of a turn. A
// device operation is performed, and its end brought to the pool, by the thread that took it out, so the
// write of a volume goes through its own shard alone. What ends in another one's turn, such as a read
// that waited for a page, is put into its shard's box. A thread sleeps until something of its own ends, or
// another has woken it: because of the box, or because its lane has something to do and nothing under way
// (placement.Pool.RunShard). Functions that other goroutines send are run by the first shard if they need
// the pool (Shards.Do), and otherwise by the shard whose device it is about.
//
// # Memory
//
// Requests of all devices of a shard share what memory it has (see class). Reads have a part of their
// own, so that writes which wait for room in the pool never keep a read waiting; and in each part a
// device may hold only as much as is still free, so that no volume takes what the others need.
//
// # Errors
//
// A request whose bytes cannot be copied ends with EIO. A tag that the kernel takes away with an
// error is reported to Config.Fault, and the device goes on with the others. Only an error of the
// ring itself ends the loops, and then the process has to end: a thread must not leave the devices
// that it serves, and the kernel keeps those for the next daemon.
package shard
