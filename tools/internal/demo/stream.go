package main

import (
	"errors"
	"io"
	"sync"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/control"
	"unblend/tools/internal/extents"
)

// watch listens to the kernel while the guests write. It puts the guests' writes and the disk's
// writes into streams, in the order in which they went to their drivers.
type watch struct {
	tracer *blocktrace.Tracer
	wg     sync.WaitGroup
	err    error

	guests  []blocktrace.Device
	bases   []int64 // where each guest's disk begins if they are laid end to end
	disk    *blocktrace.Device
	layout  extents.Layout
	regions []control.Region

	guest  []blocktrace.Run
	merged blocktrace.Run // all guests' writes, as one disk would get them
	class  map[string]*blocktrace.Run
}

// newWatch starts to listen. It returns nil and the reason where the kernel does not let it.
func newWatch(guests []blocktrace.Device, sizes []int64, disk *blocktrace.Device, l extents.Layout,
	regions []control.Region,
) (*watch, error) {
	w := &watch{
		guests: guests, disk: disk, layout: l, regions: regions,
		guest: make([]blocktrace.Run, len(guests)), class: map[string]*blocktrace.Run{},
	}
	base := int64(0)
	for _, n := range sizes {
		w.bases = append(w.bases, base)
		base += n
	}
	devices := guests
	if disk != nil {
		devices = append(devices[:len(devices):len(devices)], *disk)
	}
	var err error
	w.tracer, err = blocktrace.Open(blocktrace.Options{Devices: devices, WritesOnly: true})
	if err != nil {
		return nil, err
	}
	w.wg.Go(func() {
		for {
			e, err := w.tracer.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					w.err = err
				}
				return
			}
			w.add(e)
		}
	})
	return w, nil
}

// add puts a request into its streams.
func (w *watch) add(e blocktrace.Event) {
	if e.Op != blocktrace.Write || e.Sectors == 0 {
		return
	}
	off, n := e.Sector*blocktrace.SectorSize, e.Sectors*blocktrace.SectorSize
	for i, d := range w.guests {
		if e.Dev == d {
			w.guest[i].Add(off, n)
			w.merged.Add(uint64(w.bases[i])+off, n)
			return
		}
	}
	if w.disk == nil || e.Dev != *w.disk {
		return
	}
	class := "other files"
	if at, ok := w.layout.FileAt(int64(off)); ok {
		class = w.classAt(at)
	}
	if w.class[class] == nil {
		w.class[class] = &blocktrace.Run{}
	}
	w.class[class].Add(off, n)
}

// classAt returns what a byte of the pool's file is for.
func (w *watch) classAt(at int64) string {
	for _, r := range w.regions {
		if at >= r.Start && at < r.End {
			return r.Class
		}
	}
	return "other"
}

// share returns the share of a stream's requests that continue the one before, for the table.
func (w *watch) share(stream func() *blocktrace.Run) string {
	if w == nil {
		return "-"
	}
	return percent(stream().Share())
}

// stop ends listening; the streams are complete when it returns.
func (w *watch) stop() error {
	err := w.tracer.Stop()
	w.wg.Wait()
	return errors.Join(err, w.err, w.tracer.Close())
}
