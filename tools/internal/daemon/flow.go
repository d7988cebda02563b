package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
)

// Flow says what guests wrote and what became of it.
func (d *daemon) Flow(context.Context) (control.Flow, error) {
	st, io, err := d.shards.StatusAndStats()
	if err != nil {
		return control.Flow{}, err
	}
	doc := control.Flow{
		Time: time.Now().UTC().Truncate(time.Second), Total: flowCounts(&st.Flow),
		Volumes: []control.VolumeFlow{},
		Written: control.DeviceTraffic{
			Log: io.LogBytes, Data: io.DataBytes, Metadata: io.MetadataBytes,
		},
		DestageReads:     st.Stats.DestageReads,
		DestageReadBytes: st.Stats.DestageRead * log.BlockSize,
		ReplacedBytes:    st.Stats.ReplacedBlocks * log.BlockSize,
		Pressure:         st.Pressure,
		LogUsed:          int64(st.Segments-st.SegmentsFree) * st.SegmentBytes,
		LogSize:          int64(st.Segments) * st.SegmentBytes,
	}
	err = d.shards.EachFlow(func(f *placement.VolumeFlow) error {
		doc.Volumes = append(doc.Volumes,
			control.VolumeFlow{Name: f.Name, Line: f.Line, Counts: flowCounts(&f.Flow)})
		return nil
	})
	slices.SortFunc(doc.Volumes, func(a, b control.VolumeFlow) int {
		return strings.Compare(a.Name, b.Name)
	})
	return doc, err
}

// flowCounts turns blocks into bytes.
func flowCounts(f *placement.Flow) control.FlowCounts {
	const block = log.BlockSize
	return control.FlowCounts{
		WriteBytes: f.WriteBytes, MergeBytes: f.MergeBytes, ZeroBytes: f.ZeroBytes,
		Began: f.Began * block, Logged: f.Logged * block, Absorbed: f.Absorbed * block,
		Dropped: f.Dropped * block, Destaged: f.Destaged * block, Lost: f.Lost * block,
		Live: f.Live * block, Placed: f.Placed * block,
		Runs: slices.Clone(f.Runs[:]), Ages: slices.Clone(f.Ages[:]), StallNanos: f.StallNanos,
	}
}
