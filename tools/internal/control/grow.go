package control

import (
	"context"
	"fmt"

	"unblend/log"
)

// GrowRequest asks to add space to the pool.
type GrowRequest struct {
	Schema Schema `json:"schema,omitempty"`
	Pool   string `json:"pool,omitempty" doc:"path of one of its devices; another pool's is refused"`
	Size   int64  `json:"size,omitempty" doc:"bytes that the file with the data is to have"`
	Sparse bool   `json:"sparse,omitempty" doc:"do not reserve what the file gets more"`
}

// GrowResult answers grow.
type GrowResult struct {
	Schema         Schema         `json:"schema"`
	Grown          bool           `json:"grown" doc:"false: there was nothing to add"`
	Devices        []DeviceGrowth `json:"devices" doc:"fast device first"`
	DataBefore     int64          `json:"data_before" doc:"bytes for volumes' data"`
	DataSize       int64          `json:"data_size" doc:"likewise, now"`
	MetadataBefore int64          `json:"metadata_before" doc:"bytes for maps and catalogue, one copy"`
	MetadataSize   int64          `json:"metadata_size" doc:"likewise, now"`
}

// DeviceGrowth says what the pool uses of a device.
type DeviceGrowth struct {
	Role   string `json:"role" doc:"log, data, or both"`
	Path   string `json:"path" doc:"as it was named"`
	Before int64  `json:"size_before" doc:"bytes that the pool knew of"`
	Size   int64  `json:"size" doc:"likewise, now"`
}

func (r *GrowRequest) subject() string { return r.Pool }

func (r *GrowRequest) validate() error {
	if err := checkSchema(r.Schema, SchemaGrowRequest); err != nil {
		return err
	}
	switch {
	case r.Size < 0 || r.Size%log.BlockSize != 0:
		return badRequest(fmt.Sprintf("grow: a file of %d bytes: want a multiple of 4 KiB", r.Size), nil)
	case r.Sparse && r.Size == 0:
		return badRequest("grow: sparse without a size", nil)
	}
	return nil
}

func growPool(ctx context.Context, b Backend, r GrowRequest, s Schema) (any, error) {
	g, err := b.Grow(ctx, r)
	g.Schema = s
	return g, err
}
