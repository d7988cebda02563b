// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// What all programs here share: which devices are watched, what the regions of the backing ones are
// for, and the kernel's structures, whose fields are found by name when the programs are loaded
// (CO-RE). Several objects that are loaded together have the two tables in common.

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SECTOR_SHIFT 9
#define MINOR_BITS 20
#define OP_MASK 0xff // REQ_OP_MASK
#define OP_READ 0
#define OP_WRITE 1

#define NO_STREAM ~0u
#define SEARCH 14 // steps of a binary search: halves MAX_REGIONS
#define MAX_DEVICES 4096
#define MAX_STREAMS 64 // user space sets what it needs
#define MAX_REGIONS 16384
#define BUCKETS 64 // of a histogram: bucket n holds 2^n up to, and not including, 2^(n+1)

// Where the kernel hands a device's requests over. The same request may pass both, or one on each of
// two devices that are stacked; a device is watched at one of them.
#define AT_ISSUE 0 // block_rq_issue: devices with request queues
#define AT_QUEUE 1 // block_bio_queue: devices without, such as dm and md

// device says what a device's requests are. Sectors of 512 bytes throughout.
struct device {
	__u64 base; // guest: where the merged disk has it
	__u32 at;
	__u32 stream;  // guest: of the volume; backing: of the device
	__u32 first;   // backing: its first region
	__u32 regions; // backing: how many; 0: this is a guest's device
};

struct region {
	__u64 start;
	__u64 end;
	__u32 stream;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_DEVICES);
	__type(key, __u32);
	__type(value, struct device);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_REGIONS);
	__type(key, __u32);
	__type(value, struct region);
} regions SEC(".maps");

// Every program is attached twice, because the kernel does not run one on a processor on which it
// runs already: an event of an interrupt, or of a task that came in place of one that was preempted in
// the middle of the program, passes it by. Its spare comes after it and takes such an event, unless it
// is held up there, too. What the first program takes it marks here, and the spare takes the mark away.
// Entries stay: requests come again and again, and to find one costs less than to make it.
#define MAX_TAKEN 32768

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_TAKEN);
	__type(key, __u64);
	__type(value, __u32);
} taken SEC(".maps");

struct spared {
	__u64 left;  // events that first programs could not mark, and left to the spare
	__u64 saved; // events that spares took
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spared);
} spared SEC(".maps");

static __always_inline void count_spared(int saved)
{
	__u32 zero = 0;
	struct spared *s = bpf_map_lookup_elem(&spared, &zero);

	if (s)
		__sync_fetch_and_add(saved ? &s->saved : &s->left, 1);
}

// mine reports whether a program is to take the event with this number. No other event that is under
// way may have the same one. Counters per processor are atomic: a program and a spare may share it.
static __always_inline int mine(__u64 event, int spare)
{
	__u32 *mark = bpf_map_lookup_elem(&taken, &event), one = 1;

	if (spare && mark && *mark) {
		*mark = 0;
		return 0;
	}
	if (spare) {
		count_spared(1);
		return 1;
	}
	if (mark) {
		*mark = 1;
		return 1;
	}
	if (!bpf_map_update_elem(&taken, &event, &one, BPF_ANY))
		return 1;
	count_spared(0);
	return 0;
}

// The kernel verifies functions that are neither static nor inline by themselves, whatever the
// callers hand in. That keeps the paths through several branching ones from multiplying.

// bucket returns the place of the highest bit. BPF has no instruction for it.
__noinline __u32 bucket(__u64 v)
{
	__u32 n = 0;

	if (v >> 32) {
		v >>= 32;
		n += 32;
	}
	if (v >> 16) {
		v >>= 16;
		n += 16;
	}
	if (v >> 8) {
		v >>= 8;
		n += 8;
	}
	if (v >> 4) {
		v >>= 4;
		n += 4;
	}
	if (v >> 2) {
		v >>= 2;
		n += 2;
	}
	return n + (v >> 1);
}

// classify returns the stream of the region that a sector lies in: of the n regions from number low
// on, which are sorted.
__noinline __u32 classify(__u32 low, __u32 n, __u64 sector)
{
	for (int i = 0; i < SEARCH; i++) {
		__u32 middle = low + n / 2;
		struct region *r;

		if (!n)
			break;
		r = bpf_map_lookup_elem(&regions, &middle);
		if (!r)
			break;
		if (sector < r->start) {
			n /= 2;
		} else if (sector >= r->end) {
			low = middle + 1;
			n -= n / 2 + 1;
		} else {
			return r->stream;
		}
	}
	return NO_STREAM;
}

struct gendisk {
	int major;
	int first_minor;
} __attribute__((preserve_access_index));

struct request_queue {
	struct gendisk *disk;
} __attribute__((preserve_access_index));

struct block_device {
	struct gendisk *bd_disk;
} __attribute__((preserve_access_index));

struct bvec_iter {
	__u64 bi_sector;
	__u32 bi_size;
} __attribute__((preserve_access_index));

struct bio {
	struct block_device *bi_bdev;
	__u32 bi_opf;
	__u8 bi_status;
	struct bvec_iter bi_iter;
} __attribute__((preserve_access_index));

struct request {
	struct request_queue *q;
	__u32 cmd_flags;
	__u32 __data_len;
	__u64 __sector;
	struct bio *bio;
	__u64 start_time_ns;
} __attribute__((preserve_access_index));

static __always_inline __u32 number(const struct gendisk *d)
{
	return (__u32)d->major << MINOR_BITS | (__u32)d->first_minor;
}
