package simdisk

import (
	"math"
	"math/rand/v2"

	"unblend/log"
)

// HDD is the timing of a hard disk.
//
//   - The platter turns at RPM. Addresses run from the outer edge to the inner one in Zones zones
//     of one transfer rate each, from OuterRate down to InnerRate in even steps. A track holds
//     what passes under the head in one turn; an address has its place on the turn, and tracks
//     follow each other without a loss (the rates are sustained ones, head switches included).
//   - Moving by d, a fraction of the capacity, takes SeekMin + SeekFull*sqrt(d), or nothing within
//     a track's length. Then the head waits for the place to come round.
//   - The drive holds QueueDepth operations, the rest wait in the host in order. Of those it holds
//     it performs the one whose position is reached first, but none waits longer than MaxWait.
//     An operation can start Overhead after it was submitted.
//   - After a read the drive reads on while it has nothing else to do, up to ReadAhead: a read
//     that continues there takes what the head has passed by now at once.
//   - With a volatile cache (Config.Volatile) writes without FUA end Overhead after they were
//     submitted, plus their transfer at InterfaceRate, as long as the cache has room
//     (Config.CacheBytes). The drive joins cached writes that touch and writes them, nearest
//     position of the CacheWindow oldest first, when it has no reads to do or the cache is half
//     full. A flush waits for what was cached before it. Without a cache a flush takes Overhead.
//
// Left out: reads answered from cached writes, retries, reassigned sectors, recalibration.
type HDD struct {
	RPM                  int
	Capacity             int64 // bytes; of a smaller disk (Config.Size) only the outer part is used
	Zones                int
	OuterRate, InnerRate int64 // bytes per second
	SeekMin, SeekFull    int64 // ns
	Overhead             int64 // ns
	QueueDepth           int
	MaxWait              int64 // ns
	ReadAhead            int64 // bytes
	InterfaceRate        int64 // bytes per second
	CacheWindow          int
}

// UltrastarHC580 is the WD Ultrastar DC HC580, 24 TB, whose data sheet says: 7200 rpm, average
// latency 4.16 ms, sustained transfer 298 MB/s at most, 4 KiB random read at queue depth 32
// 212 IOPS, interface 600 MB/s. Its seek time is not published; the curve gives the 8.0 ms that
// the data sheet of its relative Ultrastar He10 names as typical read seek. With the latency and
// the overhead that makes 81 random reads per second at queue depth 1. The innermost rate is half
// of the outermost, as that of drives which publish both (Seagate Exos 10E2400: 266 to 130 MB/s).
func UltrastarHC580() HDD {
	return HDD{
		RPM: 7200, Capacity: 24e12, Zones: 24, OuterRate: 298e6, InnerRate: 149e6,
		SeekMin: 800e3, SeekFull: 13300e3, Overhead: 100e3, QueueDepth: 32, MaxWait: 1e9,
		ReadAhead: 2 << 20, InterfaceRate: 600e6, CacheWindow: 128,
	}
}

// zone is a range of addresses of one transfer rate.
type zone struct {
	rate  float64 // bytes per ns
	track float64 // bytes
}

// job is a piece of work for the head: an operation, or cached writes to one stretch.
type job struct {
	r       *request // nil for cached writes
	off, n  int64
	arrived int64  // ns
	id      uint64 // of cached writes: number of the first of them
}

// ahead is what the drive reads while it has nothing else to do: it passed address from at time
// at (ns) and goes on to limit. All zero: it does not read.
type ahead struct {
	from, at, limit int64
}

type hddModel struct {
	HDD
	volatile   bool
	cacheLimit int64
	turn       float64 // ns of one
	zoneSize   int64   // bytes
	zones      []zone

	head   int64 // address where the last operation ended
	busy   int64 // when the head is free, ns
	ahead  ahead
	queue  []job // operations for the head, in order of arrival
	cache  []job // cached writes, in order of arrival
	bytes  int64 // in the cache
	lastID uint64
	wait   []*request // writes that the cache has no room for, in order
	quick  []*request // operations that end without the head, at their ready time
	flush  []*request // flushes that wait for the cache, in order
	busyOn *job       // cached writes being written; counted as cached until busy
	onSlot job
}

func (h HDD) newModel(_ *rand.Rand, cfg *Config) model {
	h.Capacity = max(h.Capacity, cfg.Size)
	m := &hddModel{HDD: h, volatile: cfg.Volatile, cacheLimit: cfg.CacheBytes}
	m.turn = 60e9 / float64(h.RPM)
	m.zoneSize = h.Capacity/int64(h.Zones) + 1
	for i := range h.Zones {
		step := float64(h.OuterRate-h.InnerRate) / float64(max(h.Zones-1, 1))
		rate := (float64(h.OuterRate) - step*float64(i)) / 1e9
		m.zones = append(m.zones, zone{rate: rate, track: rate * m.turn})
	}
	return m
}

func (m *hddModel) reset() {
	m.queue, m.cache, m.wait = m.queue[:0], m.cache[:0], m.wait[:0]
	m.quick, m.flush, m.busyOn = m.quick[:0], m.flush[:0], nil
	m.head, m.busy, m.ahead, m.bytes = 0, 0, ahead{}, 0
}

func (m *hddModel) add(now int64, r *request) {
	r.ready = now + m.Overhead
	switch {
	case r.kind == log.Flush:
		m.addFlush(r)
	case r.n == 0: // refused or cut short before the medium
		m.quick = append(m.quick, r)
	case r.kind == log.Write && m.volatile && !r.fua:
		m.wait = append(m.wait, r)
		m.admit(now)
	default:
		m.queue = append(m.queue, job{r: r, off: r.off, n: r.n, arrived: now})
	}
}

// next: operations that end without the head first, then the head's next piece of work.
func (m *hddModel) next(now int64) (*request, int64) {
	m.settle(now)
	if k := len(m.quick); k > 0 {
		r := m.quick[k-1]
		m.quick = m.quick[:k-1]
		return r, r.ready
	}
	if now < m.busy {
		if m.busyOn != nil {
			return nil, m.busy
		}
		return nil, 0 // the operation under way will ask again as it ends
	}
	return m.dispatch(now)
}

// dispatch starts the head on the piece of work that it reaches first.
func (m *hddModel) dispatch(now int64) (*request, int64) {
	q, soonest := m.choose(now)
	preferCache := q < 0 || m.bytes > m.cacheLimit/2 || len(m.flush) > 0
	if c := m.chooseCached(now); c >= 0 && preferCache {
		j := m.cache[c]
		copy(m.cache[1:c+1], m.cache[:c]) // c is near the front, the rest may be long
		m.cache = m.cache[1:]
		m.onSlot = j
		m.busyOn = &m.onSlot
		m.busy = now + m.position(now, j.off) + m.transfer(j.off, j.n)
		m.head, m.ahead = j.off+j.n, ahead{}
		return nil, m.busy
	}
	if q < 0 {
		return nil, soonest
	}
	j := m.queue[q]
	m.queue = append(m.queue[:q], m.queue[q+1:]...)
	m.busy = m.perform(now, &j)
	return j.r, m.busy
}

// perform returns when an operation that starts now ends, and moves the head.
func (m *hddModel) perform(now int64, j *job) int64 {
	if m.inAhead(j) {
		return m.performAhead(now, j)
	}
	end := now + m.position(now, j.off) + m.transfer(j.off, j.n)
	m.head, m.ahead = j.off+j.n, ahead{}
	if j.r.kind == log.Read {
		m.ahead = ahead{from: m.head, at: end, limit: m.head + m.ReadAhead}
	}
	return end
}

// inAhead tells whether an operation reads what the drive has read, or is about to read, unasked.
func (m *hddModel) inAhead(j *job) bool {
	return j.r.kind == log.Read && j.off >= m.head && j.off < m.ahead.limit
}

// performAhead is perform of such an operation.
func (m *hddModel) performAhead(now int64, j *job) int64 {
	a := &m.ahead
	end, done := j.off+j.n, now
	if m.passes(a.limit) <= now {
		// The head has read all it may and stopped: it goes on when the platter comes round again.
		m.head = a.limit
		a.from, a.at = a.limit, now+m.position(now, a.limit)
	}
	if end > a.from {
		done = max(now, m.passes(end))
	}
	m.head, a.limit = end, end+m.ReadAhead
	return max(done, now+duration(j.n, m.InterfaceRate))
}

// passes returns when the head that reads ahead passes addr, in ns.
func (m *hddModel) passes(addr int64) int64 {
	return m.ahead.at + m.transfer(m.ahead.from, addr-m.ahead.from)
}

// choose returns the index of the queued operation that the head reaches first, of those that may
// start by now; -1 if there is none, with the time at which there will be one (0: never).
func (m *hddModel) choose(now int64) (int, int64) {
	best, soonest := -1, int64(0)
	least := int64(math.MaxInt64)
	for i := range min(len(m.queue), m.QueueDepth) {
		j := &m.queue[i]
		if j.r.ready > now {
			if soonest == 0 || j.r.ready < soonest {
				soonest = j.r.ready
			}
			continue
		}
		if now-j.arrived > m.MaxWait {
			return i, 0
		}
		if t := m.reach(now, j); t < least {
			best, least = i, t
		}
	}
	return best, soonest
}

// reach returns how far an operation is from its start, read ahead counted in.
func (m *hddModel) reach(now int64, j *job) int64 {
	if m.inAhead(j) {
		return max(0, m.passes(j.off)-now)
	}
	return m.position(now, j.off)
}

// position returns how long the head takes from where it is to pass over addr, in ns.
func (m *hddModel) position(now, addr int64) int64 {
	z := &m.zones[addr/m.zoneSize]
	seek := 0.0
	if d := math.Abs(float64(addr - m.head)); d >= z.track {
		seek = float64(m.SeekMin) + float64(m.SeekFull)*math.Sqrt(d/float64(m.Capacity))
	}
	// In turns: where the address is, less where the head will be, as a part of one turn.
	wait := float64(addr%m.zoneSize)/z.track - (float64(now)+seek)/m.turn
	wait -= math.Floor(wait)
	if wait > 1-rounding {
		wait = 0
	}
	return int64(seek + wait*m.turn)
}

// rounding is the part of a turn by which times in whole ns may miss a place that follows at once.
const rounding = 1e-6

// transfer returns how long n bytes at addr take to pass under the head, in ns.
func (m *hddModel) transfer(addr, n int64) int64 {
	return int64(float64(n) / m.zones[addr/m.zoneSize].rate)
}
