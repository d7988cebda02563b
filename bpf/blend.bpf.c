// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// How streams of writes look to a disk. The programs at the end attach to the block layer's two
// tracepoints, each of them and its spare; another one takes the same events from user space, so that
// tests can replay streams of which they know the outcome. All call observe, which is the whole
// analysis. Nothing is sent to user space: it reads the counters, which only ever grow.
//
// A write to a guest's device counts twice: in the stream of its volume, and in the merged stream,
// which is what one disk would have got that holds all volumes end to end. A write to a backing
// device counts in the stream of its class (log, data, metadata) and in that of the device.

#include "block.h"

#define MERGED 0     // stream number of the merged stream; streams 1 to 6 are the backing devices'
#define WINDOW 16    // power of two

struct event {
	__u64 sector; // from the start of the whole disk
	__u32 sectors;
	__u32 dev; // of the whole disk
	__u32 op;
	__u32 at;
};

// stream is what is known of one stream. No request ends at sector 0, so 0 stands for none.
struct stream {
	struct bpf_spin_lock lock; // guards all but what is said to be atomic
	__u32 owner;               // of the latest request
	__u64 end;                 // behind the latest request
	__u64 other_end;           // behind the latest request of any other owner
	__u64 run;                 // sectors of the run that is under way
	__u64 ends[WINDOW];        // of the latest requests, in a ring
	__u64 writes;
	__u64 sectors;
	__u64 sequential; // writes that start where the one before them ended
	__u64 sequential_sectors;
	__u64 recent; // writes that start where one of the WINDOW before them ended
	__u64 seeks;  // writes that start elsewhere than where the one before them ended
	__u64 travel; // sum of the seeks' distances
	__u64 reads;         // atomic
	__u64 read_sectors;  // atomic
	__u64 merged_seeks;  // atomic: seeks of the merged stream that vanish without this volume
	__u64 without_seeks; // atomic: seeks of the merged stream that appear without it
};

// histogram is atomic, although every processor has its own: see mine.
struct histogram {
	__u64 seek[BUCKETS]; // distances
	__u64 run[BUCKETS];  // lengths of the runs that ended
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_STREAMS);
	__type(key, __u32);
	__type(value, struct stream);
} streams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_STREAMS);
	__type(key, __u32);
	__type(value, struct histogram);
} histograms SEC(".maps");

// contribute counts what the merged stream's latest request, which came after the end last, tells
// about it without one of the volumes. Without the request's own volume the request is gone.
// Without the volume of the request before it, it would have come after the end other. Without any
// third one nothing changes.
static __always_inline void contribute(__u32 owner, __u32 before, __u64 start, __u64 last, __u64 other)
{
	struct stream *s;

	if (start != last) {
		s = bpf_map_lookup_elem(&streams, &owner);
		if (s)
			__sync_fetch_and_add(&s->merged_seeks, 1);
	}
	if (before == owner)
		return;
	s = bpf_map_lookup_elem(&streams, &before);
	if (!s)
		return;
	if (start != last)
		__sync_fetch_and_add(&s->merged_seeks, 1);
	if (other && start != other)
		__sync_fetch_and_add(&s->without_seeks, 1);
}

// advance adds a write to a stream. owner tells whose it is where a stream has several.
__noinline int advance(__u32 index, __u64 start, __u32 sectors, __u32 owner)
{
	struct stream *s = bpf_map_lookup_elem(&streams, &index);
	struct histogram *h = bpf_map_lookup_elem(&histograms, &index);
	__u64 last, other, run = 0, distance = 0, apart = 1;
	__u32 before;

	if (!s || !h)
		return 0;
	bpf_spin_lock(&s->lock);
	last = s->end;
	before = s->owner;
	other = s->other_end;
	if (before != owner) {
		s->owner = owner;
		s->other_end = last;
	}
	for (int i = 0; i < WINDOW; i++) {
		__u64 d = s->ends[i] ^ start;

		apart &= (d | -d) >> 63; // 1 unless d is 0, and no branch
	}
	s->recent += !apart && start;
	s->ends[s->writes & (WINDOW - 1)] = start + sectors;
	if (last && start != last) {
		distance = start > last ? start - last : last - start;
		run = s->run;
		s->run = 0;
		s->seeks++;
		s->travel += distance;
	} else if (last) {
		s->sequential++;
		s->sequential_sectors += sectors;
	}
	s->run += sectors;
	s->end = start + sectors;
	s->sectors += sectors;
	s->writes++;
	bpf_spin_unlock(&s->lock);
	if (distance) {
		__sync_fetch_and_add(&h->seek[bucket(distance) & (BUCKETS - 1)], 1);
		__sync_fetch_and_add(&h->run[bucket(run) & (BUCKETS - 1)], 1);
	}
	if (index == MERGED && last)
		contribute(owner, before, start, last, other);
	return 0;
}

static __always_inline void count_read(__u32 index, __u32 sectors)
{
	struct stream *s = bpf_map_lookup_elem(&streams, &index);

	if (!s)
		return;
	__sync_fetch_and_add(&s->reads, 1);
	__sync_fetch_and_add(&s->read_sectors, sectors);
}

// observe is the analysis.
static __always_inline int observe(struct event *e)
{
	struct device *d = bpf_map_lookup_elem(&devices, &e->dev);
	__u32 stream;

	// What carries no data, such as an empty flush, moves no disk's head.
	if (!d || d->at != e->at || !e->sectors)
		return 0;
	stream = d->regions ? classify(d->first, d->regions, e->sector) : d->stream;
	if (stream == NO_STREAM)
		return 0;
	if (e->op == OP_READ) {
		count_read(stream, e->sectors);
		return 0;
	}
	if (e->op != OP_WRITE)
		return 0;
	advance(stream, e->sector, e->sectors, stream);
	if (d->regions)
		advance(d->stream, e->sector, e->sectors, stream);
	else
		advance(MERGED, d->base + e->sector, e->sectors, stream);
	return 0;
}

static __always_inline int take_request(struct request *rq, int spare)
{
	struct event e = {
		.sector = rq->__sector,
		.sectors = rq->__data_len >> SECTOR_SHIFT,
		.dev = number(rq->q->disk),
		.op = rq->cmd_flags & OP_MASK,
		.at = AT_ISSUE,
	};

	return mine((__u64)rq, spare) ? observe(&e) : 0;
}

// The sector counts from the start of the disk here, too: partitions were resolved before.
static __always_inline int take_bio(struct bio *bio, int spare)
{
	struct event e = {
		.sector = bio->bi_iter.bi_sector,
		.sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT,
		.dev = number(bio->bi_bdev->bd_disk),
		.op = bio->bi_opf & OP_MASK,
		.at = AT_QUEUE,
	};

	return mine((__u64)bio, spare) ? observe(&e) : 0;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(rq_issue, struct request *rq)
{
	return take_request(rq, 0);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(rq_issue_spare, struct request *rq)
{
	return take_request(rq, 1);
}

SEC("tp_btf/block_bio_queue")
int BPF_PROG(bio_queue, struct bio *bio)
{
	return take_bio(bio, 0);
}

SEC("tp_btf/block_bio_queue")
int BPF_PROG(bio_queue_spare, struct bio *bio)
{
	return take_bio(bio, 1);
}

SEC("syscall")
int replay(struct event *from)
{
	struct event e = *from;

	return observe(&e);
}

// For tests: an event that reaches one of the two alone, or one after the other.
static __always_inline int replay_as(struct event *from, int spare)
{
	struct event e = *from;

	return mine(e.sector << 32 | e.dev, spare) ? observe(&e) : 0;
}

SEC("syscall")
int replay_first(struct event *from)
{
	return replay_as(from, 0);
}

SEC("syscall")
int replay_spare(struct event *from)
{
	return replay_as(from, 1);
}

char dual_license[] SEC("license") = "Dual MIT/GPL";
