package simdisk

import (
	"math/rand/v2"

	"unblend/log"
)

// Flash is the timing of an NVMe flash device with a queue that is never full.
//
//   - A read costs ReadOverhead; then each flash page (PageSize, striped over the dies by address)
//     that it touches takes ReadPage on its die, one read at a time per die, first come first
//     served; meanwhile its bytes cross one bus at ReadRate. Random reads thus gain from depth
//     until the dies are busy, sequential ones until the bus is.
//   - A write goes to the device's buffer: its bytes cross one bus at WriteRate and it ends
//     WriteLatency later, DurableLatency later if it has FUA and the device has a volatile cache.
//     A write that continues none of the last streams (writes that start where an earlier one
//     ended) occupies the bus RandomWriteFactor times as long: the steady state of a device that
//     cleans up behind scattered writes.
//   - A flush takes FlushLatency, and FlushRate for the bytes written since the last one was
//     submitted if that is not 0.
//
// Left out: programs and erases that hold up reads on their die, thermal limits, mapping misses.
type Flash struct {
	Dies              int
	PageSize          int64   // bytes, a multiple of log.BlockSize
	ReadPage          int64   // ns
	ReadOverhead      int64   // ns
	ReadRate          int64   // bytes per second
	WriteLatency      int64   // ns
	DurableLatency    int64   // ns
	WriteRate         int64   // bytes per second
	RandomWriteFactor float64 // at least 1
	FlushLatency      int64   // ns
	FlushRate         int64   // bytes per second; 0: no time per byte
}

// P3700 is the Intel SSD DC P3700, 2 TB, a device whose buffer is protected against power loss:
// use it with Config.Volatile unset. Its product specification (330566-005US) says: sequential
// read 2800 MB/s and write 2000 MB/s, 4 KiB random read 460,000 and write 175,000 IOPS,
// sequential latency 20 us each way. The division of a read's time is fitted to the 12,800 (QD1)
// and 167,200 (QD16) random reads per second that AnandTech measured on the 800 GB model (review
// of the DC P4800X, 2017).
func P3700() Flash {
	return Flash{
		Dies: 32, PageSize: 16 << 10, ReadPage: 65e3, ReadOverhead: 13e3, ReadRate: 2800e6,
		WriteLatency: 18e3, DurableLatency: 18e3, WriteRate: 2000e6, RandomWriteFactor: 2.79,
		FlushLatency: 10e3,
	}
}

// CacheFlash is a client device with a volatile cache, for Config.Volatile: a P3700 whose FUA
// writes and flushes cost what a program of the flash does. It is no particular product.
func CacheFlash() Flash {
	f := P3700()
	f.DurableLatency, f.FlushLatency, f.FlushRate = 700e3, 700e3, 2000e6
	return f
}

const flashStreams = 8

type flashModel struct {
	Flash
	volatile bool
	dies     []int64 // when each is free, ns
	readBus  int64   // when it is free, ns
	writeBus int64
	unsynced int64               // bytes written since a flush was submitted
	streams  [flashStreams]int64 // where the last streams of writes ended
	oldest   int                 // the stream that is replaced next
	ready    *request
	end      int64
}

func (f Flash) newModel(_ *rand.Rand, cfg *Config) model {
	m := &flashModel{Flash: f, volatile: cfg.Volatile}
	m.reset()
	return m
}

func (m *flashModel) reset() {
	*m = flashModel{Flash: m.Flash, volatile: m.volatile, dies: make([]int64, m.Dies)}
	for i := range m.streams {
		m.streams[i] = -1
	}
}

func (m *flashModel) add(now int64, r *request) {
	m.ready = r
	switch r.kind {
	case log.Read:
		m.end = m.read(now, r.off, r.n)
	case log.Write:
		m.end = m.write(now, r.off, r.n, r.fua)
	case log.Flush:
		m.end = now + m.FlushLatency
		if m.FlushRate > 0 {
			m.end += duration(m.unsynced, m.FlushRate)
		}
		m.unsynced = 0
	}
}

func (m *flashModel) next(int64) (*request, int64) {
	r := m.ready
	m.ready = nil
	return r, m.end
}

// read returns when a read that starts now ends.
func (m *flashModel) read(now, off, n int64) int64 {
	start := now + m.ReadOverhead
	m.readBus = max(m.readBus, start) + duration(n, m.ReadRate)
	done := m.readBus
	for p := off / m.PageSize; p*m.PageSize < off+n; p++ {
		die := &m.dies[p%int64(m.Dies)]
		*die = max(*die, start) + m.ReadPage
		done = max(done, *die)
	}
	return done
}

// write returns when a write that starts now ends.
func (m *flashModel) write(now, off, n int64, fua bool) int64 {
	busy := duration(n, m.WriteRate)
	if !m.continues(off, n) {
		busy = int64(float64(busy) * m.RandomWriteFactor)
	}
	m.writeBus = max(m.writeBus, now) + busy
	m.unsynced += n
	if fua && m.volatile {
		return m.writeBus + m.DurableLatency
	}
	return m.writeBus + m.WriteLatency
}

// continues tells whether a write goes on where one of the last streams ended, and follows it.
func (m *flashModel) continues(off, n int64) bool {
	for i := range m.streams {
		if m.streams[i] == off {
			m.streams[i] = off + n
			return true
		}
	}
	m.streams[m.oldest] = off + n
	m.oldest = (m.oldest + 1) % flashStreams
	return false
}

// duration returns how long n bytes take at a rate in bytes per second, in ns.
func duration(n, rate int64) int64 { return n * 1e9 / rate }
