// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// The way of single requests: when they were handed to their device, when its driver got them, when
// they were done. The programs follow each request of the watched devices; when one is done it goes
// to user space through a ring, if it is sampled, and into its stream's histograms, if they are asked
// for. What cannot be followed or has no room in the ring is counted. A program for tests takes the
// same steps from user space, with the time that each of them is to have.

#include "block.h"

#define OP_DISCARD 3
#define OP_WRITE_ZEROES 9

#define LOG 1         // stream number of writes to the log
#define FIRST_GUEST 7 // of the first volume
#define LOG_WRITES 16 // that are remembered; power of two

#define MAX_WAITING 32768
#define MAX_PENDING 16384

// Steps of a request's way. A bio is what the kernel hands to a device; where the device has queues,
// requests are made of bios, several of one where they continue each other.
#define BIO_QUEUED 0
#define BIO_MERGED 1 // into the request of an earlier bio
#define BIO_DONE 2
#define RQ_ISSUED 3
#define RQ_DONE 4

struct step {
	__u64 time;  // ns, of the monotonic clock
	__u64 id;    // of the bio or request: its address
	__u64 first; // RQ_ISSUED: the bio it begins with
	__u64 made;  // RQ_ISSUED: when the request was made; 0: unknown
	__u64 sector;
	__u32 sectors;
	__u32 dev;
	__u32 op;
	__u32 kind;
	__u32 failed;
	__u32 pad;
};

// outcome is a request that is done, or, before that, what is known of it.
struct outcome {
	__u64 queued; // when it was handed to the device
	__u64 issued; // when its driver got it
	__u64 done;
	__u64 sector;
	__u32 sectors;
	__u32 dev;
	__u32 stream;
	__u16 op;
	__u16 failed;
};

// What is per processor is atomic, because a program and a spare may share it: see mine.

// times counts how long one kind of a stream's requests took, in ns. The three parts of the time that
// a volume's writes were served are inferred from the log's: see logged.
struct times {
	__u64 waited_sum;
	__u64 served_sum;
	__u64 split; // requests whose parts are known
	__u64 batch_sum;
	__u64 log_sum;
	__u64 reply_sum;
	__u64 waited[BUCKETS]; // from queued to issued
	__u64 served[BUCKETS]; // from issued to done
	__u64 total[BUCKETS];  // of both
	__u64 batch[BUCKETS];  // from issued until the log's write was issued
	__u64 log[BUCKETS];    // until that was done
	__u64 reply[BUCKETS];  // until the request was
};

// logged is the latest writes to the log that are done. The latest of those that were issued after a
// guest's request and done before it is taken for the one that carried it: the daemon answers as soon as
// it sees that a record is durable.
struct logged {
	struct bpf_spin_lock lock;
	__u32 n;
	__u64 issued[LOG_WRITES];
	__u64 done[LOG_WRITES];
};

struct losses {
	__u64 dropped;    // done, and without room in the ring
	__u64 unfollowed; // issued, and without room among the pending ones
};

const volatile __u32 every;   // one request in so many is sampled; 0: none
const volatile __u32 measure; // whether histograms are asked for

// Bios that no request was made of. Those that never become one are pushed out by later ones.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_WAITING);
	__type(key, __u64);
	__type(value, __u64);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct outcome);
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); // user space sets what it needs
} ring SEC(".maps");

// Two for each stream: reads, writes.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * MAX_STREAMS);
	__type(key, __u32);
	__type(value, struct times);
} latencies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct logged);
} log_writes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct losses);
} lost SEC(".maps");

static __always_inline struct losses *losses(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lost, &zero);
}

// begin follows a request from now on.
static __always_inline int begin(struct step *s, __u32 at, __u64 queued)
{
	struct device *d = bpf_map_lookup_elem(&devices, &s->dev);
	struct outcome o = {
		.queued = queued,
		.issued = s->time,
		.sector = s->sector,
		.sectors = s->sectors,
		.dev = s->dev,
		.op = s->op,
	};
	struct losses *l;

	if (!d || d->at != at || !s->sectors)
		return 0;
	if (s->op != OP_READ && s->op != OP_WRITE && s->op != OP_DISCARD && s->op != OP_WRITE_ZEROES)
		return 0;
	o.stream = d->regions ? classify(d->first, d->regions, s->sector) : d->stream;
	if (o.stream == NO_STREAM)
		return 0;
	if (bpf_map_update_elem(&pending, &s->id, &o, BPF_ANY)) {
		l = losses();
		if (l)
			__sync_fetch_and_add(&l->unfollowed, 1);
	}
	return 0;
}

// remember keeps a write to the log.
static __always_inline void remember(struct outcome *o)
{
	__u32 zero = 0, i;
	struct logged *l = bpf_map_lookup_elem(&log_writes, &zero);

	if (!l)
		return;
	bpf_spin_lock(&l->lock);
	i = l->n++ & (LOG_WRITES - 1);
	l->issued[i] = o->issued;
	l->done[i] = o->done;
	bpf_spin_unlock(&l->lock);
}

// split finds the write to the log that carried a guest's and counts the parts.
static __always_inline void split(struct times *t, struct outcome *o)
{
	__u64 issued = 0, done = 0;
	__u32 zero = 0;
	struct logged *l = bpf_map_lookup_elem(&log_writes, &zero);

	if (!l)
		return;
	bpf_spin_lock(&l->lock);
	for (int i = 0; i < LOG_WRITES; i++) {
		if (l->issued[i] >= o->issued && l->done[i] <= o->done && l->done[i] >= done) {
			issued = l->issued[i];
			done = l->done[i];
		}
	}
	bpf_spin_unlock(&l->lock);
	if (!done)
		return;
	__sync_fetch_and_add(&t->split, 1);
	__sync_fetch_and_add(&t->batch_sum, issued - o->issued);
	__sync_fetch_and_add(&t->log_sum, done - issued);
	__sync_fetch_and_add(&t->reply_sum, o->done - done);
	__sync_fetch_and_add(&t->batch[bucket(issued - o->issued) & (BUCKETS - 1)], 1);
	__sync_fetch_and_add(&t->log[bucket(done - issued) & (BUCKETS - 1)], 1);
	__sync_fetch_and_add(&t->reply[bucket(o->done - done) & (BUCKETS - 1)], 1);
}

static __always_inline void count(struct outcome *o)
{
	__u64 waited = o->issued - o->queued, served = o->done - o->issued;
	__u32 index = 2 * o->stream + o->op;
	struct times *t;

	if (o->op != OP_READ && o->op != OP_WRITE)
		return;
	t = bpf_map_lookup_elem(&latencies, &index);
	if (!t)
		return;
	__sync_fetch_and_add(&t->waited_sum, waited);
	__sync_fetch_and_add(&t->served_sum, served);
	__sync_fetch_and_add(&t->waited[bucket(waited) & (BUCKETS - 1)], 1);
	__sync_fetch_and_add(&t->served[bucket(served) & (BUCKETS - 1)], 1);
	__sync_fetch_and_add(&t->total[bucket(waited + served) & (BUCKETS - 1)], 1);
	if (o->op == OP_WRITE && o->stream >= FIRST_GUEST)
		split(t, o);
	else if (o->op == OP_WRITE && o->stream == LOG)
		remember(o);
}

static __always_inline void send(struct outcome *o)
{
	struct losses *l;

	if (every > 1 && bpf_get_prandom_u32() % every)
		return;
	if (!bpf_ringbuf_output(&ring, o, sizeof(*o), 0))
		return;
	l = losses();
	if (l)
		__sync_fetch_and_add(&l->dropped, 1);
}

// finish ends following a request.
static __always_inline int finish(struct step *s)
{
	struct outcome *known = bpf_map_lookup_elem(&pending, &s->id);
	struct outcome o;

	if (!known)
		return 0;
	o = *known;
	bpf_map_delete_elem(&pending, &s->id);
	o.done = s->time;
	o.failed = s->failed;
	if (measure)
		count(&o);
	if (every)
		send(&o);
	return 0;
}

// queued takes a bio that is handed to a device. What has no queues has it at once.
static __always_inline int queued(struct step *s)
{
	struct device *d = bpf_map_lookup_elem(&devices, &s->dev);

	if (!d)
		return 0;
	if (d->at == AT_QUEUE)
		return begin(s, AT_QUEUE, s->time);
	bpf_map_update_elem(&waiting, &s->id, &s->time, BPF_ANY);
	return 0;
}

// issued takes a request that its driver gets, maybe not for the first time. It was queued when the
// bio was that it begins with; the first part of a bio that was split has no time of its own.
static __always_inline int issued(struct step *s)
{
	struct outcome *before = bpf_map_lookup_elem(&pending, &s->id);
	__u64 *since = bpf_map_lookup_elem(&waiting, &s->first);
	__u64 queued = s->time;

	if (before && before->sector == s->sector && before->sectors == s->sectors)
		queued = before->queued;
	else if (since)
		queued = *since;
	else if (s->made)
		queued = s->made;
	if (since)
		bpf_map_delete_elem(&waiting, &s->first);
	if (queued > s->time)
		queued = s->time;
	return begin(s, AT_ISSUE, queued);
}

static __always_inline int take(struct step *s)
{
	switch (s->kind) {
	case BIO_QUEUED:
		return queued(s);
	case BIO_MERGED:
		bpf_map_delete_elem(&waiting, &s->id);
		return 0;
	case RQ_ISSUED:
		return issued(s);
	default:
		return finish(s);
	}
}

// number_of returns the number of an event for mine: addresses are multiples of eight. The kernel lets
// programs add to a pointer, but not set bits of it.
static __always_inline __u64 number_of(void *what, __u32 kind)
{
	return (__u64)what + kind;
}

static __always_inline int take_bio(struct bio *bio, __u32 kind, int spare)
{
	struct step s = {
		.time = bpf_ktime_get_ns(),
		.id = (__u64)bio,
		.sector = bio->bi_iter.bi_sector,
		.sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT,
		.dev = number(bio->bi_bdev->bd_disk),
		.op = bio->bi_opf & OP_MASK,
		.kind = kind,
		.failed = bio->bi_status != 0,
	};

	return mine(number_of(bio, kind), spare) ? take(&s) : 0;
}

static __always_inline int take_issue(struct request *rq, int spare)
{
	struct step s = {
		.time = bpf_ktime_get_ns(),
		.id = (__u64)rq,
		.first = (__u64)rq->bio,
		.made = rq->start_time_ns,
		.sector = rq->__sector,
		.sectors = rq->__data_len >> SECTOR_SHIFT,
		.dev = number(rq->q->disk),
		.op = rq->cmd_flags & OP_MASK,
		.kind = RQ_ISSUED,
	};

	return mine(number_of(rq, RQ_ISSUED), spare) ? take(&s) : 0;
}

// A request may be done piece by piece: the last one ends it.
static __always_inline int take_complete(struct request *rq, __u8 status, __u32 bytes, int spare)
{
	struct step s = {
		.time = bpf_ktime_get_ns(),
		.id = (__u64)rq,
		.kind = RQ_DONE,
		.failed = status != 0,
	};

	if (!mine(number_of(rq, RQ_DONE), spare) || bytes < rq->__data_len)
		return 0;
	return take(&s);
}

// BIO makes the program for a tracepoint of bios, and its spare.
#define BIO(tracepoint, name, kind, args...)        \
	SEC("tp_btf/" tracepoint)                   \
	int BPF_PROG(name, args)                    \
	{                                           \
		return take_bio(bio, kind, 0);      \
	}                                           \
	SEC("tp_btf/" tracepoint)                   \
	int BPF_PROG(name##_spare, args)            \
	{                                           \
		return take_bio(bio, kind, 1);      \
	}

BIO("block_bio_queue", on_bio_queue, BIO_QUEUED, struct bio *bio)
BIO("block_bio_backmerge", on_back_merge, BIO_MERGED, struct bio *bio)
BIO("block_bio_frontmerge", on_front_merge, BIO_MERGED, struct bio *bio)
BIO("block_bio_complete", on_bio_complete, BIO_DONE, struct request_queue *q, struct bio *bio)

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_rq_issue, struct request *rq)
{
	return take_issue(rq, 0);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_rq_issue_spare, struct request *rq)
{
	return take_issue(rq, 1);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_rq_complete, struct request *rq, __u8 status, __u32 bytes)
{
	return take_complete(rq, status, bytes, 0);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_rq_complete_spare, struct request *rq, __u8 status, __u32 bytes)
{
	return take_complete(rq, status, bytes, 1);
}

SEC("syscall")
int replay_step(struct step *from)
{
	struct step s = *from;

	return take(&s);
}

char dual_license[] SEC("license") = "Dual MIT/GPL";
