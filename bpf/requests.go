package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// RequestOptions say what is to be known of single requests.
type RequestOptions struct {
	Every int  // one request in so many, by chance, is returned by Next; 0: none
	Ring  int  // bytes, a power of two and of pages: room for those that Next has not returned yet
	Times bool // whether Latency is asked for
}

// Requests follows the requests of the devices that an Analyzer watches. Reads, writes, discards and
// write-zeroes count. Like the Analyzer, which must be closed later, it is for one goroutine.
type Requests struct {
	objs   requestsObjects
	at     attached
	reader *ringbuf.Reader
	record ringbuf.Record
	size   int // of the table of streams
}

// Follow puts the programs into the kernel. They see nothing before Attach. Errors are those of Load.
func (a *Analyzer) Follow(o RequestOptions) (*Requests, error) {
	spec, err := loadRequests()
	if err != nil {
		return nil, err
	}
	r := &Requests{size: FirstGuest + a.guests}
	if o.Times {
		spec.Maps[requestsMapLatencies].MaxEntries = uint32(2 * r.size)
	}
	spec.Maps[requestsMapRing].MaxEntries = uint32(max(o.Ring, os.Getpagesize()))
	err = errors.Join(
		spec.Variables[requestsVarEvery].Set(uint32(o.Every)),
		spec.Variables[requestsVarMeasure].Set(uint32(boolInt(o.Times))))
	if err != nil {
		return nil, err
	}
	err = spec.LoadAndAssign(&r.objs, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{
			requestsMapDevices: a.objs.Devices, requestsMapRegions: a.objs.Regions,
		},
	})
	if err != nil {
		return nil, explain(err)
	}
	if r.reader, err = ringbuf.NewReader(r.objs.Ring); err != nil {
		return nil, errors.Join(err, r.objs.Close())
	}
	return r, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Attach begins to follow requests: what ends one is attached before what begins one.
func (r *Requests) Attach() error {
	o := &r.objs
	return r.at.attach(
		pair{o.OnRqComplete, o.OnRqCompleteSpare}, pair{o.OnBioComplete, o.OnBioCompleteSpare},
		pair{o.OnBackMerge, o.OnBackMergeSpare}, pair{o.OnFrontMerge, o.OnFrontMergeSpare},
		pair{o.OnRqIssue, o.OnRqIssueSpare}, pair{o.OnBioQueue, o.OnBioQueueSpare})
}

// Detach ends it. Next still returns what is there.
func (r *Requests) Detach() error { return r.at.detach() }

// Close takes the programs out of the kernel.
func (r *Requests) Close() error {
	return errors.Join(r.Detach(), r.reader.Close(), r.objs.Close())
}

// Outcome is a request that is done. Times are of the kernel's monotonic clock.
type Outcome struct {
	Queued time.Duration // when it was handed to the device
	Issued time.Duration // when its driver got it
	Done   time.Duration
	Device Device
	Stream int // of the volume, or of the region's class
	Op     Op
	Offset int64 // bytes from the start of the whole disk
	Bytes  int64
	Failed bool
}

// ErrNone is returned when no request was done in time.
var ErrNone = errors.New("no request was done")

// Next waits until then, at most, for the next request that is done, and returns ErrNone if there is
// none. Requests come roughly in the order in which they were done. It does not wait for a time that
// has passed.
func (r *Requests) Next(until time.Time) (Outcome, error) {
	r.reader.SetDeadline(until)
	err := r.reader.ReadInto(&r.record)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Outcome{}, ErrNone
	case err != nil:
		return Outcome{}, fmt.Errorf("the ring of requests: %w", err)
	}
	return decode(r.record.RawSample)
}

// decode reads what the kernel has put into the ring.
func decode(b []byte) (Outcome, error) {
	var o requestsOutcome
	if len(b) < int(unsafe.Sizeof(o)) {
		return Outcome{}, fmt.Errorf("the ring of requests: %d bytes, want %d", len(b), unsafe.Sizeof(o))
	}
	if _, err := binary.Decode(b, binary.LittleEndian, &o); err != nil {
		return Outcome{}, fmt.Errorf("the ring of requests: %w", err)
	}
	return Outcome{
		Queued: time.Duration(o.Queued), Issued: time.Duration(o.Issued), Done: time.Duration(o.Done),
		Device: Device(o.Dev), Stream: int(o.Stream), Op: Op(o.Op),
		Offset: int64(o.Sector) * SectorSize, Bytes: int64(o.Sectors) * SectorSize,
		Failed: o.Failed != 0,
	}, nil
}

// Losses count the requests that Next and Latency do not have.
type Losses struct {
	Dropped    uint64 // there was no room in the ring: Next does not have them
	Unfollowed uint64 // too many were under way, or a step was missed: neither has them
}

// Lost returns the losses since the start.
func (r *Requests) Lost() (Losses, error) {
	var perCPU []requestsLosses
	if err := r.objs.Lost.Lookup(uint32(0), &perCPU); err != nil {
		return Losses{}, err
	}
	missed, err := r.at.misses(r.objs.Spared)
	l := Losses{Unfollowed: missed}
	for _, c := range perCPU {
		l.Dropped += c.Dropped
		l.Unfollowed += c.Unfollowed
	}
	return l, err
}
