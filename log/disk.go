package log

// Disk is the synchronous view of a device that format, recovery and check use: code that runs
// before or beside the engine, one operation at a time. Offsets and lengths are bytes, multiples of
// BlockSize; buffers are aligned to it. A call either moves everything or returns an error.
type Disk interface {
	ReadAt(p []byte, off int64) error
	WriteAt(p []byte, off int64) error
	Flush() error // makes every completed WriteAt durable
	Size() int64  // bytes
}
