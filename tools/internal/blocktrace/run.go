package blocktrace

// Run measures how far the requests of one stream continue each other.
type Run struct {
	Requests   uint64
	Bytes      uint64
	Sequential uint64 // requests that start where the one before them ended

	last uint64 // byte behind the latest request
}

// Add takes the next request of the stream, at byte off.
func (r *Run) Add(off, n uint64) {
	if r.Requests > 0 && off == r.last {
		r.Sequential++
	}
	r.Requests++
	r.Bytes += n
	r.last = off + n
}

// Share returns Sequential as a share of all, 0 to 1.
func (r *Run) Share() float64 {
	if r.Requests == 0 {
		return 0
	}
	return float64(r.Sequential) / float64(r.Requests)
}

// Mean returns the mean size of a request in bytes.
func (r *Run) Mean() float64 {
	if r.Requests == 0 {
		return 0
	}
	return float64(r.Bytes) / float64(r.Requests)
}
