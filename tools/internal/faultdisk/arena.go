package faultdisk

// pageSize is the unit in which contents are kept, in bytes.
const pageSize = 4096

// slotSize is the smallest sector, in bytes: a page has eight slots, one bit of a mask each.
const slotSize = 512

// fullMask is the mask of a whole page.
const fullMask = 0xff

// versionCost is what a version is charged beside its page, in bytes: its entry and its share of
// the map that holds it.
const versionCost = 64

// freePagesMax bounds the pages kept for reuse.
const freePagesMax = 4096

type page [pageSize]byte

// arena counts the memory that contents, caches and delayed requests take, and recycles pages. It
// does not refuse anything itself: room is asked once per request, before anything is changed.
type arena struct {
	used  int64 // bytes
	limit int64 // bytes
	free  []*page
}

// room reports whether n more bytes fit under the limit.
func (a *arena) room(n int64) bool { return n <= a.limit-a.used }

// get returns a page with arbitrary contents.
func (a *arena) get() *page {
	a.used += pageSize
	if n := len(a.free); n > 0 {
		p := a.free[n-1]
		a.free = a.free[:n-1]
		return p
	}
	return new(page)
}

// put takes a page back. A nil page, which stands for zeros, is ignored.
func (a *arena) put(p *page) {
	if p == nil {
		return
	}
	a.used -= pageSize
	if len(a.free) < freePagesMax {
		a.free = append(a.free, p)
	}
}

// copySlots copies the slots of mask from src, where nil stands for zeros.
func copySlots(dst, src *page, mask uint8) {
	if mask == fullMask && src != nil {
		*dst = *src
		return
	}
	for i := range pageSize / slotSize {
		if mask&(1<<i) == 0 {
			continue
		}
		if b := dst[i*slotSize : (i+1)*slotSize]; src == nil {
			clear(b)
		} else {
			copy(b, src[i*slotSize:])
		}
	}
}
