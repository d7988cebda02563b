package simdisk

// This file is the write cache of the HDD model: see HDD.

// admit takes waiting writes into the cache while it has room.
func (m *hddModel) admit(now int64) {
	for len(m.wait) > 0 {
		r := m.wait[0]
		if m.bytes > 0 && m.bytes+r.n > m.cacheLimit {
			return
		}
		m.wait = append(m.wait[:0], m.wait[1:]...)
		m.bytes += r.n
		m.insert(r.off, r.n, now)
		r.ready = max(r.ready, now) + duration(r.n, m.InterfaceRate)
		m.quick = append(m.quick, r)
	}
}

// joined is the most bytes of cached writes that are written in one piece.
const joined = 4 << 20

// insert adds a write to the cached ones: to the last of them that it continues, if it does.
func (m *hddModel) insert(off, n, now int64) {
	m.lastID++
	for i := len(m.cache) - 1; i >= 0 && i >= len(m.cache)-8; i-- {
		j := &m.cache[i]
		if j.off+j.n == off && j.n+n <= joined && off/m.zoneSize == j.off/m.zoneSize {
			j.n += n
			return
		}
	}
	m.cache = append(m.cache, job{off: off, n: n, arrived: now, id: m.lastID})
}

// chooseCached returns the index of the cached write that the head reaches first, -1 if none. A
// flush that waits lets only what it waits for be chosen.
func (m *hddModel) chooseCached(now int64) int {
	best, least := -1, int64(0)
	for i := range min(len(m.cache), m.CacheWindow) {
		j := &m.cache[i]
		if len(m.flush) > 0 && j.id > m.flush[0].need {
			break
		}
		t := m.position(now, j.off)
		if best < 0 || t < least {
			best, least = i, t
		}
	}
	return best
}

// addFlush ends a flush at once if nothing is cached, or has it wait.
func (m *hddModel) addFlush(r *request) {
	r.need = m.lastID
	if m.cached(r.need) {
		m.flush = append(m.flush, r)
		return
	}
	m.quick = append(m.quick, r)
}

// settle notices that the head has finished cached writes.
func (m *hddModel) settle(now int64) {
	if m.busyOn == nil || now < m.busy {
		return
	}
	m.bytes -= m.busyOn.n
	m.busyOn = nil
	m.admit(now)
	for len(m.flush) > 0 && !m.cached(m.flush[0].need) {
		m.flush[0].ready = max(m.flush[0].ready, now)
		m.quick = append(m.quick, m.flush[0])
		m.flush = append(m.flush[:0], m.flush[1:]...)
	}
}

// cached tells whether writes up to number id are in the cache or on their way to the platter.
func (m *hddModel) cached(id uint64) bool {
	if m.busyOn != nil && m.busyOn.id <= id {
		return true
	}
	for i := range m.cache {
		if m.cache[i].id <= id {
			return true
		}
	}
	return false
}
