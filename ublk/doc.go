// Package ublk makes block devices, /dev/ublkbN, whose requests this process answers: the kernel
// driver ublk_drv (Linux 6.0 and later) hands them over through io_uring. The package is about the
// protocol; what a device holds is the business of a Target, or of a loop that owns queues.
//
// # Parts
//
//   - Control sends the control commands: features, add, parameters, start, stop, delete,
//     recovery. It has a thread and a ring of its own; any goroutine may use it.
//   - Queue speaks the I/O protocol of one device's queue on the ring of whoever drives it. One
//     ring serves many queues.
//   - Pool is the memory that requests in flight share.
//   - Serve runs one simple Target on a thread of its own; Null and File are such targets.
//   - The process functions set what every block server must set.
//
// # One data path
//
// Every device uses UBLK_F_USER_COPY (6.5): the server copies a write's bytes out of the request,
// and a read's bytes into it, with pread and pwrite on /dev/ublkcN. So memory is needed for
// requests under way only, not for every tag of every device at the largest size.
//
// # Threads
//
// The thread that fetched a queue's tags must commit them, and must not exit while the device
// lives: its requests would hang for ever. START_DEV and END_USER_RECOVERY wait until all tags
// were fetched, and on 6.12 START_DEV reads the partition table, so they are sent by another
// goroutine while the queue is being served. Only then is the device there.
//
// # End of a device
//
// STOP_DEV lets requests under way end, fails later ones, removes the disk, and then every tag
// that waits for a request completes with -ENODEV (UBLK_IO_RES_ABORT): Queue.Drained turns true,
// and Queue.Close may be called. Since 7.3 a stopped device accepts no fetch until /dev/ublkcN was
// closed. DEL_DEV waits until nobody has /dev/ublkcN or /dev/ublkbN open.
//
// # Death and recovery
//
// Devices are added with UBLK_F_USER_RECOVERY and UBLK_F_USER_RECOVERY_REISSUE. When the process
// dies the kernel puts the device in state Quiesced, keeps its disk, queues new requests and
// requeues those that were handed out: they come again, so answering a request must be idempotent.
// The next server does StartRecovery, opens the device, fetches, EndRecovery.
//
// A server may die during a recovery too, at any moment: see Queue.Fetch. One that dies before
// Start leaves a device in state Dead, which is deleted and added again.
package ublk
