package shard

import (
	"slices"
	"testing"
)

func TestPartOf(t *testing.T) {
	cpus := []int{2, 3, 4, 5, 8}
	for _, c := range []struct {
		cpus       []int
		id, shards int
		want       []int
	}{
		{nil, 1, 2, nil},
		{cpus, 0, 1, cpus},
		{cpus, 0, 2, []int{2, 3}},
		{cpus, 1, 2, []int{4, 5, 8}},
		{cpus, 4, 5, []int{8}},
		{cpus[:2], 0, 3, []int{2}},
		{cpus[:2], 1, 3, []int{3}},
		{cpus[:2], 2, 3, []int{2}},
	} {
		if got := partOf(c.cpus, c.id, c.shards); !slices.Equal(got, c.want) {
			t.Errorf("shard %d of %d on %v: %v, want %v", c.id, c.shards, c.cpus, got, c.want)
		}
	}
}
