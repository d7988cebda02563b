package vmbench

import (
	"fmt"
	"strings"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/units"
)

// HardDisk is a pool with log and data on modelled hard disks, beside one such disk.
type HardDisk struct {
	Published []PublishedFigure `json:"published"`

	Volumes   int `json:"volumes"`
	VolumeMiB int `json:"volume_mib"`
	LogMiB    int `json:"log_mib"`
	Depth     int `json:"depth"` // writes under way on each volume

	// Durable writes of 4 KiB at random places per second: of one disk with as many under way, of the pool
	// while the log has room, and of the pool with a full log over two more.
	Bare      float64 `json:"disk_iops"`
	Room      float64 `json:"room_iops"`
	Sustained float64 `json:"sustained_iops"`

	IdleP99 int64 `json:"idle_read_p99_ns"` // of a random read of 4 KiB
	BusyP99 int64 `json:"busy_read_p99_ns"` // the same beside the sustained writes

	// The rate at which the first volume is read from end to end before the load, in bytes per second, and
	// those of all volumes after it, as parts of that, rising.
	Stream  float64   `json:"read_before"`
	Streams []float64 `json:"read_after"`

	Virtual string `json:"virtual_time"` // what package perf says of the same pool in virtual time
}

// PublishedFigure is a figure of the drive's maker and what the device does, in requests per second.
type PublishedFigure struct {
	Name      string  `json:"name"`
	Published float64 `json:"published"`
	Measured  float64 `json:"measured"`
}

// String returns the figures for people.
func (h *HardDisk) String() string {
	t := units.NewTable("modelled hard disk, requests per second", ">published", ">measured", ">")
	for _, p := range h.Published {
		t.Row(p.Name, fmt.Sprintf("%.0f", p.Published), fmt.Sprintf("%.1f", p.Measured),
			fmt.Sprintf("%+.1f %%", 100*(p.Measured/p.Published-1)))
	}
	var b strings.Builder
	b.WriteString(t.String())
	fmt.Fprintf(&b, "\n%d volumes of %d MiB, 4 KiB random writes, %d at a time on each, log of %d MiB, all on "+
		"hard disks: one disk %.0f per second; the pool %.0f while the log has room (%.1f times), %.0f over two "+
		"logs with destage (%.1f times). Random reads: p99 %.1f ms meanwhile, %.1f ms idle. After the destage "+
		"the volumes are read from end to end at %.2f to %.2f (median %.2f) of the %.0f MB/s before the load.\n",
		h.Volumes, h.VolumeMiB, h.Depth, h.LogMiB, h.Bare, h.Room, h.Room/h.Bare, h.Sustained,
		h.Sustained/h.Bare, float64(h.BusyP99)/1e6, float64(h.IdleP99)/1e6, h.Streams[0],
		h.Streams[len(h.Streams)-1], bench.Median(h.Streams), h.Stream/1e6)
	fmt.Fprintf(&b, "\nThe same in virtual time:\n%s\n", h.Virtual)
	return b.String()
}
