// Package vmtest holds the tests of the whole program on real kernels. They boot one of Debian's
// kernels in a virtual machine and run themselves in it, as root, with the ublk driver: a test
// function is called on the host, where it starts the machine, and again in the machine, where it
// does the work.
//
//	UNBLEND_VM=1 go test ./tools/internal/vmtest -v -run Kill
//
// The environment decides what runs, and how long:
//
//	UNBLEND_VM=1           boot machines; without it every test is skipped
//	UNBLEND_VM_KERNEL=7.3  the kernel, as vm.Config has it; default 6.12
//	UNBLEND_NO_SKIP=1      what cannot run here fails
//	UNBLEND_SECONDS=120    length of the fio runs
//	UNBLEND_KILLS=30       how often the daemon is killed in one run
//	UNBLEND_CUTS=20        power cuts
//	UNBLEND_MACHINE_CUTS=5 power cuts of a whole machine; default a seventh of the others
//	UNBLEND_MINUTES=30     length of TestMixed; it does not run without
//	UNBLEND_STATES=1000    moments of its record at which TestLogWrites opens the pool
//	UNBLEND_CLONES=10000   clones that TestClones makes; it does not run without
//	UNBLEND_LOG_MIB=1024   size of its log; default 4096, which takes a quarter of an hour
//	UNBLEND_SNAPSHOTS=500  snapshots that TestDepth takes; it does not run without
//	UNBLEND_FULL_MIB=128   size of the pool that TestFull fills; it does not run without
//	UNBLEND_WRITERS=16     writers of TestTrace's last round, beyond those of one and four
//	UNBLEND_PICTURE=FILE   where TestTracePicture leaves its picture; it does not run without
//	UNBLEND_COUNTED=1      machines whose clock counts instructions, for a host that is busy
//	UNBLEND_SHARDS=N       have N threads serve, where a test does not say
//	UNBLEND_RECORD=FILE    append the figures of campaigns to this file
package vmtest
