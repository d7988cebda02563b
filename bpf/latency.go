package bpf

import (
	"fmt"
	"time"
)

// Times is how long one kind of a stream's requests took, since they are followed.
type Times struct {
	Requests uint64
	Queue    Part // from when they were handed to the device until its driver got them
	Served   Part // from then on until they were done
	Total    Part // both

	// Of a volume's writes, the parts of Served, where they are known. They are inferred: the latest write
	// to the log that was issued after a request and done before it is taken for the one that carried it.
	Split uint64
	Batch Part // until the write to the log was issued
	Log   Part // until that was done
	Reply Part // until the request was
}

// Part is one part of the time.
type Part struct {
	Sum     time.Duration
	Buckets [64]uint64 // bucket n: requests that took from 2^n up to 2^(n+1) ns; the first one less, too
}

// Latency returns how long the reads and writes of a stream took. It needs RequestOptions.Times.
func (r *Requests) Latency(stream int) (reads, writes Times, err error) {
	if stream < 0 || stream >= r.size {
		return reads, writes, fmt.Errorf("stream %d: there are %d", stream, r.size)
	}
	for op, to := range []*Times{&reads, &writes} {
		var perCPU []requestsTimes
		if err := r.objs.Latencies.Lookup(uint32(2*stream+op), &perCPU); err != nil {
			return reads, writes, err
		}
		for i := range perCPU {
			to.add(&perCPU[i])
		}
	}
	return reads, writes, nil
}

// add adds what one CPU has counted.
func (t *Times) add(c *requestsTimes) {
	t.Split += c.Split
	for _, x := range []struct {
		part    *Part
		sum     uint64
		buckets *[64]uint64
	}{
		{&t.Queue, c.WaitedSum, &c.Waited},
		{&t.Served, c.ServedSum, &c.Served},
		{&t.Total, c.WaitedSum + c.ServedSum, &c.Total},
		{&t.Batch, c.BatchSum, &c.Batch},
		{&t.Log, c.LogSum, &c.Log},
		{&t.Reply, c.ReplySum, &c.Reply},
	} {
		x.part.Sum += time.Duration(x.sum)
		for i, n := range x.buckets {
			x.part.Buckets[i] += n
		}
	}
	for _, n := range c.Total {
		t.Requests += n
	}
}

// Sub returns what was counted since earlier.
func (t Times) Sub(earlier Times) Times {
	t.Requests -= earlier.Requests
	t.Split -= earlier.Split
	before := earlier.parts()
	for i, p := range t.parts() {
		p.Sum -= before[i].Sum
		for k := range p.Buckets {
			p.Buckets[k] -= before[i].Buckets[k]
		}
	}
	return t
}

func (t *Times) parts() [6]*Part {
	return [6]*Part{&t.Queue, &t.Served, &t.Total, &t.Batch, &t.Log, &t.Reply}
}

// Quantile estimates the time that a share of the requests did not take longer than: within a bucket,
// times are taken to be spread evenly. The true one is in the same bucket.
func (p *Part) Quantile(share float64) time.Duration {
	var all, seen float64
	for _, n := range p.Buckets {
		all += float64(n)
	}
	for i, n := range p.Buckets {
		if n > 0 && seen+float64(n) >= share*all {
			low := time.Duration(1) << i
			if i == 0 {
				low = 0
			}
			high := time.Duration(1) << (i + 1)
			return low + time.Duration(float64(high-low)*(share*all-seen)/float64(n))
		}
		seen += float64(n)
	}
	return 0
}
