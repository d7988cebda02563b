package simdisk

import (
	"fmt"

	"unblend/log"
)

// This file is what requests do to the medium: taking, landing and sampling of blocks.

// blocksOf calls f for each block of the request that the medium moves, with the block's number
// on the medium and its bytes in the buffers (nil if the process that owned them is dead).
func (r *request) blocksOf(f func(n int64, p []byte)) {
	n, end := r.at/log.BlockSize, (r.at+r.n)/log.BlockSize
	if r.bufs == nil {
		for ; n < end; n++ {
			f(n, nil)
		}
		return
	}
	for _, b := range r.bufs {
		for ; len(b) > 0 && n < end; n++ {
			f(n, b[:log.BlockSize])
			b = b[log.BlockSize:]
		}
	}
}

// capture takes the content of a write.
func (d *Disk) capture(r *request) {
	if r.fault == LostWrite {
		return
	}
	r.blocksOf(func(n int64, p []byte) {
		b := d.store.make(n)
		if k := len(b.vers); k > 0 && b.vers[k-1].r != nil {
			d.stats.Overlaps++
		}
		b.vers = append(b.vers, version{c: d.store.pack(p), r: r})
	})
}

// checkUnchanged panics if the buffers of a write are not what they were when it was submitted.
func (d *Disk) checkUnchanged(r *request) {
	if r.fault == LostWrite {
		return
	}
	r.blocksOf(func(n int64, p []byte) {
		b := d.store.find(n)
		if !b.vers[b.indexOf(r)].c.equal(p) {
			panic(fmt.Sprintf("simdisk: %s: the buffer of the write to block %d changed in flight",
				d.cfg.Name, n))
		}
	})
}

// land completes a write: its versions are the newest, and durable if that is asked for.
func (d *Disk) land(r *request) {
	if r.fault == LostWrite {
		return
	}
	failed := r.errno != 0
	r.blocksOf(func(n int64, _ []byte) {
		b := d.store.find(n)
		if failed {
			d.tear(b, r)
		}
		b.land(r, d.done)
		b.bad = false
		if !d.cfg.Volatile || r.fua && !failed {
			d.store.durable(b, d.done)
			return
		}
		d.store.enqueue(b, n, d.done)
	})
	d.evict()
}

// tear makes the version that a failed write has in flight a mixture of old and new sectors.
func (d *Disk) tear(b *block, r *request) {
	v := &b.vers[b.indexOf(r)]
	old, torn := b.current(), d.store.page()
	for at := 0; at < log.BlockSize; at += d.store.sector {
		from := v.c
		if d.w.rng.Uint64()&1 == 0 {
			from = old
		}
		from.read(torn[at:at+d.store.sector], at)
	}
	d.store.release(v.c)
	v.c = torn
}

// evict makes the oldest volatile data durable when the cache holds too much, as drives do.
func (d *Disk) evict() {
	s := &d.store
	for int64(len(s.queue)-s.head) > d.cfg.CacheBytes/log.BlockSize {
		c := s.queue[s.head]
		s.head++
		s.durable(c.b, c.done)
	}
}

// flushed completes a flush.
func (d *Disk) flushed(r *request) {
	if r.fault == LyingFlush {
		return
	}
	s := &d.store
	for s.head < len(s.queue) && s.queue[s.head].done <= r.mark {
		c := s.queue[s.head]
		s.head++
		if r.errno == 0 {
			s.durable(c.b, c.done)
		} else {
			s.unflushable = append(s.unflushable, c)
		}
	}
}

// dropVersions takes the content of a write that never reached the medium back.
func (d *Disk) dropVersions(r *request) {
	if r.kind != log.Write || r.fault == LostWrite {
		return
	}
	r.blocksOf(func(n int64, _ []byte) {
		if b := d.store.find(n); b != nil {
			d.store.drop(b, r)
		}
	})
}

// sample fills the buffers of a read from the medium as it is at this moment.
func (d *Disk) sample(r *request) {
	r.sampled = true
	r.blocksOf(func(n int64, p []byte) {
		b := d.store.find(n)
		if b == nil {
			clear(p)
			return
		}
		if b.bad {
			r.errno = -errnoIO
			return
		}
		d.readBlock(b, p)
	})
	if r.errno != 0 {
		poison(r.bufs)
	}
}

// readBlock copies a block to p; where a write is in flight, each sector is from before or after.
func (d *Disk) readBlock(b *block, p []byte) {
	b.current().read(p, 0)
	k := len(b.vers)
	if k == 0 || b.vers[k-1].r == nil {
		return
	}
	d.stats.Overlaps++
	for at := 0; at < log.BlockSize; at += d.store.sector {
		if i := d.w.rng.IntN(k + 1); i < k && b.vers[i].r != nil {
			b.vers[i].c.read(p[at:at+d.store.sector], at)
		}
	}
}

// poisonByte fills the buffers of reads that have not ended or have failed.
const poisonByte = 0xA5

var poisonPage = func() (p [log.BlockSize]byte) {
	for i := range p {
		p[i] = poisonByte
	}
	return p
}()

func poison(bufs [][]byte) {
	for _, b := range bufs {
		for len(b) > 0 {
			b = b[copy(b, poisonPage[:]):]
		}
	}
}

// Peek copies what the disk holds at off to p, blocks at a time, as a read without faults that
// takes no time would.
func (d *Disk) Peek(p []byte, off int64) {
	checkBlocks(p, off)
	for n := off / log.BlockSize; len(p) > 0; n++ {
		if b := d.store.find(n); b != nil {
			b.current().read(p[:log.BlockSize], 0)
		} else {
			clear(p[:log.BlockSize])
		}
		p = p[log.BlockSize:]
	}
}

// Poke makes p the durable content at off, blocks at a time, and heals what was unreadable there.
// No write may be in flight there.
func (d *Disk) Poke(p []byte, off int64) {
	checkBlocks(p, off)
	for n := off / log.BlockSize; len(p) > 0; n++ {
		b := d.store.make(n)
		b.vers = append(b.vers, version{c: d.store.pack(p[:log.BlockSize])})
		d.done++
		b.vers[len(b.vers)-1].done = d.done
		d.store.durable(b, d.done)
		b.bad = false
		p = p[log.BlockSize:]
	}
}

// Erase forgets all that the disk holds: a blank disk in its place. Nothing may be in flight.
func (d *Disk) Erase() {
	if len(d.inflight) > 0 {
		panic("simdisk: erase with operations in flight")
	}
	d.store = store{}
	d.store.init(d.cfg.SectorSize)
}

func checkBlocks(p []byte, off int64) {
	if off < 0 || off%log.BlockSize != 0 || len(p)%log.BlockSize != 0 {
		panic(fmt.Sprintf("simdisk: %d bytes at %d are not whole blocks", len(p), off))
	}
}
