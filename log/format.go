package log

// prefillBlocks is how much Prefill writes at a time.
const prefillBlocks = 256

// Format makes the area an empty log: it erases the segment headers and flushes.
func Format(d Disk, geo Geometry) error {
	if err := geo.Validate(d.Size()); err != nil {
		return err
	}
	zero := NewBlocks(1)
	for i := range geo.Segments {
		if err := d.WriteAt(zero, geo.Offset(i*geo.SegmentBlocks)); err != nil {
			return err
		}
	}
	return d.Flush()
}

// Prefill writes zeros to the whole area and flushes, so that a file has its blocks allocated and
// written before the log is used. It does what Format does, too. progress, unless nil, is called
// with the bytes done.
func Prefill(d Disk, geo Geometry, progress func(done, total int64)) error {
	if err := geo.Validate(d.Size()); err != nil {
		return err
	}
	zero := NewBlocks(prefillBlocks)
	total := geo.Bytes()
	for done := int64(0); done < total; {
		n := min(int64(len(zero)), total-done)
		if err := d.WriteAt(zero[:n], geo.AreaOff+done); err != nil {
			return err
		}
		done += n
		if progress != nil {
			progress(done, total)
		}
	}
	return d.Flush()
}
