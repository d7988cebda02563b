// Package faultdisk is a disk that loses power: an NBD server whose exports behave like drives with
// a volatile write cache, and which can be cut off at one instant. Crash tests put a pool on it,
// cut it, and look at what a real drive could have kept.
//
// # Fault model
//
// Every disk has a base (what is durable) and a cache: for every sector the list of versions
// written since the last durable one. A sector, 512 or 4096 bytes, is the unit that is never torn.
//
//   - A write is in flight from its arrival to its reply, and in the cache from then on. Reads
//     return the newest completed version.
//   - FLUSH makes durable what that disk had completed when the FLUSH arrived, and nothing else: a
//     write still in flight is not covered, nor is any other disk.
//   - A FUA write is durable when it completes. It covers its own sectors and no others.
//   - TRIM and WRITE_ZEROES write zeros, as volatile as any write.
//   - A cut drops every connection and gives each sector its durable version or any later one,
//     writes in flight included, as Mode and seed decide. A sector never goes back behind what was
//     durable.
//   - A write in flight whose client goes away without a cut still lands when its delay is over.
//   - An injected write error stores nothing, or (Fault.Torn) some of the sectors. An injected
//     flush error leaves the cache as it was, or (Fault.Lose) breaks it: reads still return what
//     was in the cache, but no later FLUSH makes it durable, though it reports success.
//
// All disks of a Server are under one lock, so a cut of two disks is one instant: if a write to one
// was acknowledged before a write to the other was sent, no cut shows the second as durable but the
// first as never received. The same seed and the same version lists give the same result.
//
// DiskConfig.Lying makes a disk that acknowledges FLUSH and FUA and does neither, so that a test
// can show that it would notice.
//
// # Ways to connect
//
// What reaches the server of FLUSH and FUA depends on the way, by the server's own counters (Linux
// 7.3.4, QEMU 7.2.22; io_uring writes with RWF_DSYNC, and fsync):
//
//	client                                         DSYNC write        fsync
//	kernel nbd in the guest (Attach, nbd-client)   FUA                FLUSH
//	QEMU virtio-blk, cache=none or writeback       write, FLUSH       FLUSH
//	QEMU scsi-hd dpofua=on, none or writeback      write, FLUSH       FLUSH
//	QEMU nvme, cache=none or writeback             write: LOST FUA    FLUSH
//	QEMU any, cache=writethrough or directsync     every write FUA    nothing, or (nvme) FLUSH
//
// Only the kernel's own client passes both on as they are; a rule about FUA without FLUSH has to be
// tested that way. virtio-blk with cache=none is honest, but each of its FUA writes flushes the
// whole disk, which hides a missing flush. With QEMU's nvme the guest issues FUA and QEMU forwards
// neither FUA nor FLUSH: acknowledged writes are lost in a cut, ten of ten. Writethrough and
// directsync leave nothing volatile to lose. QEMU ignores discards without discard=unmap.
//
// QEMU connects again by itself after a Cut, and its guest goes on with at most a failed request:
// with a virtual machine use Off, kill it, and On.
//
// # Ownership
//
// The mutex of Server guards all disks, the arena, faults and the set of connections. Each
// connection has one goroutine that reads requests and performs those without a delay itself; a
// delayed request has a goroutine of its own, which belongs to the period between two cuts, not to
// the connection. Close waits for all of them.
package faultdisk
