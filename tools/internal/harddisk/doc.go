// Package harddisk is a hard disk that nobody has to own: the model of package simdisk, a drive of 24 TB and
// 7200 rpm, as a block device whose requests take as long as that drive would. The simulation has the
// model's clock jump from event to event; here it is the kernel's monotonic clock, so what runs on the
// device, programs and kernel included, meets seeks, rotation, zones and the drive's own order of requests.
//
// The device is a ublk target of its own process (command harddiskd). It keeps what is written in memory:
// nothing for what was never written, 64 bytes and some 120 of administration for a block that repeats
// its first 64 bytes, else 4 KiB and as much. Sectors have 4096 bytes, as on a drive that is formatted so.
// Nothing is discarded.
//
// A request ends when the model says, or later: a host that is too slow for the drive's 298 MB/s, or that
// does something else just then, makes the disk slower. What is queued meanwhile is not delayed by that: each
// operation of a busy drive begins where the one before it ended on the model's clock. In a virtual machine
// whose clock counts instructions (vm.Config.Counted) the host's load does not matter, and waiting costs
// nothing.
package harddisk
